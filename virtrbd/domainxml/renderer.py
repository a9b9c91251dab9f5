"""The renderer of a site's templates, in a separate process: a template that loops or grows is ended.

Nothing inside one process can stop every template: a power of a power, or a text that doubles, is one call of C that
cannot be interrupted. The process keeps running for the next domain; it ends when this one does.
"""

import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import msgspec
from msgspec import Struct

from virtrbd.errors import DefectError, SpecError
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.fitted import Fitted

# A domain takes milliseconds.
RENDER_S = 10.0
# The process itself reports the line that does not end; this process ends one that cannot.
_GRACE_S = 2.0
_START_S = 60.0
# A template that never ends may be used by many domains: all together must not take up the run's deadline.
_MOST_TRIES = 3
_LENGTH_BYTES = 8
_MAX_ANSWER_BYTES = 64 * 1024**2


class RenderRequest(Struct, frozen=True, kw_only=True):
    """What to render, in how many seconds."""

    fitted: Fitted
    cluster: ClusterFacts
    secret_uuid: str
    template_dir: str
    limit_s: float


class RenderAnswer(Struct, frozen=True, kw_only=True):
    """The XML, or why there is none; `trace`: of a defect.

    `is_endless`: the template took too long, or too much. `is_spent`: the process ends, having had too little memory.
    """

    xml: str = ""
    problem: str = ""
    trace: tuple[str, ...] = ()
    is_endless: bool = False
    is_spent: bool = False


class _SilentError(Exception):
    """The process gave no answer; the message says why."""


class Renderer:
    """The process, started when it is first needed, and how often each template did not end."""

    def __init__(self) -> None:
        # Rendering may happen in several threads; the process does one at a time.
        self._lock = threading.Lock()
        self._endless: Counter[str] = Counter()
        self.process: subprocess.Popen[bytes] | None = None

    def render(self, request: RenderRequest) -> str:
        """Return the domain's XML. Raises SpecError, and DefectError for what virtrbd did not foresee."""
        template, domain = request.fitted.domain.template, request.fitted.domain.name
        where = f"template {template}: domain {domain}: "
        with self._lock:
            if self._endless[template] >= _MOST_TRIES:
                fact = f"not tried, because it did not end for {_MOST_TRIES} domains before; mend it first"
                raise SpecError(f"{where}{fact}")
            try:
                answer = self._ask(request)
            except _SilentError as error:
                answer = RenderAnswer(problem=f"{where}{error}", is_endless=True)
            self._endless[template] += answer.is_endless
        if answer.trace:
            raise DefectError(answer.problem, answer.trace)
        if answer.problem:
            raise SpecError(answer.problem)
        return answer.xml

    def end(self) -> None:
        """End the process, where there is one; the next domain gets another."""
        process, self.process = self.process, None
        if process:
            _end(process)

    def _ask(self, request: RenderRequest) -> RenderAnswer:
        """Return the process's answer. Raises _SilentError."""
        self.process = self.process or _started()
        try:
            answer = _exchange(self.process, request)
        except BaseException:
            # A late answer would be taken for the next domain's.
            self.end()
            raise
        if answer.is_spent:
            self.end()
        return answer


def read_message(descriptor: int, until: float | None = None) -> bytes:
    """Return one message, b"" at the end of the stream. Raises TimeoutError past `until` of the monotonic clock."""
    header = _read(descriptor, _LENGTH_BYTES, until)
    size = int.from_bytes(header, "big")
    if len(header) < _LENGTH_BYTES or size > _MAX_ANSWER_BYTES:
        return b""
    return _read(descriptor, size, until)


def write_message(descriptor: int, message: bytes) -> None:
    """Write one message. Raises OSError."""
    rest = memoryview(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read(descriptor: int, size: int, until: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        wait = None if until is None else max(0.0, until - time.monotonic())
        if not select.select([descriptor], [], [], wait)[0]:
            raise TimeoutError
        piece = os.read(descriptor, size - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def _exchange(process: "subprocess.Popen[bytes]", request: RenderRequest) -> RenderAnswer:
    assert process.stdin
    assert process.stdout
    try:
        write_message(process.stdin.fileno(), msgspec.json.encode(request))
        raw = read_message(process.stdout.fileno(), time.monotonic() + request.limit_s + _GRACE_S)
    except TimeoutError:
        limit = f"{request.limit_s:g} s"
        raise _SilentError(f"not rendered within {limit}; look for a loop or a number that grows without end") from None
    except BrokenPipeError:
        raw = b""
    if not raw:
        raise _SilentError("its process was ended; look for a loop or a text that grows without end")
    return msgspec.json.decode(raw, type=RenderAnswer)


def _started() -> "subprocess.Popen[bytes]":
    """Return a process that is ready. Raises SpecError."""
    process = subprocess.Popen(
        # -P: no imports from the working directory.
        [sys.executable, "-P", "-m", "virtrbd.domainxml.renderer_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LC_ALL": "C.UTF-8"},
        # This process handles Ctrl-C.
        start_new_session=True,
    )
    assert process.stdout
    try:
        if read_message(process.stdout.fileno(), time.monotonic() + _START_S):
            return process
    except TimeoutError:
        pass
    except BaseException:
        _end(process)
        raise
    _end(process)
    raise SpecError(
        f"the process that renders templates does not start ({sys.executable}); free memory, then run again"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


# One for the whole process, whose child it is: `render` is a function of a domain, and none of its arguments could hold
# it. A template that did not end for one run does not end for the next.
_renderer = Renderer()


def render_apart(request: RenderRequest) -> str:
    """Return the domain's XML. Raises SpecError, and DefectError for what virtrbd did not foresee."""
    return _renderer.render(request)
