"""The state directory: intents, locks, last definitions, reported findings. The database is libvirt and Ceph."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from virtrbd.errors import DeniedError, VirtrbdError
from virtrbd.local.file_lock import file_lock
from virtrbd.local.folders import make_private, refuse_shared
from virtrbd.local.write_whole import cannot_write, opened_folder, remove_half_files, write_whole
from virtrbd.model.file_name import file_name_of
from virtrbd.model.image import ImageRef, Intent
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.record import replace

if TYPE_CHECKING:
    from virtrbd.model.overview import PoolsThen
    from virtrbd.model.retirement import Retirement

T = TypeVar("T")

_WAY_OUT = "free space, or set state_dir to another place"
# The folders in which files are written whole.
_WRITTEN = ("definitions", "intents", "made", "reconcile", "report", "retirements", "rollbacks", "unmarked")


class _IntentFile(msgspec.Struct, frozen=True, kw_only=True):
    ref: str
    domain_uuid: str
    size_bytes: int
    parent: str
    nonce: str
    written_at: float
    importing: bool = False
    what: str = ""
    client_id: int = 0


class _DefinitionFile(msgspec.Struct, frozen=True, kw_only=True):
    hypervisor: str
    xml: str


class StateDir:
    """What this host must keep over a crash. Every method raises ConfigError where others may write there."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._looked_at: set[str] = set()
        self._is_swept = False

    def _folder(self, name: str) -> Path:
        """Return a folder of the state directory, which need not exist. Raises ConfigError, DeniedError."""
        folder = self._path / name
        if name not in self._looked_at:
            try:
                refuse_shared(self._path, "state_dir")
                refuse_shared(folder, "state_dir")
            except OSError as error:
                raise _unreadable(folder, error) from error
            self._looked_at.add(name)
        return folder

    def folder(self, name: str) -> Path:
        """Return a folder of the state directory, which exists. Raises ConfigError, DeniedError, VirtrbdError."""
        path = self._folder(name)
        try:
            make_private(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        return path

    def _file(self, folder: str, name: str) -> Path:
        """Return a file to write, in a folder that exists. Raises ConfigError, DeniedError, VirtrbdError."""
        return self.folder(folder) / file_name_of(name)

    def _write(self, folder: str, name: str, content: bytes, *, synced: bool = False) -> None:
        """Write a file so that it exists whole or not at all; `synced`: and on disk. Raises VirtrbdError."""
        file = self._file(folder, name)
        try:
            write_whole(file, content, 0o600, synced=synced)
        except OSError as error:
            raise cannot_write(file, error, _WAY_OUT) from error

    def _read(self, folder: str, name: str, kind: type[T]) -> T | None:
        """Return a file's data, None where there is none or it has another form.

        Raises DeniedError: that a file may not be read does not mean that there is none.
        """
        return self._decoded(self._folder(folder) / file_name_of(name), kind)

    def _decoded(self, file: Path, kind: type[T]) -> T | None:
        content = self._content(file)
        # msgspec skips unknown fields, and recurses into them.
        with suppress(ValueError, RecursionError, msgspec.MsgspecError):
            return msgspec.json.decode(content, type=kind)
        return None

    def _content(self, file: Path) -> bytes:
        """Return a file's content, nothing where it is missing or not a regular file. Raises DeniedError."""
        try:
            with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                return stream.read()
        except PermissionError as error:
            raise _unreadable(file, error) from error
        except OSError:
            return b""

    def write_intent(self, intent: Intent) -> None:
        """Write the intent so that it is on disk before the image is."""
        content = _IntentFile(
            ref=str(intent.ref),
            domain_uuid=intent.domain_uuid,
            size_bytes=intent.size_bytes,
            parent=str(intent.parent or ""),
            nonce=intent.nonce,
            written_at=intent.written_at,
            importing=intent.importing,
            what=intent.what,
            client_id=intent.client_id,
        )
        self._write("intents", str(intent.ref), msgspec.json.encode(content), synced=True)

    def read_intent(self, ref: ImageRef) -> Intent | None:
        """Return the intent for an image; an intent that cannot be understood proves nothing and does not count."""
        found = self._read("intents", str(ref), _IntentFile)
        # A long name's file is named by its digest: the file itself has the name.
        if found is None or found.ref != str(ref):
            return None
        with suppress(ValueError):
            parent = ImageRef.parse(found.parent) if found.parent else None
            return Intent(**{**msgspec.structs.asdict(found), "ref": ref, "parent": parent})
        return None

    def read_intents(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Intent]:
        """Return the intents for these images, by one look at the folder.  Raises DeniedError."""
        folder = self._folder("intents")
        try:
            written = set(os.listdir(folder))
        except PermissionError as error:
            raise _unreadable(folder, error) from error
        except OSError:
            return {}
        mine = [ref for ref in refs if written and file_name_of(str(ref)) in written]
        return {ref: intent for ref in mine if (intent := self.read_intent(ref))}

    def drop_intent(self, ref: ImageRef) -> None:
        """Forget the intent, where there is one: the image is marked, or gone. Raises VirtrbdError."""
        self._drop("intents", str(ref))

    def _drop(self, folder: str, name: str) -> None:
        file = self._folder(folder) / file_name_of(name)
        try:
            # Usually there is none, and its folder may be missing too.
            if os.path.lexists(file):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(file, error, _WAY_OUT) from error

    def write_definition(self, uuid: str, last: LastDefinition) -> None:
        """Keep a definition, to find later what others changed in it. Raises VirtrbdError."""
        content = _DefinitionFile(hypervisor=last.hypervisor, xml=last.xml)
        self._write("definitions", uuid, msgspec.json.encode(content))

    def read_definition(self, uuid: str) -> LastDefinition | None:
        """Return the definition that was kept; without it a change is found but not explained."""
        found = self._read("definitions", uuid, _DefinitionFile)
        return LastDefinition(xml=found.xml, hypervisor=found.hypervisor) if found else None

    def drop_definition(self, uuid: str) -> None:
        """Forget a definition: its domain is gone."""
        with suppress(VirtrbdError):
            self._drop("definitions", uuid)

    def write_retirement(self, retirement: "Retirement") -> None:
        """Record which images are trashed with a domain, on disk before it is undefined. Raises VirtrbdError."""
        self._write("retirements", retirement.name, msgspec.json.encode(retirement), synced=True)

    def read_retirement(self, name: str) -> "Retirement | None":
        """Return the rest of an interrupted retirement; a record that can't be understood does not count."""
        from virtrbd.model.retirement import Retirement

        return self._read("retirements", name, Retirement)

    def drop_retirement(self, name: str) -> None:
        """Forget the rest of a retirement: a domain of that name is defined, and its images are not to go."""
        with suppress(VirtrbdError):
            self._drop("retirements", name)

    def note_trashed(self, name: str, ref: ImageRef) -> None:
        """Record that an image of a retirement is in the trash; with the last one the retirement is over."""
        retirement = self.read_retirement(name)
        if retirement is None:
            return
        left = tuple(image for image in retirement.images if image.ref != ref)
        if left:
            self.write_retirement(replace(retirement, images=left))
        else:
            self._drop("retirements", name)

    def write_reported(self, reported: Mapping[str, str], what: str = "told") -> None:
        """Keep what was reported, by its subject. Raises VirtrbdError."""
        # json here, not msgspec: a report may name a file whose name is not UTF-8.
        self._write("reconcile", what, json.dumps(dict(sorted(reported.items())), indent=0).encode())

    def read_reported(self, what: str = "told") -> dict[str, str]:
        """Return what was reported; after a file that can't be understood it is reported again."""
        with suppress(ValueError, RecursionError, AttributeError):
            reported = json.loads(self._content(self._folder("reconcile") / file_name_of(what)))
            return {str(key): str(value) for key, value in reported.items()}
        return {}

    def write_last_success(self, at: float) -> None:
        """Keep when a reconcile last succeeded, in seconds since 1970. Raises VirtrbdError."""
        self._write("reconcile", "last-success", repr(at).encode())

    def read_last_success(self) -> float:
        """Return when a reconcile last succeeded, 0 where unknown."""
        # A state directory that can't be used has its own message; the summary is written without it.
        with suppress(VirtrbdError):
            return self._read("reconcile", "last-success", float) or 0.0
        return 0.0

    def write_pool_history(self, history: "Sequence[PoolsThen]") -> None:
        """Keep what pools held on earlier days, for the next report. Raises VirtrbdError."""
        self._write("report", "pools", msgspec.json.encode(history))

    def read_pool_history(self) -> "tuple[PoolsThen, ...]":
        """Return what pools held on earlier days; without it growth is unknown."""
        from virtrbd.model.overview import PoolsThen

        return self._read("report", "pools", tuple[PoolsThen, ...]) or ()

    def write_trace(self, folder: str, ref: ImageRef, words: Mapping[str, str]) -> None:
        """Record something about an image, on disk before it is done. Raises VirtrbdError."""
        self._write(folder, str(ref), json.dumps(dict(words)).encode(), synced=True)

    def read_trace(self, folder: str, ref: ImageRef) -> dict[str, str]:
        """Return the record about an image, empty where there is none that can be understood."""
        return self._read(folder, str(ref), dict[str, str]) or {}

    def read_traces(self, folder: str) -> list[dict[str, str]]:
        """Return all records of a kind. Raises DeniedError."""
        path = self._folder(folder)
        try:
            names = sorted(os.listdir(path))
        except PermissionError as error:
            raise _unreadable(path, error) from error
        except OSError:
            return []
        return [found for name in names if (found := self._decoded(path / name, dict[str, str]))]

    def drop_trace(self, folder: str, ref: ImageRef) -> None:
        """Forget the record about an image. Raises VirtrbdError."""
        self._drop(folder, str(ref))

    @contextmanager
    def locked(self, names: Sequence[str], verb: str) -> Iterator[None]:
        """Hold the locks of these domains and images. Raises BusyError, which names the holder."""
        self._sweep()
        with ExitStack() as stack:
            # Sorted: two runs that want the same two locks must not each hold one.
            for name in sorted(set(names)):
                file = self._file("locks", name)
                try:
                    stack.enter_context(file_lock(file, name, verb))
                except OSError as error:
                    raise cannot_write(file, error, _WAY_OUT) from error
            yield

    def _sweep(self) -> None:
        """Remove what killed runs left half-written: once a run, and only in runs that change something."""
        if self._is_swept:
            return
        self._is_swept = True
        for each in _WRITTEN:
            with suppress(OSError), opened_folder(str(self._folder(each)), os.O_NOFOLLOW) as folder:
                names = os.listdir(folder)
                remove_half_files(folder, names)
                for name in names:
                    # The names of earlier versions; no other file here has a plus sign.
                    if name.endswith("+new"):
                        os.unlink(name, dir_fd=folder)


def _unreadable(file: Path, error: OSError) -> VirtrbdError:
    if isinstance(error, PermissionError):
        return DeniedError(f"{file}: permission denied; run as root, or set state_dir")
    return VirtrbdError(f"{file}: {error.strerror}; set state_dir to a folder that can be written")
