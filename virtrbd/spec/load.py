"""Spec files read and checked: every problem in every file, at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from virtrbd.errors import SpecError
from virtrbd.model.digest import digest_of
from virtrbd.model.settings import Settings
from virtrbd.spec.checked import check
from virtrbd.spec.document import Document, parse_documents
from virtrbd.spec.files import SpecFiles, read_files
from virtrbd.spec.fragments import folder_fragments, settings_fragments, with_fragments
from virtrbd.spec.schema import DomainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A checked spec, where it was written, and the digest of its file's raw bytes."""

    spec: DomainSpec
    document: Document
    digest: str


def load(paths: Sequence[str], settings: Settings) -> tuple[LoadedSpec, ...]:
    """Return the specs of all files, laid upon their defaults and profiles. Raises SpecError with all problems."""
    return check_files(read_files(paths, settings.allowed_dirs), settings)


def check_files(files: SpecFiles, settings: Settings) -> tuple[LoadedSpec, ...]:
    """Return the specs that the files hold. Raises SpecError with all problems, of unreadable files too."""
    problems = list(files.problems)
    loaded: list[LoadedSpec] = []
    everywhere = settings_fragments(settings)
    by_folder = {}
    for folder, file in files.profiles.items():
        here, found = folder_fragments(file)
        problems += found
        by_folder[folder] = everywhere.and_nearer(here)
    for file in files.specs:
        profiles = files.profiles_for(file)
        digest = digest_of(file.raw, profiles.raw if profiles else b"")
        documents, found = parse_documents(file.path, file.raw)
        problems += found
        if not documents and not found:
            # A truncated file must not look like one that is in sync.
            problems.append(f"{file.path}:1: no domain in it; write `name: …`, or remove the file")
        # Problems already named (a repeated key, an unquoted MAC) leave data good enough to find the others.
        for document in documents:
            merged, found = with_fragments(document, by_folder.get(str(Path(file.path).parent), everywhere))
            problems += found
            spec, found = check(DomainSpec, merged)
            problems += found
            if spec:
                loaded.append(LoadedSpec(spec=spec, document=merged, digest=digest))
    if problems:
        # One wrong value in a profile shows up in every spec that uses it.
        raise SpecError(*dict.fromkeys(problems))
    return tuple(loaded)
