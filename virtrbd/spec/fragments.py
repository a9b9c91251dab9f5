"""Defaults and profiles: where they stand, and which of them a spec uses."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtrbd.model.settings import Settings
from virtrbd.spec.checked import Strict, check
from virtrbd.spec.document import Document, parse_documents
from virtrbd.spec.files import SpecFile
from virtrbd.spec.merge import Fragment, lay_under
from virtrbd.spec.schema import FragmentSpec


class FragmentsFile(Strict):
    """A folder's profiles.yaml; the settings file has the same two fields."""

    defaults: dict[str, Any] | None = None
    profiles: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """All that may lie under a spec: the defaults from weak to strong, and the profiles by name."""

    defaults: tuple[Fragment, ...] = ()
    profiles: Mapping[str, Fragment] = field(default_factory=dict)

    def and_nearer(self, other: "Fragments") -> "Fragments":
        """Return both; what the other says wins."""
        return Fragments(defaults=self.defaults + other.defaults, profiles={**self.profiles, **other.profiles})


def settings_fragments(settings: Settings) -> Fragments:
    """Return the fragments of the settings file, which was checked when it was loaded."""
    documents, _ = parse_documents(settings.file, settings.raw)
    return fragments_of(documents[0], "of the settings")[0] if documents else Fragments()


def folder_fragments(file: SpecFile) -> tuple[Fragments, tuple[str, ...]]:
    """Return the fragments of a profiles.yaml, and what is wrong with it."""
    documents, problems = parse_documents(file.path, file.raw)
    if len(documents) > 1:
        problems += (f"{file.path}: more than one document; keep one",)
    if problems or not documents:
        return Fragments(), problems
    _, problems = check(FragmentsFile, documents[0])
    if problems:
        return Fragments(), problems
    return fragments_of(documents[0], f"of {Path(file.path).parent}")


def fragments_of(document: Document, whose: str) -> tuple[Fragments, tuple[str, ...]]:
    """Return the fragments that stand in a document, and what is wrong with them."""
    data = document.data if isinstance(document.data, dict) else {}
    defaults = (
        [Fragment(layer=f"defaults {whose}", document=document.part(("defaults",)))] if data.get("defaults") else []
    )
    profiles = {
        name: Fragment(layer=f"profile {name}", document=document.part(("profiles", name)))
        for name in data.get("profiles") or {}
    }
    problems = [problem for fragment in (*defaults, *profiles.values()) for problem in _check(fragment)]
    return Fragments(defaults=tuple(defaults), profiles=profiles), tuple(problems)


def _check(fragment: Fragment) -> tuple[str, ...]:
    _, problems = check(FragmentSpec, fragment.document, is_part=True)
    data = fragment.document.data if isinstance(fragment.document.data, dict) else {}
    own = [word for word in ("name", "uuid", "uses") if word in data]
    return problems + tuple(fragment.document.at((word,), "belongs into a spec; leave it out here") for word in own)


def with_fragments(spec: Document, fragments: Fragments) -> tuple[Document, tuple[str, ...]]:
    """Return the spec laid upon the defaults and the profiles that it uses, and what is wrong with those names."""
    uses = spec.data.get("uses") if isinstance(spec.data, dict) else None
    names = [uses] if isinstance(uses, str) else uses if isinstance(uses, list) else []
    unknown = [name for name in names if name not in fragments.profiles]
    used = [fragments.profiles[name] for name in names if name in fragments.profiles]
    if not (fragments.defaults or used) or not isinstance(spec.data, dict):
        merged = spec
    else:
        merged = lay_under(spec, (*fragments.defaults, *used))
    return merged, tuple(spec.at(("uses",), _unknown(str(name), fragments)) for name in unknown)


def _unknown(name: str, fragments: Fragments) -> str:
    near = difflib.get_close_matches(name, fragments.profiles, n=1)
    known = ", ".join(sorted(fragments.profiles)) or "none"
    return f"there is no profile {name}; " + (f"did you mean {near[0]}?" if near else f"known are {known}")
