"""Load spec files, read and checked: every problem of every file at once; a bad file harms no other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from virtrbd.contained import contained
from virtrbd.errors import DefectError, SpecError
from virtrbd.model.digest import digest_of
from virtrbd.model.settings import Settings
from virtrbd.specs.checked import check
from virtrbd.specs.document import YamlDocument, first_problems, parse_documents
from virtrbd.specs.files import SpecFile, SpecFiles, read_files
from virtrbd.specs.fragments import Fragments, folder_fragments, settings_fragments, with_fragments
from virtrbd.specs.limits import MAX_PROBLEMS, Budget, TooMuchError
from virtrbd.specs.schema import DomainSpec


class LoadedSpec(Struct, frozen=True, kw_only=True):
    """A checked spec, where it was written, and the digest of its file's raw bytes."""

    spec: DomainSpec
    document: YamlDocument
    digest: str


class CheckedFile(Struct, frozen=True, kw_only=True):
    """The specs of one file, and the problems of it or of the profiles beside it."""

    specs: tuple[LoadedSpec, ...] = ()
    problems: tuple[str, ...] = ()
    defects: tuple[DefectError, ...] = ()

    @property
    def is_good(self) -> bool:
        return not (self.problems or self.defects)


class _Folder(Struct, frozen=True, kw_only=True):
    """The fragments for the specs of a folder, and their problems."""

    fragments: Fragments
    problems: tuple[str, ...] = ()
    defects: tuple[DefectError, ...] = ()


def load(paths: Sequence[str], settings: Settings) -> tuple[LoadedSpec, ...]:
    """Return the specs of all files, completed by defaults and profiles. Raises SpecError with all problems."""
    return check_files(read_files(paths, settings.allowed_dirs), settings)


def check_files(files: SpecFiles, settings: Settings) -> tuple[LoadedSpec, ...]:
    """Return the specs that the files hold. Raises SpecError with all problems, of unreadable files too."""
    checked = check_each(files, settings)
    problems = [*files.problems, *(problem for file in checked for problem in file.problems)]
    defects = tuple(dict.fromkeys(defect for file in checked for defect in file.defects))
    if problems or defects:
        # One wrong value in a profile appears in every spec that uses it.
        raise SpecError(*dict.fromkeys(problems), defects=defects)
    return tuple(spec for file in checked for spec in file.specs)


def check_each(files: SpecFiles, settings: Settings) -> tuple[CheckedFile, ...]:
    """Return the specs of each file, and its own problems."""
    everywhere = settings_fragments(settings)
    folders = {folder: _check_folder(file, everywhere) for folder, file in files.profiles.items()}
    return tuple(_check_file(file, files, folders, everywhere) for file in files.specs)


def _check_folder(file: SpecFile, everywhere: Fragments) -> _Folder:
    try:
        with contained(f"{file.path}: loading profiles"):
            here, problems = folder_fragments(file)
            return _Folder(fragments=everywhere.and_nearer(here), problems=problems)
    except DefectError as defect:
        return _Folder(fragments=everywhere, defects=(defect,))


def _check_file(file: SpecFile, files: SpecFiles, folders: Mapping[str, _Folder], everywhere: Fragments) -> CheckedFile:
    folder = folders.get(str(Path(file.path).parent), _Folder(fragments=everywhere))
    profiles = files.profiles_for(file)
    digest = digest_of(file.raw, profiles.raw if profiles else b"")
    try:
        with contained(f"{file.path}: loading specs"):
            specs, problems = _read(file, digest, folder.fragments)
    except DefectError as defect:
        return CheckedFile(problems=folder.problems, defects=(*folder.defects, defect))
    return CheckedFile(
        specs=specs, problems=(*folder.problems, *first_problems(file.path, problems)), defects=folder.defects
    )


def _read(file: SpecFile, digest: str, fragments: Fragments) -> tuple[tuple[LoadedSpec, ...], list[str]]:
    """Return the specs of a file and their problems."""
    budget = Budget()
    loaded: list[LoadedSpec] = []
    problems: list[str] = []
    documents, found = parse_documents(file.path, file.raw, budget)
    problems += found
    if not documents and not found:
        # A truncated file must not look like a file that is in sync.
        problems.append(f"{file.path}:1: no domain in it; write `name: …`, or remove the file")
    # Problems already named (a repeated key, an unquoted MAC) leave data good enough to find the others.
    try:
        for document in documents:
            merged, found = with_fragments(document, fragments, budget)
            problems += found
            spec, found = check(DomainSpec, merged)
            problems += found
            if spec:
                loaded.append(LoadedSpec(spec=spec, document=merged, digest=digest))
            if len(problems) > MAX_PROBLEMS:
                break
    except TooMuchError as error:
        problems.append(f"{file.path}: {error}")
    return tuple(loaded), problems
