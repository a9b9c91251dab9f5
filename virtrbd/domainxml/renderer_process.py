"""The process that renders a site's templates: requests on stdin, answers on stdout, until stdin ends."""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from types import FrameType

import msgspec

from virtrbd.contained import contained
from virtrbd.domainxml.render import EndlessError, render_here
from virtrbd.domainxml.renderer import RenderAnswer, RenderRequest, read_message, write_message
from virtrbd.errors import DefectError, SpecError

_STDIN, _STDOUT = 0, 1
_READY = b"ready"
_MAX_MEMORY_BYTES = 512 * 1024**2
# Besides the wall clock: the parent process may be gone, and Python's signals wait for C to return.
_MORE_CPU_S = 10


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.dup(_STDOUT)
    _limit(resource.RLIMIT_AS, _MAX_MEMORY_BYTES)
    # A template writes no files.
    _limit(resource.RLIMIT_FSIZE, 0)
    write_message(answers, _READY)
    while raw := read_message(_STDIN):
        answer = _answer(msgspec.json.decode(raw, type=RenderRequest))
        write_message(answers, msgspec.json.encode(answer))
        if answer.is_spent:
            return


def _answer(request: RenderRequest) -> RenderAnswer:
    try:
        what = f"template {request.fitted.domain.template}: domain {request.fitted.domain.name}"
        with contained(what):
            return RenderAnswer(xml=_render(request))
    except SpecError as error:
        # What ran out of memory may have left little of it.
        is_spent = isinstance(error.__cause__, MemoryError)
        is_endless = is_spent or isinstance(error.__cause__, EndlessError)
        return RenderAnswer(problem=str(error), is_endless=is_endless, is_spent=is_spent)
    except DefectError as error:
        return RenderAnswer(problem=str(error), trace=error.trace, is_spent=True)


def _render(request: RenderRequest) -> str:
    """Return the XML. Raises SpecError."""
    try:
        with _within(request.limit_s):
            return render_here(request.fitted, request.cluster, request.secret_uuid, request.template_dir)
    except EndlessError as error:
        # The alarm came outside of the template itself.
        raise SpecError(f"template {request.fitted.domain.template}: {error}") from error


@contextlib.contextmanager
def _within(limit_s: float) -> Iterator[None]:
    """Raise EndlessError in a block that takes longer, at the line of the template where it is then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + limit_s) + _MORE_CPU_S)

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise EndlessError(f"not rendered within {limit_s:g} s; look for a loop that does not end")

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(what: int, most: int) -> None:
    """Lower a limit where the one that is set is higher."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
