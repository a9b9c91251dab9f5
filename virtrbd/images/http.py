"""Requests to web servers: with a deadline, followed within limits, without trust that an answer ends.

Proxies are taken from the environment (https_proxy, http_proxy, no_proxy), certificates are the host's own.
"""

import http.client
import io
import ssl
import string
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

import virtrbd
from virtrbd.deadline import call_within
from virtrbd.ending import obey_here
from virtrbd.errors import DeniedError, SpecError, UnavailableError, VirtrbdError
from virtrbd.model.import_file import require_url, without_query
from virtrbd.printable import cut

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 1024**2
# Fewer bytes than this within the time of a stall are not progress: a byte now and then must not keep a run alive.
_MOVED_BYTES = 64 * 1024
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_DENIED, _MISSING = (401, 403, 407), (404, 410)
_NO_LONGER_THERE = 416
_REFUSED_FROM = 500
_BUSY = (408, 425, 429)


class BrokenOffError(UnavailableError):
    """The server, or the network, ended the body before its end."""


class _Timed(io.RawIOBase):
    """A body that is read until a time: one read of it may be many of the socket, each with a timeout of its own.

    The sizes of chunks, and what follows the last one, are read by lines, and a line a byte at a time.
    """

    def __init__(self, body: io.BufferedReader) -> None:
        self._body, self.until = body, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if time.monotonic() > self.until:
            raise TimeoutError
        return self._body.readinto1(buffer)

    def close(self) -> None:
        self._body.close()
        super().close()


class Answer:
    """A server's answer: its status, its headers, and its body, a piece at a time."""

    def __init__(self, url: str, response: http.client.HTTPResponse, stall_s: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._name, self._response, self._stall_s = without_query(url), response, stall_s
        self._body = _Timed(response.fp)
        response.fp = io.BufferedReader(self._body)

    @property
    def length(self) -> int | None:
        """The bytes of the body, as the server says; None where it does not."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def pieces(self) -> Iterator[bytes]:
        """Yield the body. Raises BrokenOffError, UnavailableError where it makes no progress."""
        moved_bytes, moved_at, done = 0, time.monotonic(), 0
        while True:
            obey_here()
            self._body.until = time.monotonic() + self._stall_s
            try:
                piece = self._response.read1(_CHUNK_BYTES)
            except TimeoutError:
                raise self._stands_still() from None
            except (OSError, http.client.HTTPException) as error:
                raise BrokenOffError(f"{self._name}: broke off after {done} bytes ({_in_short(error)})") from None
            if not piece:
                break
            done += len(piece)
            if done >= moved_bytes + _MOVED_BYTES:
                moved_bytes, moved_at = done, time.monotonic()
            elif time.monotonic() > moved_at + self._stall_s:
                raise self._stands_still()
            yield piece
        if self.length is not None and done < self.length:
            raise BrokenOffError(f"{self._name}: broke off after {done} of {self.length} bytes")

    def _stands_still(self) -> UnavailableError:
        return UnavailableError(f"{self._name}: no progress for {self._stall_s:g} s")


@contextmanager
def asked(url: str, headers: Mapping[str, str], stall_s: float) -> Iterator[Answer]:
    """Request a URL and yield the answer. Raises UnavailableError, SpecError, DeniedError, VirtrbdError."""
    name = without_query(url)
    words = {"User-Agent": f"virtrbd/{virtrbd.__version__}", "Accept-Encoding": "identity", **headers}
    # In a thread: looking up a name has no timeout, and a server may give its headers a byte at a time.
    response = call_within(stall_s, name, lambda: _followed(url, words, stall_s))
    with response:
        yield Answer(url, response, stall_s)


def read_small(url: str, most_bytes: int, stall_s: float) -> bytes:
    """Return a small file. Raises SpecError for a larger file, and what `asked` raises."""
    parts, done, give_up_at = [], 0, time.monotonic() + stall_s
    with asked(url, {}, stall_s) as answer:
        for piece in answer.pieces():
            done += len(piece)
            if done > most_bytes:
                raise SpecError(
                    f"{without_query(url)}: is not a list of checksums: it has more than {most_bytes} bytes"
                )
            if time.monotonic() > give_up_at:
                raise UnavailableError(f"{without_query(url)}: not received within {stall_s:g} s")
            parts.append(piece)
    return b"".join(parts)


def _followed(url: str, headers: Mapping[str, str], stall_s: float) -> http.client.HTTPResponse:
    """Return the answer with the file, after redirects. Raises VirtrbdError."""
    name = without_query(url)
    # Not urllib's own handler: it reads the whole body of a redirect into memory.
    for _ in range(_MOST_REDIRECTS + 1):
        response = _opened(urllib.request.Request(url, headers=dict(headers)), name, stall_s)
        if response.status // 100 == 2:
            return response
        response.close()
        if response.status not in _REDIRECTS or not (to := response.headers.get("Location")):
            raise _refusal(name, response)
        url = _next_url(name, url, to)
    raise SpecError(f"{name}: redirects too often, or in a circle; name a URL that leads to the file")


def _next_url(name: str, url: str, to: str) -> str:
    """Return the target of a redirect, which is never less safe than the first URL."""
    try:
        # http.client reads the bytes of headers as this; some servers write UTF-8 there.
        following = urljoin(url, quote(to, encoding="iso-8859-1", safe=string.punctuation))
        require_url(following)
    except ValueError as error:
        raise SpecError(f"{name}: leads to another URL: {error}") from None
    if url.lower().startswith("https:") and not following.lower().startswith("https:"):
        raise VirtrbdError(f"{name}: leads to {without_query(following)}, which is not https; name a URL that is")
    return following


def _opened(request: urllib.request.Request, name: str, stall_s: float) -> http.client.HTTPResponse:
    opener = urllib.request.OpenerDirector()
    # Not build_opener: it reads files and FTP as well, and redirects could lead there.
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    ):
        opener.add_handler(handler)
    try:
        response = opener.open(request, timeout=stall_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(f"{name}: {_in_short(error)}; {_way_out(error)}") from None
    if not isinstance(response, http.client.HTTPResponse):
        raise UnavailableError(f"{name}: leads to a URL that is not fetched; name a file on an https server")
    return response


def _refusal(name: str, response: http.client.HTTPResponse) -> VirtrbdError:
    """Return the error for an answer other than a file."""
    said, code = f"{name}: the server says {response.status} {cut(response.reason)}".rstrip(), response.status
    if code == _NO_LONGER_THERE:
        return RangeError(f"{said}; run again later")
    if code in _DENIED:
        return DeniedError(f"{said}; fetch it as a user who may, and name the file")
    if code in _MISSING:
        return SpecError(f"{said}; check the URL")
    if code >= _REFUSED_FROM or code in _BUSY:
        return UnavailableError(f"{said}; run again later")
    return SpecError(f"{said}; name a URL that leads to the file")


class RangeError(UnavailableError):
    """The server does not have this part of the file: the file has changed."""


def _in_short(error: Exception) -> str:
    """Return what went wrong, without the names of Python's own classes."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cut(cause.strerror)
    return cut(str(cause)) or type(cause).__name__


def _way_out(error: Exception) -> str:
    if isinstance(getattr(error, "reason", error), ssl.SSLError):
        return "check the name, the clock and the host's certificates (apt install ca-certificates)"
    return "check the name, the network and https_proxy, then run again"
