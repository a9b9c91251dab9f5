"""The state directory: intents and locks. No database: libvirt and Ceph hold the rest."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from virtrbd.errors import BusyError, DeniedError, VirtrbdError
from virtrbd.model.image import ImageRef, Intent


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
        return folder / quote(name, safe="")

    def write_intent(self, intent: Intent) -> None:
        """Write the intent so that it is on disk before the image is."""
        file = self._file("intents", str(intent.ref))
        # No image's own intent is named so: quote() leaves no plus sign.
        half = file.with_name(f"{file.name}+new")
        with half.open("w") as stream:
            json.dump(_intent_as_data(intent), stream)
            stream.flush()
            os.fsync(stream.fileno())
        half.rename(file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read_intent(self, ref: ImageRef) -> Intent | None:
        """Return the intent for an image; one that cannot be read proves nothing, so it is none."""
        try:
            data = json.loads((self._path / "intents" / quote(str(ref), safe="")).read_text())
            parent = ImageRef.parse(data["parent"]) if data["parent"] else None
            return Intent(**{**data, "ref": ImageRef.parse(data["ref"]), "parent": parent})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def drop_intent(self, ref: ImageRef) -> None:
        """Forget the intent: the image is marked, or gone."""
        self._file("intents", str(ref)).unlink(missing_ok=True)

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
        with self._file("locks", name).open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "another run"
                raise BusyError(f"{name}: {holder} is at work on it; try again when it is done") from None
            stream.truncate(0)
            stream.write(f"virtrbd {verb} (pid {os.getpid()})")
            stream.flush()
            # The lock goes with the process, killed or not; the file stays, so that nobody locks a removed one.
            yield
            stream.truncate(0)


def _intent_as_data(intent: Intent) -> dict[str, object]:
    return {
        "ref": str(intent.ref),
        "domain_uuid": intent.domain_uuid,
        "size_bytes": intent.size_bytes,
        "parent": str(intent.parent) if intent.parent else "",
        "nonce": intent.nonce,
        "written_at": intent.written_at,
        "importing": intent.importing,
    }
