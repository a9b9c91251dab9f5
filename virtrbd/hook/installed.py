"""The hook in libvirt's folder: installed, looked at and removed; never a file of others."""

import errno
import os
import subprocess
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from virtrbd.errors import UsageError, VirtrbdError
from virtrbd.hook.program import CALLED, MOST_BYTES, STARTS, Program, differences, is_program, read_program
from virtrbd.local.folders import make_private
from virtrbd.local.write_whole import cannot_write, write_whole
from virtrbd.model.settings import Settings
from virtrbd.printable import shell_command

_NAME = "virtrbd"
_DAEMONS = ("libvirtd", "virtqemud")


class State(StrEnum):
    """What is in the place of the hook."""

    ABSENT = "absent"
    FOREIGN = "foreign"
    DIFFERS = "differs"
    INSTALLED = "installed"


class Hook(Struct, frozen=True, kw_only=True):
    """The hook as it is: the virtrbd that wrote it, and what differs from what this virtrbd would write.

    `reload`: the command after which libvirt finds the hook, empty where it surely knows it; None where none runs.
    """

    file: str
    state: State
    version: str = ""
    differences: tuple[str, ...] = ()
    reload: str | None = None


def require_own_libvirt(connect: str) -> None:
    """Raise UsageError where the connection is not to the system's libvirt on this host, which has the folder."""
    uri = urlsplit(connect)
    if uri.netloc or uri.scheme not in ("qemu", "qemu+unix") or uri.path != "/system":
        raise UsageError(f"{connect}: a hook is a file of the host whose libvirt runs it; run this there")


def file_of(settings: Settings) -> Path:
    """Return the hook's file."""
    return Path(settings.hook.folder) / _NAME


def look(settings: Settings, wanted: Program) -> Hook:
    """Return the hook as it is. Raises VirtrbdError, DeniedError."""
    file = file_of(settings)
    text = _read(file)
    if text is None:
        return Hook(file=str(file), state=State.ABSENT)
    if not is_program(text):
        return Hook(file=str(file), state=State.FOREIGN)
    known, found = read_program(text), (*differences(text, wanted), *_not_executable(file))
    return Hook(
        file=str(file),
        state=State.DIFFERS if found else State.INSTALLED,
        version=known.version if known else "",
        differences=found,
        reload=_reload(file, settings),
    )


def require_found(python: str) -> None:
    """Raise VirtrbdError where this interpreter does not find virtrbd by itself: the hook has no other path to it."""
    argv = [python, "-I", "-c", "import virtrbd.hook.answer, virtrbd.hook.checks"]
    try:
        done = subprocess.run(argv, env={}, cwd="/", capture_output=True, timeout=60, check=False)
        is_found = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        is_found = False
    if not is_found:
        raise VirtrbdError(f"{python}: does not find virtrbd by itself; install virtrbd for it with pip")


def install(settings: Settings, wanted: Program) -> bool:
    """Write the hook; return whether that changed anything. Raises VirtrbdError, DeniedError."""
    found = look(settings, wanted)
    if found.state is State.FOREIGN:
        raise _foreign(found.file)
    if found.state is State.INSTALLED:
        return False
    try:
        make_private(Path(found.file).parent)
        # libvirt runs every executable file in that folder, also the half one that a kill leaves: this one is not.
        write_whole(found.file, wanted.text.encode(), 0o644)
        os.chmod(found.file, 0o755)
    except OSError as error:
        raise cannot_write(found.file, error, "run as root, or correct `hook: folder` in the settings") from error
    return True


def remove(settings: Settings) -> bool:
    """Remove the hook; return whether there was one. Raises VirtrbdError, DeniedError."""
    file = file_of(settings)
    text = _read(file)
    if text is None:
        return False
    if not is_program(text):
        raise _foreign(str(file))
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(file, error, "run as root") from error
    return True


def _foreign(file: str) -> VirtrbdError:
    return VirtrbdError(f"{file}: is not virtrbd's; move it to another name in that folder, where libvirt runs it too")


def _read(file: Path) -> str | None:
    """Return the text of a file, None where there is none. Raises VirtrbdError, DeniedError."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            return stream.read(MOST_BYTES).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            raise _foreign(str(file)) from None
        raise cannot_write(file, error, "run as root") from error


def _not_executable(file: Path) -> tuple[str, ...]:
    return () if os.access(file, os.X_OK) else ("it is not executable, so libvirt does not run it",)


def _reload(file: Path, settings: Settings) -> str | None:
    """Return the command that lets libvirt look for hooks again, as it does at its start and on SIGHUP (measured)."""
    folder = _run_folder(settings.connect)
    for daemon in _DAEMONS:
        began_at = _written_at(folder / f"{daemon}.pid")
        if began_at:
            called_at = _written_at(Path(settings.state_dir) / STARTS / CALLED)
            is_known = began_at >= _written_at(file) or called_at >= began_at
            return "" if is_known else shell_command("systemctl reload", daemon)
    return None


def _written_at(file: Path) -> float:
    """Return when a file was written, 0 where there is none."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _run_folder(connect: str) -> Path:
    """Return the folder of the daemon's pid file: beside its folder of sockets."""
    sockets = parse_qs(urlsplit(connect).query).get("socket")
    return Path(sockets[0]).parent.parent if sockets else Path("/run")
