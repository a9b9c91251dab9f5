"""Files that are to be imported, as qemu-img sees them: what they are, and whether they are whole.

It is asked in processes of its own, beside which the caller gets ready: one after the other they take a tenth of the
time of an image of 1 GiB.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from virtrbd.errors import SpecError, UnavailableError, VirtrbdError
from virtrbd.host.qemu_img import as_file
from virtrbd.printable import shell_command

# A check reads all tables of a large file.
_ANSWERS_WITHIN_S = 60.0


def read_as(path: str, file_format: str = "") -> list[str]:
    """Return the words that make qemu-img read the path in this format; an empty one is what it takes a file for.

    A block device is raw unless said otherwise: what a guest wrote to it may look like another format.
    """
    file_format = file_format or ("raw" if Path(path).is_block_device() else "")
    return ["-f", file_format] if file_format else []


@contextmanager
def looking_for_size(path: str, file_format: str = "") -> Iterator[Callable[[], int | None]]:
    """Yield what waits for the virtual size in bytes, None of what is no image file.

    The call raises VirtrbdError when the file refers to another one: a backing file or data file named inside an
    uploaded image would be read as root.
    """
    with _asked("info", path, file_format) as answer:

        def size() -> int | None:
            code, out = answer()
            if code:
                return None
            info = json.loads(out)
            if others := _others(path, info):
                raise VirtrbdError(f"{path}: refers to {others[0]}; flatten it first with qemu-img convert")
            return int(info["virtual-size"])

        yield size


@contextmanager
def looking_for_damage(path: str, file_format: str = "") -> Iterator[Callable[[], None]]:
    """Yield what waits until the file was found whole.

    The call raises SpecError for one that is not: of one cut short qemu-img copies what is missing as zeroes.
    """
    with _asked("check", path, file_format) as answer:

        def require_whole() -> None:
            code, _ = answer()
            # 2: corrupt, 1: it could not be read through. 3 are clusters that nobody uses; some formats have no check.
            if code in (1, 2):
                raise SpecError(
                    f"{path}: is damaged or cut short; see {shell_command('qemu-img check', path)}, and get it anew"
                )

        yield require_whole


def file_size(path: str, file_format: str = "") -> int | None:
    """Return what `looking_for_size` finds, and wait for it."""
    with looking_for_size(path, file_format) as size:
        return size()


def _others(path: str, info: dict[str, Any]) -> list[str]:
    """Return the other files that the image needs: its backing file, its data file, the extents of a VMDK."""
    details = info.get("format-specific", {}).get("data", {})
    details = details if isinstance(details, dict) else {}
    extents = [str(extent.get("filename", "")).removeprefix("file:") for extent in details.get("extents", ())]
    named = [info.get("backing-filename"), details.get("data-file"), *extents]
    return [str(name) for name in named if name and os.path.realpath(name) != os.path.realpath(path)]


@contextmanager
def _asked(verb: str, path: str, file_format: str) -> Iterator[Callable[[], tuple[int, str]]]:
    """Start qemu-img on the file, and yield what waits for its exit code and its output; nothing of it stays."""
    words: Sequence[str] = ["qemu-img", verb, "--output=json", *read_as(path, file_format), "--", as_file(path)]
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except FileNotFoundError:
        raise UnavailableError("qemu-img is missing; apt install qemu-utils") from None

    def answer() -> tuple[int, str]:
        try:
            out, _ = process.communicate(timeout=_ANSWERS_WITHIN_S)
        except subprocess.TimeoutExpired:
            text = f"{path}: qemu-img {verb} did not answer within {_ANSWERS_WITHIN_S:g} s"
            raise UnavailableError(text) from None
        return process.returncode, out

    with process:
        try:
            yield answer
        finally:
            if process.poll() is None:
                process.kill()
