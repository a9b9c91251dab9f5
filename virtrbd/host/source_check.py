"""Whether an image file is whole, as `qemu-img check` sees it: beside it the caller gets ready."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virtrbd.errors import SpecError, UnavailableError
from virtrbd.host.confined import Rights, start_confined
from virtrbd.host.qemu_img import in_short
from virtrbd.host.source_file import Source
from virtrbd.host.source_node import readable_node

# It reads all tables of a large file, and holds a count for each of its clusters.
_ANSWERS_WITHIN_S = 60.0
_RIGHTS = Rights(cpu_s=int(_ANSWERS_WITHIN_S))
# 2: corrupt, 1: it could not be read through. 3 are clusters that nothing uses; 63: the format has no check.
_BROKEN = (1, 2)


@contextmanager
def looking_for_damage(source: Source) -> Iterator[Callable[[], None]]:
    """Yield what waits until the source was found whole; nothing of the check stays.

    The call raises SpecError for one that is not whole: of one cut short qemu-img copies what is missing as zeroes.
    """
    if source.look.format == "raw":
        yield lambda: None
        return
    with (
        readable_node(source) as node,
        start_confined(["qemu-img", "check", "--", node.name], _RIGHTS, [node.descriptor]) as process,
    ):

        def require_whole() -> None:
            try:
                _, said = process.communicate(timeout=_ANSWERS_WITHIN_S)
            except subprocess.TimeoutExpired:
                text = f"{source.path}: qemu-img check did not answer within {_ANSWERS_WITHIN_S:g} s"
                raise UnavailableError(text) from None
            source.require_still()
            _require_whole(source.path, process.returncode, in_short(said.decode(errors="replace"), node))

        try:
            yield require_whole
        finally:
            if process.poll() is None:
                process.kill()


def _require_whole(path: str, code: int, said: str) -> None:
    if code < 0 or code in _BROKEN:
        fact = said or "qemu-img check finds errors in it"
        if code < 0:
            fact = f"qemu-img check was ended by signal {-code} at its limits of time and memory; {said}".rstrip("; ")
        raise SpecError(f"{path}: is damaged or cut short: {fact}; get the file again")
