"""Write specs in the form that an operator would write."""

from collections.abc import Mapping, Sequence

import yaml

from virtrbd.printable import printable
from virtrbd.specs.schema import DomainSpec


class _Indented(yaml.SafeDumper):
    """Indents the items of a list, which PyYAML does not."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


class _Block(str):
    """A text of several lines, written as a block: `xml: |`."""


_Indented.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


def spec_text(data: Mapping[str, object], comments: Sequence[str] = ()) -> str:
    """Return a spec as YAML, its fields in the order of the schema."""
    ordered = {field: data[field] for field in DomainSpec.model_fields if field in data}
    if isinstance(xml := ordered.get("xml"), str):
        ordered["xml"] = _Block(xml)
    text = yaml.dump(ordered, Dumper=_Indented, sort_keys=False, allow_unicode=True, width=120)
    # A line break in a path must not end the comment.
    return "".join(f"# {printable(line)}\n" for line in comments) + text
