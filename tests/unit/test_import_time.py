"""Files to import that are never ready: in a run from cron they hold up their own domains alone."""

import gzip
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sources import as_disk
from support.web import Handler, Web, serving

from virtrbd.engine.spec_files import file_sizes
from virtrbd.errors import ExitCode
from virtrbd.local.image_cache import opened_cache
from virtrbd.model.digest import digest_of
from virtrbd.model.import_file import ImportFile
from virtrbd.model.settings import ImportSettings, Settings

pytestmark = pytest.mark.slow

MIB = 1024**2
CONTENT = as_disk(bytes(MIB))
GETS_S = 3.0
# What one that says nothing gets beside, and a machine that is busy.
SPARE_S = 6.0


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(None) as web:
        web.files["/good.raw"] = CONTENT
        yield web


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(host="here", imports=ImportSettings(cache_dir=str(tmp_path / "cache")))


def checksum_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def on(web: Web, path: str) -> ImportFile:
    return ImportFile(name=web.url(path), checksum=checksum_of(web.files.get(path, path.encode())))


def silent(handler: Handler) -> None:
    handler.web.released.wait(60)


def dripping(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(1024**3))
    handler.end_headers()
    while not handler.web.released.wait(0.02):
        # Enough in a minute to count as progress.
        handler.wfile.write(bytes(8192))


def never_ready(file: ImportFile, here: Settings, *others: ImportFile) -> None:
    """Require that the file fails in time, and nothing else."""
    began = time.monotonic()
    sizes, failures = file_sizes([file, *others], here, began + GETS_S)
    assert time.monotonic() - began < GETS_S + SPARE_S
    assert dict(sizes) == dict.fromkeys(others, len(CONTENT))
    assert list(failures) == [file]
    assert failures[file].exit_code is ExitCode.UNAVAILABLE
    assert failures[file].text == (
        f"{file}: not ready in its part of the 300 s of a run; virtrbd plan by hand waits until it is, and the "
        f"cache keeps it for the next run; or raise timeouts: reconcile"
    )


def test_servers_that_never_end_hold_up_their_own_files_alone(web: Web, here: Settings, tmp_path: Path) -> None:
    web.answers |= {"/silent.raw": silent, "/other.raw": silent, "/drips.raw": dripping}
    (tmp_path / "local.raw").write_bytes(CONTENT)
    bad = [on(web, path) for path in ("/silent.raw", "/other.raw", "/drips.raw")]
    good = [on(web, "/good.raw"), ImportFile(name=str(tmp_path / "local.raw"), checksum=checksum_of(CONTENT))]
    began = time.monotonic()
    sizes, failures = file_sizes([*bad, *good], here, began + GETS_S)
    assert time.monotonic() - began < GETS_S + SPARE_S
    assert sizes == dict.fromkeys(good, len(CONTENT))
    assert set(failures) == set(bad)
    assert {failure.exit_code for failure in failures.values()} == {ExitCode.UNAVAILABLE}


def test_what_was_fetched_when_the_time_was_over_is_kept(web: Web, here: Settings, tmp_path: Path) -> None:
    web.answers["/drips.raw"] = dripping
    never_ready(on(web, "/drips.raw"), here, on(web, "/good.raw"))
    [part] = (tmp_path / "cache").glob("*.part")
    assert part.stat().st_size > 0
    assert len([path for path, _ in web.asked if path == "/drips.raw"]) == 1


def test_another_run_that_fetches_is_waited_for_no_longer(web: Web, here: Settings) -> None:
    wanted = on(web, "/drips.raw")
    with opened_cache(here.imports) as cache, cache.part(digest_of("fetched", wanted.checksum), lambda: None):
        never_ready(wanted, here, on(web, "/good.raw"))


def test_an_unpacking_that_takes_too_long_is_given_up(web: Web, here: Settings, tmp_path: Path) -> None:
    packed = tmp_path / "large.gz"
    packed.write_bytes(gzip.compress(bytes(64 * MIB), 1) * 1000)
    never_ready(ImportFile(name=str(packed)), here, on(web, "/good.raw"))


def test_who_waits_by_hand_gets_what_is_slow(web: Web, here: Settings) -> None:
    assert file_sizes([on(web, "/good.raw")], here) == ({on(web, "/good.raw"): len(CONTENT)}, {})
