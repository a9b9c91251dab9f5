"""Defaults and profiles: where they are written, and which of them a spec uses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.checked import Strict, check, nearest
from virtrbd.specs.document import YamlDocument, first_problems, parse_documents
from virtrbd.specs.files import SpecFile
from virtrbd.specs.limits import MAX_PROBLEMS, MAX_PROFILES, MAX_USES, Budget
from virtrbd.specs.merge import Fragment, lay_under
from virtrbd.specs.schema import FragmentSpec


class FragmentsFile(Strict):
    """A folder's profiles.yaml; the settings file has the same two fields."""

    defaults: dict[str, Any] | None = None
    profiles: dict[str, dict[str, Any] | None] | None = None


class Fragments(Struct, frozen=True, kw_only=True):
    """Everything that may be merged into a spec: the defaults from weak to strong, and the profiles by name."""

    defaults: tuple[Fragment, ...] = ()
    profiles: Mapping[str, Fragment] = field(default_factory=dict)

    def and_nearer(self, other: "Fragments") -> "Fragments":
        """Return both; the other's values win."""
        return Fragments(defaults=self.defaults + other.defaults, profiles={**self.profiles, **other.profiles})


def settings_fragments(settings: Settings) -> Fragments:
    """Return the fragments of the settings file, which was checked when it was loaded."""
    documents, _ = parse_documents(settings.file, settings.raw)
    return fragments_of(documents[0], "of the settings")[0] if documents else Fragments()


def folder_fragments(file: SpecFile) -> tuple[Fragments, tuple[str, ...]]:
    """Return the fragments of a profiles.yaml, and its problems."""
    documents, problems = parse_documents(file.path, file.raw)
    if len(documents) > 1:
        problems += (f"{file.path}: more than one document; keep one",)
    if problems or not documents:
        return Fragments(), problems
    _, problems = check(FragmentsFile, documents[0])
    if problems:
        return Fragments(), problems
    return fragments_of(documents[0], f"of {Path(file.path).parent}")


def fragments_of(document: YamlDocument, whose: str) -> tuple[Fragments, tuple[str, ...]]:
    """Return the fragments of a document, and their problems."""
    profiles_by_name = {
        # A profile with only comments states nothing.
        name: replace(part, data={}) if part.data is None else part
        for name, part in document.members(("profiles",)).items()
    }
    if len(profiles_by_name) > MAX_PROFILES:
        return Fragments(), (document.at(("profiles",), f"more than {MAX_PROFILES} profiles; write fewer"),)
    own = document.members(()).get("defaults")
    defaults = [Fragment(layer=f"defaults {whose}", document=own)] if own and own.data else []
    profiles = {name: Fragment(layer=f"profile {name}", document=part) for name, part in profiles_by_name.items()}
    problems: list[str] = []
    for fragment in (*defaults, *profiles.values()):
        problems += _check(fragment)
        if len(problems) > MAX_PROBLEMS:
            break
    return Fragments(defaults=tuple(defaults), profiles=profiles), first_problems(document.file, problems)


def _check(fragment: Fragment) -> tuple[str, ...]:
    _, problems = check(FragmentSpec, fragment.document, is_part=True)
    data = fragment.document.data if isinstance(fragment.document.data, dict) else {}
    own = [word for word in ("name", "uuid", "uses") if word in data]
    return problems + tuple(fragment.document.at((word,), "belongs into a spec; leave it out here") for word in own)


def with_fragments(spec: YamlDocument, fragments: Fragments, budget: Budget) -> tuple[YamlDocument, tuple[str, ...]]:
    """Return the spec completed by the defaults and the profiles that it uses, and the problems with their names.

    The merged values are counted on the budget. Raises TooMuchError.
    """
    uses = spec.data.get("uses") if isinstance(spec.data, dict) else None
    # The schema refuses values that are not names, and too many names.
    listed = uses if isinstance(uses, list) else [uses]
    names = [name for name in listed if isinstance(name, str)][:MAX_USES]
    unknown = dict.fromkeys(name for name in names if name not in fragments.profiles)
    used = [fragments.profiles[name] for name in names if name in fragments.profiles]
    if not (fragments.defaults or used) or not isinstance(spec.data, dict):
        merged = spec
    else:
        merged = lay_under(spec, (*fragments.defaults, *used), budget)
    return merged, tuple(spec.at(("uses",), _unknown(name, fragments)) for name in unknown)


def _unknown(name: str, fragments: Fragments) -> str:
    near = nearest(name, fragments.profiles)
    known = ", ".join(sorted(fragments.profiles)) or "none"
    return f"profile {name} does not exist; " + (f"did you mean {near}?" if near else f"known are {known}")
