"""Spec files read and checked: every problem in every file, at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from virtrbd.errors import SpecError
from virtrbd.model.digest import digest_of
from virtrbd.spec.checked import check
from virtrbd.spec.document import Document, parse_documents
from virtrbd.spec.schema import DomainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A checked spec, where it was written, and the digest of its file's raw bytes."""

    spec: DomainSpec
    document: Document
    digest: str


def load(paths: Sequence[str]) -> tuple[LoadedSpec, ...]:
    """Return the specs of all files; a directory stands for its *.yaml. Raises SpecError with all problems."""
    problems: list[str] = []
    loaded: list[LoadedSpec] = []
    for file in _files(paths):
        try:
            raw = file.read_bytes()
        except OSError as error:
            problems.append(f"{file}: {error.strerror}; check the path")
            continue
        documents, found = parse_documents(str(file), raw)
        problems += found
        # Problems already named (a repeated key, an unquoted MAC) leave data good enough to find the others.
        for document in documents:
            spec, found = check(DomainSpec, document)
            problems += found
            if spec:
                loaded.append(LoadedSpec(spec=spec, document=document, digest=digest_of(raw)))
    if problems:
        raise SpecError(*problems)
    return tuple(loaded)


def _files(paths: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return list(dict.fromkeys(files))
