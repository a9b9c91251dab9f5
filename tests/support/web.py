"""A web server in the test's own process, which does what servers do: well, badly, or never."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[["Handler"], None]


@dataclass(kw_only=True)
class Web:
    """`files` are served with ranges and ETags; `answers` are what paths do instead. `asked`: what came, in order."""

    port: int = 0
    scheme: str = "https"
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def log_message(self, *_words: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        self.web.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        answer = self.web.answers.get(self.path.partition("?")[0])
        with suppress(OSError):
            answer(self) if answer else self.send_file()

    def send_file(self, most: int | None = None) -> None:
        """Send a file, or a part of it, and break off after `most` bytes."""
        content = self.web.files.get(self.path.partition("?")[0])
        if content is None:
            self.send(404, b"not here")
            return
        etag, at = f'"{hash(content)}"', 0
        if (wanted := self.headers.get("Range")) and self.headers.get("If-Range", etag) == etag:
            at = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if at >= len(content):
                self.send(416, b"")
                return
            headers = {"Content-Range": f"bytes {at}-{len(content) - 1}/{len(content)}"}
            self.send(206, content[at:], most=most, headers={"ETag": etag, **headers})
        else:
            self.send(200, content, most=most, headers={"ETag": etag})

    def send(
        self, status: int, body: bytes, *, most: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:most])


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that do not trust it, or have enough, break off."""


@contextmanager
def serving(certificate: Path | None) -> Iterator[Web]:
    """Serve over TLS with this certificate and its key, without one over plain HTTP."""
    web = Web(scheme="https" if certificate else "http")
    server = _Server(("127.0.0.1", 0), type("Handler", (Handler,), {"web": web}))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.released.set()
        server.shutdown()
        server.server_close()


def make_certificate(folder: Path) -> Path:
    """Return a file with a certificate for 127.0.0.1, which signs itself, and its key."""
    file = folder / "server.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, "-keyout", file, "-out", folder / "cert.pem"], check=True, capture_output=True, timeout=50)
    file.write_bytes(file.read_bytes() + (folder / "cert.pem").read_bytes())
    return file
