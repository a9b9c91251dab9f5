"""Files from web servers: what arrives is what was meant, whatever the server does."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.sources import as_disk
from support.web import Handler, Web, make_certificate, serving

from virtrbd.errors import ExitCode, SpecError, UnavailableError, VirtrbdError
from virtrbd.images.import_source import ImportWork, open_import
from virtrbd.model.import_file import ImportFile, require_fetchable, without_query
from virtrbd.model.settings import ImportSettings, Settings, Timeouts

pytestmark = pytest.mark.slow

CONTENT = as_disk(os.urandom(300 * 1024))
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
OTHER = as_disk(os.urandom(300 * 1024))
STALL_S = 1.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def web(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.parent / "cert.pem"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(certificate) as web:
        web.files["/disk.raw"] = CONTENT
        yield web


@dataclass(kw_only=True)
class Client:
    """A host's cache, and what a run there said."""

    cache: Path
    said: list[str]
    largest: int = 1024**3

    def fetch(self, url: str, checksum: str = SHA256, **words: Any) -> bytes:
        imports = ImportSettings(cache_dir=str(self.cache), largest=self.largest)
        settings = Settings(host="here", imports=imports, timeouts=Timeouts(transfer=STALL_S))
        wanted = ImportFile(name=url, checksum=checksum, **words)
        with open_import(wanted, ImportWork(settings=settings, say=self.said.append)) as source:
            return os.pread(source.file.descriptor, source.file.length, 0)

    def refusal(self, url: str, checksum: str = SHA256) -> VirtrbdError:
        with pytest.raises(VirtrbdError) as caught:
            self.fetch(url, checksum)
        return caught.value

    @property
    def kept(self) -> list[str]:
        return sorted(os.listdir(self.cache))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(cache=tmp_path / "cache", said=[])


def test_what_was_fetched_once_is_not_fetched_again(web: Web, client: Client) -> None:
    assert client.fetch(web.url("/disk.raw")) == CONTENT
    assert client.fetch(web.url("/disk.raw")) == CONTENT
    assert len(web.asked) == 1
    [kept] = client.kept
    assert (client.cache / kept).read_bytes() == CONTENT
    assert client.cache.stat().st_mode & 0o777 == 0o700


def test_what_the_cache_has_is_verified_again(web: Web, client: Client) -> None:
    client.fetch(web.url("/disk.raw"))
    [kept] = client.kept
    (client.cache / kept).chmod(0o644)
    (client.cache / kept).write_bytes(OTHER)
    assert client.fetch(web.url("/disk.raw")) == CONTENT
    assert len(web.asked) == 2


GNU = "{other}  another.raw\n{digest} *disk.raw\n"
BSD = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.raw: 307200 bytes\nSHA256 (disk.raw) = {digest}\n"


@pytest.mark.parametrize("text", [GNU, BSD, "{digest}\n", "{digest}  ./12/disk.raw\r\n"])
def test_a_list_of_checksums_is_read_as_distributions_publish_it(text: str, web: Web, client: Client) -> None:
    digest = SHA256.partition(":")[2]
    web.files["/SUMS"] = text.format(digest=digest, other=hashlib.sha256(OTHER).hexdigest()).encode()
    assert client.fetch(web.url("/disk.raw"), web.url("/SUMS")) == CONTENT


def test_a_list_without_the_file_or_with_two_of_its_name_proves_nothing(web: Web, client: Client) -> None:
    lists = {
        "holds no checksum for 'disk.raw'": b"<html>not found</html>",
        "only MD5 or SHA-1": hashlib.md5(CONTENT).hexdigest().encode() + b"  disk.raw\n",
        "holds two different checksums": b"".join(
            f"{hashlib.sha256(each).hexdigest()}  disk.raw\n".encode() for each in (CONTENT, OTHER)
        ),
        "it has more than": b"x" * (2 * 1024**2),
    }
    for says, text in lists.items():
        web.files["/SUMS"] = text
        error = client.refusal(web.url("/disk.raw"), web.url("/SUMS"))
        assert says in str(error)
        assert isinstance(error, SpecError)
    assert "/disk.raw" not in [path for path, _ in web.asked], "nothing is fetched that could not be verified"


def test_another_file_than_the_one_that_was_meant_is_refused_and_not_kept(web: Web, client: Client) -> None:
    web.files["/disk.raw"] = OTHER
    error = client.refusal(web.url("/disk.raw"))
    assert SHA256 in str(error)
    assert hashlib.sha256(OTHER).hexdigest() in str(error)
    assert client.kept == []


def breaking_off(handler: Handler, after: int) -> None:
    handler.send_file(most=after)


def test_what_breaks_off_is_taken_up_where_it_was(web: Web, client: Client) -> None:
    web.answers["/disk.raw"] = partial(breaking_off, after=100_000)
    assert client.fetch(web.url("/disk.raw")) == CONTENT
    ranges = [headers.get("range") for _, headers in web.asked]
    assert ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]
    assert all("if-range" in headers for _, headers in web.asked[1:])


def test_the_next_run_goes_on_where_one_was_cut_off(web: Web, client: Client) -> None:
    def once(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.send(503, b"")
        else:
            handler.send_file(most=100_000)

    web.answers["/disk.raw"] = once
    error = client.refusal(web.url("/disk.raw"))
    assert isinstance(error, UnavailableError)
    assert "97.7 KiB of it are in the cache, and the next run goes on from there" in str(error)
    web.answers.clear()
    assert client.fetch(web.url("/disk.raw")) == CONTENT
    assert web.asked[-1][1]["range"] == "bytes=100000-"
    assert client.kept == [name for name in client.kept if "." not in name]


def test_a_file_that_changed_since_is_fetched_from_its_begin(web: Web, client: Client) -> None:
    web.files["/disk.raw"] = OTHER

    def changing(handler: Handler) -> None:
        if handler.headers.get("Range"):
            web.files["/disk.raw"] = CONTENT
            handler.send_file()
        else:
            handler.send_file(most=100_000)

    web.answers["/disk.raw"] = changing
    assert client.fetch(web.url("/disk.raw")) == CONTENT


def test_a_half_file_that_is_not_what_it_seems_is_fetched_again(web: Web, client: Client) -> None:
    """A power cut leaves blocks of zeroes; a server without ETags mixes two files."""
    web.answers["/disk.raw"] = partial(breaking_off, after=100_000)
    with ExitStack() as stack:
        stack.callback(web.answers.clear)
        web.answers["/disk.raw"] = lambda handler: (
            handler.send(503, b"") if handler.headers.get("Range") else handler.send_file(most=100_000)
        )
        client.refusal(web.url("/disk.raw"))
    [part] = [name for name in client.kept if name.endswith(".part")]
    (client.cache / part).write_bytes(bytes(100_000))
    assert client.fetch(web.url("/disk.raw")) == CONTENT


def cut_short(handler: Handler) -> None:
    """Announce all, send a part, and have no rest."""
    handler.send(416, b"") if handler.headers.get("Range") else handler.send_file(most=100_000)


def by_halves(handler: Handler) -> None:
    """Send 100 KB of what was asked for, with headers that say so."""
    if not handler.headers.get("Range"):
        handler.send_file(most=100_000)
        return
    at = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    end = min(at + 50_000, len(CONTENT))
    handler.send(206, CONTENT[at:end], headers={"Content-Range": f"bytes {at}-{end - 1}/{len(CONTENT)}"})


def changing_without_a_name(handler: Handler, *, rest: bytes, dated: bool) -> None:
    """Have another file for the rest, and nothing that tells them apart: no ETag, and at most a date."""
    headers = {"Last-Modified": "Fri, 01 Jan 2021 00:00:00 GMT"} if dated else {}
    if wanted := handler.headers.get("Range"):
        at = int(wanted.removeprefix("bytes=").removesuffix("-"))
        said = f"bytes {at}-{len(rest) - 1}/{len(rest)}"
        handler.send(206, rest[at:], headers={**headers, "Content-Range": said})
    else:
        handler.send(200, CONTENT, most=100_000 if len(handler.web.asked) == 1 else None, headers=headers)


def changing_under_one_range(handler: Handler, *, etag: str, rest: bytes) -> None:
    """Send the rest of another file, whatever If-Range says, the first time."""
    if handler.headers.get("Range"):
        said = f"bytes 100000-{len(rest) - 1}/{len(rest)}"
        handler.send(206, rest[100_000:], headers={"ETag": etag, "Content-Range": said})
    else:
        handler.send(200, CONTENT, most=100_000 if len(handler.web.asked) == 1 else None, headers={"ETag": '"one"'})


MIXERS: dict[str, Callable[[Handler], None]] = {
    "halves": by_halves,
    "another ETag": partial(changing_under_one_range, etag='"other"', rest=OTHER),
    "another length": partial(changing_under_one_range, etag='"one"', rest=OTHER[:200_000]),
}
# With a checksum the rest is asked for here too: the digest shows what came.
UNNAMED: dict[str, Callable[[Handler], None]] = {
    "no validator": partial(changing_without_a_name, rest=OTHER, dated=False),
    "a date": partial(changing_without_a_name, rest=OTHER, dated=True),
}


@pytest.mark.parametrize("behaviour", [*MIXERS, *UNNAMED])
def test_without_a_checksum_no_file_is_made_of_halves(behaviour: str, web: Web, client: Client) -> None:
    web.answers["/disk.raw"] = {**MIXERS, **UNNAMED}[behaviour]
    assert client.fetch(web.url("/disk.raw"), "") == CONTENT


@pytest.mark.parametrize("behaviour", MIXERS)
def test_what_does_not_fit_is_fetched_again_where_a_checksum_is_known(behaviour: str, web: Web, client: Client) -> None:
    web.answers["/disk.raw"] = MIXERS[behaviour]
    assert client.fetch(web.url("/disk.raw")) == CONTENT


@pytest.mark.parametrize("checksum", ["", SHA256], ids=["no checksum", "a checksum"])
def test_a_file_cut_short_is_not_taken_for_whole(checksum: str, web: Web, client: Client) -> None:
    web.answers["/disk.raw"] = cut_short
    error = client.refusal(web.url("/disk.raw"), checksum)
    assert "the server says 416" in str(error)
    assert isinstance(error, UnavailableError)
    assert len(web.asked) == 4, "begun again once"


def test_what_came_whole_before_a_run_was_killed_is_taken(web: Web, client: Client) -> None:
    web.answers["/disk.raw"] = lambda handler: (
        handler.send(503, b"") if handler.headers.get("Range") else handler.send_file(most=100_000)
    )
    client.refusal(web.url("/disk.raw"))
    [part] = [name for name in client.kept if name.endswith(".part")]
    (client.cache / part).write_bytes(CONTENT)
    web.answers.clear()
    asked = len(web.asked)
    assert client.fetch(web.url("/disk.raw")) == CONTENT
    assert len(web.asked) == asked + 1


def test_a_server_that_stands_still_is_not_asked_again_and_again(web: Web, client: Client) -> None:
    def standing(handler: Handler) -> None:
        handler.send_file(most=100_000)
        web.released.wait(10)

    web.answers["/disk.raw"] = standing
    error = client.refusal(web.url("/disk.raw"))
    assert "no progress for 1 s; 97.7 KiB of it are in the cache" in str(error)
    assert len(web.asked) == 1
    assert "are here" not in str(client.refusal(web.url("/disk.raw"), "")), "the next run does not go on from there"


REFUSALS = {404: ExitCode.SPEC, 410: ExitCode.SPEC, 401: ExitCode.DENIED, 403: ExitCode.DENIED, 400: ExitCode.SPEC,
            429: ExitCode.UNAVAILABLE, 500: ExitCode.UNAVAILABLE, 503: ExitCode.UNAVAILABLE}  # fmt: skip


@pytest.mark.parametrize("status", REFUSALS)
def test_what_a_server_refuses_has_its_own_end(status: int, web: Web, client: Client) -> None:
    web.answers["/disk.raw"] = lambda handler: handler.send(status, b"<html>no</html>")
    error = client.refusal(web.url("/disk.raw"))
    assert error.exit_code == REFUSALS[status]
    assert f"the server says {status}" in str(error)


def redirect(handler: Handler, to: str) -> None:
    handler.send(302, b"", headers={"Location": to})


def test_a_redirect_is_followed_but_never_away_from_https(web: Web, client: Client) -> None:
    web.answers["/moved"] = partial(redirect, to="/disk.raw")
    assert client.fetch(web.url("/moved")) == CONTENT
    for to, says in {
        "http://127.0.0.1:1/disk.raw": "leads to http://127.0.0.1:1/disk.raw, which is not https",
        "file:///etc/shadow": "leads to another URL: file:// is not fetched",
        "http://user:s3cret@127.0.0.1/disk.raw": "leads to another URL: http://…: every user sees a password in a URL",
        "https://[": "leads to another URL",
        "/again": "or in a circle",
    }.items():
        web.answers["/again"] = partial(redirect, to=to)
        error = client.refusal(web.url("/again"), checksum="sha256:" + "0" * 64)
        assert says in str(error)
        assert "s3cret" not in str(error)


def test_what_comes_with_a_redirect_is_not_read(web: Web, client: Client) -> None:
    def endless(handler: Handler) -> None:
        handler.send(302, b"", headers={"Location": "/disk.raw", "Content-Length": str(1024**4)})
        while not web.released.is_set():
            handler.wfile.write(bytes(64 * 1024))

    web.answers["/moved"] = endless
    assert client.fetch(web.url("/moved")) == CONTENT


def test_http_is_for_what_has_a_checksum(client: Client) -> None:
    with serving(None) as plain:
        plain.files["/disk.raw"] = CONTENT
        assert client.fetch(plain.url("/disk.raw")) == CONTENT
        assert "needs a checksum" in str(client.refusal(plain.url("/disk.raw"), ""))
        assert "proves nothing" in str(client.refusal(plain.url("/disk.raw"), plain.url("/SUMS")))
    assert len(plain.asked) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/x", "is not fetched"),
        ("file:///etc/shadow", "is not fetched"),
        ("https://user:secret@host/x", "a password in a URL"),
        ("https://user:sec/ret@host/x", "a password in a URL"),
        ("https://user:12/ret@host/x", "a password in a URL"),
        ("https://user:sec#ret@host/x", "a password in a URL"),
        ("https://user:sec?ret@host/x", "a password in a URL"),
        ("https://user:secret@host:po/x", "a password in a URL"),
        ("https://user:secrét@host/x", "a password in a URL"),
        ("https://user:secret@[host/x", "a password in a URL"),
        ("https://user#secret@host/x", "a password in a URL"),
        ("https:///x", "does not name a server"),
        ("https://host:x/", "is not a URL"),
        ("https://host/a b", "is not a URL"),
        ("https://host/\r\nX: y", "is not a URL"),
    ],
)
def test_what_is_no_url_to_fetch_is_refused_before_anything_is_asked(url: str, says: str, client: Client) -> None:
    error = client.refusal(url)
    assert says in str(error)
    assert "sec" not in str(error)
    assert "ret@" not in str(error)


def test_an_at_sign_in_a_path_is_no_password(web: Web, client: Client) -> None:
    require_fetchable("https://host/pool@v1/disk.raw?key=x", SHA256)
    assert without_query("https://host/pool@v1/disk.raw?key=x") == "https://host/pool@v1/disk.raw?…"
    # Behind a port it is written so: a password may begin with digits.
    web.files["/pool%40v1/disk.raw"] = CONTENT
    assert client.fetch(web.url("/pool%40v1/disk.raw")) == CONTENT


def test_a_server_that_gives_nothing_or_a_byte_now_and_then_ends_in_time(web: Web, client: Client) -> None:
    def silent(_handler: Handler) -> None:
        web.released.wait(20)

    def dripping(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for at in range(200):
            handler.wfile.write(CONTENT[at : at + 1])
            if web.released.wait(0.1):
                return

    def in_chunks(handler: Handler, begin: bytes, drop: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(begin)
        for _ in range(200):
            handler.wfile.write(drop)
            if web.released.wait(0.1):
                return

    size_of_a_chunk = partial(in_chunks, begin=b"1\r\nx\r\n", drop=b"0")
    trailers = partial(in_chunks, begin=b"1\r\nx\r\n0\r\n", drop=b"X: y\r\n")
    for behaviour in (silent, dripping, size_of_a_chunk, trailers):
        web.answers["/disk.raw"] = web.answers["/SUMS"] = behaviour
        for checksum in (SHA256, web.url("/SUMS")):
            began = time.monotonic()
            error = client.refusal(web.url("/disk.raw"), checksum)
            assert isinstance(error, UnavailableError)
            assert time.monotonic() - began < 15


def test_a_server_that_lies_about_the_length_does_not_get_far(web: Web, client: Client) -> None:
    def longer(handler: Handler) -> None:
        handler.send(200, CONTENT, headers={"Content-Length": str(len(CONTENT) + 1000)})

    web.answers["/disk.raw"] = longer
    # All that there is came, and the rest is asked for in vain.
    with pytest.raises(VirtrbdError):
        client.fetch(web.url("/disk.raw"), "sha256:" + "0" * 64)

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.released.is_set():
            handler.wfile.write(bytes(64 * 1024))

    web.answers["/disk.raw"] = endless
    small = replace(client, largest=1024**2)
    assert "is larger than 1 MiB, the settings' imports: largest" in str(small.refusal(web.url("/disk.raw")))
    web.answers["/disk.raw"] = lambda handler: handler.send(200, b"", headers={"Content-Length": str(2 * 1024**2)})
    assert "is larger than 1 MiB" in str(small.refusal(web.url("/disk.raw")))


def test_a_certificate_of_a_stranger_is_not_trusted(web: Web, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = client.refusal(web.url("/disk.raw"))
    assert isinstance(error, UnavailableError)
    assert "its certificate is not trusted" in str(error)
    assert web.asked == []


def test_a_server_that_is_not_there_is_unavailable(client: Client) -> None:
    assert "Connection refused" in str(client.refusal("https://127.0.0.1:1/disk.raw"))
    assert isinstance(client.refusal("https://nowhere.invalid/disk.raw"), UnavailableError)


def test_runs_at_once_fetch_one_file_once(web: Web, client: Client) -> None:
    came = threading.Event()

    def slow(handler: Handler) -> None:
        came.wait(10)
        handler.send_file()

    web.answers["/disk.raw"] = slow
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(client.fetch, web.url("/disk.raw")) for _ in range(3)]
        while len(client.said) < 2:
            assert not any(run.done() for run in runs)
            time.sleep(0.01)
        came.set()
        assert [run.result() for run in runs] == [CONTENT] * 3
    assert len(web.asked) == 1
    assert client.said == [f"{web.url('/disk.raw')}: another run fetches it; waiting"] * 2


def test_without_a_checksum_the_file_is_named_by_its_own_and_not_kept(web: Web, client: Client) -> None:
    assert client.fetch(web.url("/disk.raw"), "") == CONTENT
    assert client.kept == []
    assert SHA256 in client.said[0]


def test_a_signed_query_stays_out_of_every_message(web: Web, client: Client) -> None:
    assert "s3cret" not in str(client.refusal(web.url("/nowhere?signature=s3cret")))
    client.fetch(web.url("/disk.raw?signature=s3cret"), "")
    assert "s3cret" not in "".join(client.said)


def test_a_cache_that_others_can_change_is_not_used(web: Web, client: Client) -> None:
    client.cache.mkdir()
    os.chown(client.cache, 65534, 65534)
    assert "another user may change it" in str(client.refusal(web.url("/disk.raw")))
    assert web.asked == []
