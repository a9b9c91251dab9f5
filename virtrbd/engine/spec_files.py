"""The files that specs name, as they are now: the sizes of those to import, and what cloud-init gets of them."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from virtrbd.contained import contained
from virtrbd.deadline import call_within
from virtrbd.errors import UnavailableError, VirtrbdError
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.import_file import ImportFile, without_query
from virtrbd.model.seed import SeedDocument, SeedFile
from virtrbd.model.settings import Settings
from virtrbd.planning.world import World
from virtrbd.specs.files import read_opened
from virtrbd.trust import OutsideError, open_beneath

# The minimum for a file, after others that took long: enough for a local file.
_LEAST_S = 0.5
# How long a file that gives up may take to close what it opened.
_GRACE_S = 1.0


def file_sizes(
    files: Sequence[ImportFile], settings: Settings, give_up_at: float = math.inf
) -> tuple[Mapping[ImportFile, int], Mapping[ImportFile, Failure]]:
    """Return the virtual size of the disk in each file, and the problems of the others.

    Each gets half of the time that is left, the last file all of it: so a file that never ends leaves time to others.
    """
    in_turn = files if give_up_at == math.inf else _in_turns(files)
    sizes: dict[ImportFile, int] = {}
    failures: dict[ImportFile, Failure] = {}
    for file in in_turn:
        ends = give_up_at if file is in_turn[-1] else half_way(give_up_at)
        try:
            sizes[file] = _size(file, settings, max(ends, time.monotonic() + _LEAST_S))
        except VirtrbdError as error:
            failures[file] = failure_of(error)
    return sizes, failures


def half_way(at: float) -> float:
    """Return the time half-way from now to that time, on the monotonic clock."""
    return at if at == math.inf else (time.monotonic() + at) / 2


def _in_turns(files: Sequence[ImportFile]) -> Sequence[ImportFile]:
    """Return the files of this host, then the others, in another order each time, so that no file is always last."""
    import random

    return sorted(random.sample(files, len(files)), key=lambda file: file.is_url)


def _size(file: ImportFile, settings: Settings, give_up_at: float) -> int:
    """Return the virtual size of the disk in the file. Raises VirtrbdError."""
    # Here, not above: usually nothing is imported.
    from virtrbd.images.import_source import ImportWork, open_import

    work = ImportWork(settings=settings, give_up_at=give_up_at)

    def size() -> int:
        with contained(f"looking at {without_query(file.name)}"), open_import(file, work) as source:
            return source.size_bytes

    if give_up_at == math.inf:
        return size()
    left_s = give_up_at - time.monotonic()
    try:
        # In a thread: a file or web server that does not answer would block the look at the clock.
        return call_within(left_s + min(left_s, _GRACE_S), str(file), size)
    except UnavailableError:
        work.require_time(file)
        raise


def files_to_import(domains: tuple[Domain, ...], actual: World) -> Sequence[ImportFile]:
    """Return the files that may have to be imported, each once.

    One that was imported may be gone.

    An intent shows an import that may have been interrupted before the image had its state.
    """
    files: dict[ImportFile, None] = {}
    for domain in domains:
        for disk in domain.disks:
            image = actual.images[disk.image.image]
            if disk.import_file and (image is None or image.state or disk.image.image in actual.intents):
                files[disk.import_source] = None
    return sorted(files, key=lambda file: (file.name, file.member, file.format, file.checksum))


def seed_documents(domains: tuple[Domain, ...]) -> Iterator[SeedDocument]:
    """Yield the documents for cloud-init that are in files of their own."""
    for domain in domains:
        documents = domain.seed.documents if domain.seed else {}
        yield from (document for document in documents.values() if document.file)


def seed_file(document: SeedDocument) -> SeedFile:
    """Return what a document's file holds now: specs are cached, but the files that they name are read in every run."""
    try:
        return SeedFile(raw=read_opened(open_beneath(document.file, document.beneath)))
    except OutsideError as error:
        return SeedFile(problem=f"leads to {error.real}, outside the folders that specs may read")
    except OSError as error:
        return SeedFile(problem=error.strerror or str(error))
