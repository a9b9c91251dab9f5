"""The spec's own XML, to be merged into what virtrbd renders, and its problems, each with its line."""

from collections.abc import Collection, Iterator

from virtrbd.lazily import lazily
from virtrbd.model.overlay import Overlay
from virtrbd.model.settings import Settings
from virtrbd.specs.document import BlockText, brief_message
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.named_files import config_problem

# Most specs have no XML, and lxml takes long to import.
with lazily():
    from virtrbd.domainxml.overlay import config_files, images_written, macs_written, overlay_problems, renamed_sources

_FIELD = ("xml",)


def resolve_xml(item: LoadedSpec) -> Overlay | None:
    """Return the text of the spec's `xml:` with its place, None without one."""
    if not item.spec.xml:
        return None
    data = item.document.data
    text = data.get("xml") if isinstance(data, dict) else None
    place = item.document.place(_FIELD)
    line = text.line if isinstance(text, BlockText) else place.line
    return Overlay(
        text=item.spec.xml,
        file=place.file,
        line=line,
        is_block=isinstance(text, BlockText),
        images=images_written(item.spec.xml),
        macs=macs_written(item.spec.xml),
    )


def xml_problems(item: LoadedSpec, overlay: Overlay, targets: Collection[str], settings: Settings) -> Iterator[str]:
    """Yield the problems with the XML; `targets` are of the spec's own drives."""
    found = list(overlay_problems(overlay.text))
    if not found:
        found += [
            (line, f"disk {target} is in the spec, whose `image:` names its source; change that")
            for line, target in renamed_sources(overlay.text)
            if target in targets
        ]
        for line, file in config_files(overlay.text):
            found += [(line, problem) for problem in config_problem(item.document, _FIELD, file, settings)]
    for line, reason in found:
        yield f"{overlay.place(line)}: xml: {brief_message(reason)}"
