"""The cache of files to import: what was fetched, and what was unpacked.

An entry has its name when it is whole and on disk. It is written without a name (an unpacked file) or as a `.part`
(a fetched file, to be resumed), under a lock that ends with its writer. A reader of a removed entry can read on.

The name of an unpacked file ends with the digest of its content, which every user of the entry verifies.
"""

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from virtrbd.errors import ConfigError, DeniedError, VirtrbdError
from virtrbd.local.folders import cache_folder, is_own, make_private
from virtrbd.local.write_whole import opened_folder, remove_half_files
from virtrbd.model.settings import ImportSettings
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command

# What digest_of returns, and a SHA-256: nothing else in the folder is an entry, and nothing else is ever removed.
_PROVEN = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{64}")
_NAME = re.compile(rf"[0-9a-f]{{32}}(?:\.part|\.from)?|{_PROVEN.pattern}")
# Other programs need free space on this file system.
_KEPT_FREE_BYTES, _KEPT_FREE_PART = 1024**3, 20
_ANOTHER = "set `imports: {cache_dir: FOLDER}` in the settings"
_JUST_NOW_S = 3600
# A smaller hole is not worth it.
_BLOCK_BYTES = 64 * 1024
_ZEROES = bytes(_BLOCK_BYTES)


class ImageCache(Struct, frozen=True, kw_only=True):
    """The open folder, and how much it may hold; `largest_bytes` is the limit for one file."""

    path: str
    folder: int
    most_bytes: int
    largest_bytes: int

    def find(self, key: str) -> int | None:
        """Return a descriptor of the entry, None where there is none."""
        try:
            descriptor = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(error) from None
        # The least recently used entry is removed first.
        with suppress(OSError):
            os.utime(descriptor)
        return descriptor

    def proven(self, key: str) -> str | None:
        """Return the name of the entry that was kept with its digest, None where there is none."""
        names = filter(_PROVEN.fullmatch, os.listdir(self.folder))
        return next((name for name in names if name.startswith(f"{key}.")), None)

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Yield a descriptor of a new file without a name: killed or not, nothing is left of it."""
        try:
            descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self.folder)
        except OSError:
            # A file system without such files: for a moment a kill can leave an empty one.
            name = f"{os.urandom(16).hex()}.part"
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC
            descriptor = self._made(name, flags)
            self.remove(name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def keep(self, descriptor: int, key: str, digest: str) -> None:
        """Give a file without a name, which is whole, the name of an entry; another run may have been quicker."""
        try:
            os.fchmod(descriptor, 0o444)
            # Its name may come to the disk before its content does, and be all that is left by a power cut.
            os.fsync(descriptor)
        except OSError as error:
            raise self._refused(error) from None
        # A file system without such files keeps nothing, and the next run unpacks again.
        with suppress(OSError):
            os.link(f"/proc/self/fd/{descriptor}", f"{key}.{digest}", dst_dir_fd=self.folder, follow_symlinks=True)

    @contextmanager
    def part(self, key: str, wait: Callable[[], None]) -> Iterator[int]:
        """Yield a descriptor of the entry's half file, which no other run writes; what an earlier run wrote is in it.

        `wait` is called as long as another run has it.
        """
        name = f"{key}.part"
        while True:
            flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_RDWR | os.O_CLOEXEC
            descriptor = self._made(name, flags)
            try:
                if self._is_locked(descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
            wait()

    def _made(self, name: str, flags: int) -> int:
        try:
            return os.open(name, flags, 0o600, dir_fd=self.folder)
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> VirtrbdError:
        kind = DeniedError if isinstance(error, PermissionError) else VirtrbdError
        return kind(f"{self.path}: {error.strerror}; {_ANOTHER}")

    def name_part(self, descriptor: int, key: str) -> None:
        """Give a half file, which is whole now, the name of the entry."""
        try:
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
            os.rename(f"{key}.part", key, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError as error:
            raise self._refused(error) from None

    @staticmethod
    def _is_locked(descriptor: int) -> bool:
        """Lock it; return whether it is this run's now, and has its name still."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: then no run can lock.
            pass
        return os.fstat(descriptor).st_nlink > 0

    def remove(self, name: str) -> None:
        """Remove an entry."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.folder)

    def require_room(self, done_bytes: int, more_bytes: int, what: str) -> None:
        """Raise VirtrbdError where a file comes to its limit, or the file system would be full.

        Asked before each write of `more_bytes` to a file of `done_bytes`.
        """
        if done_bytes + more_bytes > self.largest_bytes:
            most = format_size(self.largest_bytes)
            raise VirtrbdError(
                f"{what}: is larger than {most}, the settings' imports: largest; raise that if the size is right"
            )
        found = os.fstatvfs(self.folder)
        kept_free = min(_KEPT_FREE_BYTES, found.f_blocks * found.f_frsize // _KEPT_FREE_PART)
        if found.f_bavail * found.f_frsize < kept_free + more_bytes:
            fact = f"{self.path} has no room for it, because {format_size(kept_free)} must stay free"
            raise VirtrbdError(f"{what}: {fact}; make room, or {_ANOTHER}")

    def write(self, descriptor: int, data: bytes, at: int) -> None:
        """Write data into a new file, without zeroes, which are there already."""
        for begin in range(0, len(data), _BLOCK_BYTES):
            block = data[begin : begin + _BLOCK_BYTES]
            if block != _ZEROES[: len(block)]:
                self.write_all(descriptor, block, at + begin)

    def write_all(self, descriptor: int, data: bytes, at: int) -> None:
        """Write data, zeroes too. Raises VirtrbdError."""
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(descriptor, data[done:], at + done)
        except OSError as error:
            raise self._refused(error) from None

    def clean(self) -> None:
        """Remove the least recently used entries, until the rest is as large as the settings allow.

        A recently used entry stays: a plan looks at it, and another run, or the same, then imports it.
        """
        found, just_now = [], time.time() - _JUST_NOW_S
        for name in filter(_NAME.fullmatch, os.listdir(self.folder)):
            with suppress(OSError):
                each = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
                found.append((each.st_mtime, name, each.st_blocks * 512))
        held = sum(size for _, _, size in found)
        for used_at, name, size in sorted(found):
            if held <= self.most_bytes or used_at > just_now:
                return
            if self._remove_unread(name):
                held -= size

    def _remove_unread(self, name: str) -> bool:
        """Remove a file that no run writes."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.folder)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=self.folder)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


@contextmanager
def opened_cache(settings: ImportSettings) -> Iterator[ImageCache]:
    """Open the cache, made where it is missing. Raises ConfigError, DeniedError."""
    path = settings.cache_dir or os.path.join(cache_folder(), "images")
    with ExitStack() as stack:
        try:
            if not is_own(path):
                raise ConfigError(f"{path}: another user may change it; {_ANOTHER} to a folder of your own")
            make_private(Path(path))
            folder = stack.enter_context(opened_folder(path, os.O_NOFOLLOW))
            _require_private(path, folder)
            remove_half_files(folder, os.listdir(folder))
        except PermissionError as error:
            raise DeniedError(f"{path}: {error.strerror}; {_ANOTHER}") from None
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; {_ANOTHER}") from None
        cache = ImageCache(path=path, folder=folder, most_bytes=settings.cache_size, largest_bytes=settings.largest)
        stack.callback(cache.clean)
        yield cache


def _require_private(path: str, folder: int) -> None:
    """Raise ConfigError where others may read an entry: some of them may not read its source."""
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        mend = shell_command("chmod 700", path)
        raise ConfigError(f"{path}: others may read it (mode {mode:04o}); {mend}")
