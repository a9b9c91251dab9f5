"""Spec files read and checked: every problem in every file, at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from virtrbd.errors import SpecError
from virtrbd.model.digest import digest_of
from virtrbd.spec.checked import check
from virtrbd.spec.document import Document, parse_documents
from virtrbd.spec.files import SpecFile, read_files
from virtrbd.spec.schema import DomainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A checked spec, where it was written, and the digest of its file's raw bytes."""

    spec: DomainSpec
    document: Document
    digest: str


def load(paths: Sequence[str]) -> tuple[LoadedSpec, ...]:
    """Return the specs of all files; a directory stands for its *.yaml. Raises SpecError with all problems."""
    return check_files(*read_files(paths))


def check_files(files: Sequence[SpecFile], unreadable: Sequence[str] = ()) -> tuple[LoadedSpec, ...]:
    """Return the specs that the files hold. Raises SpecError with all problems, of unreadable files too."""
    problems = list(unreadable)
    loaded: list[LoadedSpec] = []
    for file in files:
        documents, found = parse_documents(file.path, file.raw)
        problems += found
        # Problems already named (a repeated key, an unquoted MAC) leave data good enough to find the others.
        for document in documents:
            spec, found = check(DomainSpec, document)
            problems += found
            if spec:
                loaded.append(LoadedSpec(spec=spec, document=document, digest=digest_of(file.raw)))
    if problems:
        raise SpecError(*problems)
    return tuple(loaded)
