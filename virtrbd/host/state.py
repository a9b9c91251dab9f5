"""The state directory: intents, locks, last definitions, what was told. No database: libvirt and Ceph are that."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from virtrbd.errors import BusyError, DeniedError, VirtrbdError
from virtrbd.model.image import ImageRef, Intent

if TYPE_CHECKING:
    from virtrbd.model.actual import LastDefinition


class StateDir:
    """What this host must remember over a crash."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def _file(self, room: str, name: str) -> Path:
        folder = self._path / room
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except PermissionError:
            raise DeniedError(f"{folder}: permission denied; run as root, or set state_dir") from None
        except OSError as error:
            raise VirtrbdError(f"{folder}: {error.strerror}; set state_dir to a folder that can be written") from error
        return folder / _quoted(name)

    def write_intent(self, intent: Intent) -> None:
        """Write the intent so that it is on disk before the image is."""
        self._write_whole("intents", str(intent.ref), json.dumps(_intent_as_data(intent)), synced=True)

    def _write_whole(self, room: str, name: str, text: str, *, synced: bool) -> None:
        """Write a file so that it is there whole or not at all; `synced`: and on disk. Raises VirtrbdError."""
        file = self._file(room, name)
        # No name of its own is written so: quote() leaves no plus sign.
        half = file.with_name(f"{file.name}+new")
        try:
            with half.open("w") as stream:
                stream.write(text)
                stream.flush()
                if synced:
                    os.fsync(stream.fileno())
            half.rename(file)
            if synced:
                _sync_folder(file.parent)
        except OSError as error:
            raise VirtrbdError(f"{file}: {error.strerror}; free space, or set state_dir to another place") from error

    def write_definition(self, uuid: str, last: "LastDefinition") -> None:
        """Keep a definition, to tell later what others changed in it. Raises VirtrbdError."""
        text = json.dumps({"hypervisor": last.hypervisor, "xml": last.xml})
        self._write_whole("definitions", uuid, text, synced=False)

    def read_definition(self, uuid: str) -> "LastDefinition | None":
        """Return the definition that was kept; None costs an explanation, never that a change is seen."""
        # Here, not above: it brings all nouns of domains along, and work on images needs none.
        from virtrbd.model.actual import LastDefinition

        try:
            data = json.loads((self._path / "definitions" / quote(uuid, safe="")).read_text())
            return LastDefinition(xml=str(data["xml"]), hypervisor=str(data["hypervisor"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def drop_definition(self, uuid: str) -> None:
        """Forget a definition: its domain is gone."""
        with suppress(OSError):
            (self._path / "definitions" / quote(uuid, safe="")).unlink(missing_ok=True)

    def write_told(self, told: Mapping[str, str]) -> None:
        """Keep what was told, by what it was about. Raises VirtrbdError."""
        self._write_whole("reconcile", "told", json.dumps(dict(sorted(told.items())), indent=0), synced=False)

    def read_told(self) -> dict[str, str]:
        """Return what was told; a file that can't be read lets it be told again."""
        try:
            data = json.loads((self._path / "reconcile" / "told").read_text())
            return {str(key): str(value) for key, value in data.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def write_last_success(self, at: float) -> None:
        """Keep when a reconcile last ended in order, in seconds since 1970. Raises VirtrbdError."""
        self._write_whole("reconcile", "last-success", repr(at), synced=False)

    def read_last_success(self) -> float:
        """Return when a reconcile last ended in order, 0 where that is not known."""
        try:
            return float((self._path / "reconcile" / "last-success").read_text())
        except (OSError, ValueError):
            return 0.0

    def read_intent(self, ref: ImageRef) -> Intent | None:
        """Return the intent for an image; one that cannot be read proves nothing, so it is none."""
        try:
            data = json.loads((self._path / "intents" / _quoted(str(ref))).read_text())
            parent = ImageRef.parse(data["parent"]) if data["parent"] else None
            return Intent(**{**data, "ref": ImageRef.parse(data["ref"]), "parent": parent})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def read_intents(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Intent]:
        """Return the intents that there are for these images: one look at the folder for all."""
        try:
            written = set(os.listdir(self._path / "intents"))
        except OSError:
            return {}
        mine = [ref for ref in refs if written and _quoted(str(ref)) in written]
        return {ref: intent for ref in mine if (intent := self.read_intent(ref))}

    def drop_intent(self, ref: ImageRef) -> None:
        """Forget the intent: the image is marked, or gone."""
        self._file("intents", str(ref)).unlink(missing_ok=True)

    def write_trace(self, room: str, ref: ImageRef, words: Mapping[str, str]) -> None:
        """Remember something about an image, so that it is on disk before it is done. Raises VirtrbdError."""
        self._write_whole(room, str(ref), json.dumps(dict(words)), synced=True)

    def read_trace(self, room: str, ref: ImageRef) -> dict[str, str]:
        """Return what is remembered about an image, empty where there is nothing that can be read."""
        try:
            data = json.loads((self._path / room / _quoted(str(ref))).read_text())
            return {str(key): str(value) for key, value in data.items()}
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}

    def drop_trace(self, room: str, ref: ImageRef) -> None:
        """Forget what is remembered about an image."""
        self._file(room, str(ref)).unlink(missing_ok=True)

    @contextmanager
    def locked(self, names: Sequence[str], verb: str) -> Iterator[None]:
        """Hold the locks of these domains and images. Raises BusyError, which names the holder."""
        with ExitStack() as stack:
            # Sorted: two runs that want the same two locks must not each hold one.
            for name in sorted(set(names)):
                stack.enter_context(self._lock(name, verb))
            yield

    @contextmanager
    def _lock(self, name: str, verb: str) -> Iterator[None]:
        file = self._file("locks", name)
        try:
            stream = file.open("a+")
        except OSError as error:
            raise VirtrbdError(f"{file}: {error.strerror}; free space, or set state_dir to another place") from error
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "another run"
                raise BusyError(f"{name}: {holder} is at work on it; try again when it is done") from None
            _note(file, f"virtrbd {verb} (pid {os.getpid()})")
            # The lock goes with the process, killed or not; the file stays, so that nobody locks a removed one.
            yield
            _note(file, "")


def _quoted(name: str) -> str:
    # Names of images may be any bytes.
    return quote(name, safe="", errors="surrogateescape")


def _note(file: Path, text: str) -> None:
    """Write who holds a lock; on a full disk nobody is named, and the lock holds all the same."""
    with suppress(OSError):
        file.write_text(text)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _intent_as_data(intent: Intent) -> dict[str, object]:
    return {
        "ref": str(intent.ref),
        "domain_uuid": intent.domain_uuid,
        "size_bytes": intent.size_bytes,
        "parent": str(intent.parent) if intent.parent else "",
        "nonce": intent.nonce,
        "written_at": intent.written_at,
        "importing": intent.importing,
        "what": intent.what,
    }
