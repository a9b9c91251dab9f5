"""The cache of checked specs: it saves time, and decides nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Never

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as profile
from support.strategies import domains

import virtrbd
from virtrbd.errors import SpecError
from virtrbd.local import folders, spec_cache
from virtrbd.model.domain import Domain
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.desired import desired_domains

SPEC = "name: web\nmemory: 128M\ndisks:\n  - size: 1G\n  - clone: golden/x@v1\n    import: null\n"


@pytest.fixture
def settings() -> Settings:
    return Settings(host="kvm-1")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "web.yaml"
    file.write_text(SPEC)
    return file


def entries() -> list[Path]:
    return sorted((Path(os.environ["XDG_CACHE_HOME"]) / "virtrbd").iterdir())


def remember(number: int) -> None:
    spec_cache.remembered(int, (str(number),), lambda: number)


def refuse() -> Never:
    raise AssertionError("it was made anew")


@profile(max_examples=100, deadline=None)
@given(domain=domains("a"))
def test_an_entry_says_what_was_put_in(domain: Domain) -> None:
    # Not by its repr, which leaves out what a seed says.
    key = (msgspec.json.encode(domain),)
    spec_cache.remembered(tuple[Domain, ...], key, lambda: (domain,))
    assert spec_cache.remembered(tuple[Domain, ...], key, refuse) == (domain,)


def test_the_second_look_is_the_first_one(spec: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = desired_domains([str(spec)], settings)
    monkeypatch.setattr("virtrbd.specs.load.check_files", lambda *_: refuse())
    assert desired_domains([str(spec)], settings) == first


@pytest.mark.parametrize("change", [
    lambda settings: replace(settings, host="kvm-2"),
    lambda settings: replace(settings, raw=b"defaults: {disk: {cache: none}}\n"),
    lambda settings: replace(settings, digest="other"),
])  # fmt: skip
def test_other_settings_are_another_entry(
    change: Callable[[Settings], Settings], spec: Path, settings: Settings
) -> None:
    first = desired_domains([str(spec)], settings)
    assert desired_domains([str(spec)], change(settings)) != first


def test_other_bytes_are_another_entry(spec: Path, settings: Settings) -> None:
    desired_domains([str(spec)], settings)
    spec.write_text(SPEC.replace("128M", "256M"))
    assert desired_domains([str(spec)], settings)[0].memory_bytes == 256 * 1024**2
    spec.write_text("name: web\n")
    with pytest.raises(SpecError):
        desired_domains([str(spec)], settings)


def test_a_relative_file_is_looked_for_beside_its_spec(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - import: x.qcow2\n")
        monkeypatch.chdir(tmp_path / name)
        assert desired_domains(["web.yaml"], settings)[0].disks[0].import_file == str(tmp_path / name / "x.qcow2")


NOBODY = 65534


def change_a_byte(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"134217728", b"134217729"))


def change_a_byte_of_an_open_file(file: Path) -> None:
    change_a_byte(file)
    file.chmod(0o666)


def make_a_folder_of_it(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_a_link_of_it(file: Path) -> None:
    file.rename(file.with_suffix(".x"))
    file.symlink_to(file.with_suffix(".x"))


SPOILED: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "a changed byte": change_a_byte,
    "no utf-8": lambda file: file.write_bytes(b"\xff\n\xff"),
    "a folder": make_a_folder_of_it,
    "writable by others": change_a_byte_of_an_open_file,
    "a link": make_a_link_of_it,
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_entry_costs_time_only(name: str, spec: Path, settings: Settings) -> None:
    first = desired_domains([str(spec)], settings)
    [entry] = entries()
    SPOILED[name](entry)
    assert desired_domains([str(spec)], settings) == first


def test_each_room_that_makes_entries_is_there() -> None:
    package = Path(virtrbd.__file__).parent
    assert [room for room in spec_cache.MAKERS if not (package / room / "__init__.py").exists()] == []


def test_an_entry_that_others_can_write_is_not_believed() -> None:
    spec_cache.remembered(str, ("key",), lambda: "ours")
    entries()[0].chmod(0o666)
    assert spec_cache.remembered(str, ("key",), lambda: "made anew") == "made anew"


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null"])
def test_a_folder_that_cannot_be_written_costs_time_only(
    folder: str, spec: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    for _ in range(2):
        assert desired_domains([str(spec)], settings)[0].name == "web"


def test_a_cache_home_that_is_not_absolute_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG Base Directory Specification says."""
    for name in ("here", "./here", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", name)
        assert os.path.isabs(folders.cache_folder())
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert folders.cache_folder() == "/elsewhere/virtrbd"


def test_entries_are_for_their_owner_only(spec: Path, settings: Settings) -> None:
    os.umask(os.umask(0))
    desired_domains([str(spec)], settings)
    [entry] = entries()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700


def test_the_oldest_entries_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_cache, "_MOST_ENTRIES", 3)
    for number in range(6):
        remember(number)
        for entry in entries():
            os.utime(entry, (entry.stat().st_mtime - 10,) * 2)
    assert len(entries()) == 3
    assert spec_cache.remembered(int, ("5",), lambda: -1) == 5
    assert spec_cache.remembered(int, ("0",), lambda: -1) == -1


def test_only_entries_are_ever_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache" / "virtrbd"
    folder.mkdir(parents=True, mode=0o700)
    theirs = {"notes.txt", "a" * 31, "A" * 32, "a" * 32 + ".new", ".virtrbd+0.part"}
    for name in theirs:
        (folder / name).write_text("kept")
        os.utime(folder / name, (1, 1))
    monkeypatch.setattr(spec_cache, "_MOST_ENTRIES", 3)
    for number in range(6):
        remember(number)
    names = {entry.name for entry in entries()}
    assert theirs < names
    assert len(names - theirs) == 3


def link_to_theirs(home: Path, theirs: Path) -> None:
    home.mkdir()
    (home / "virtrbd").symlink_to(theirs)


def link_of_theirs_to_ours(home: Path, _theirs: Path) -> None:
    home.mkdir()
    (home.parent / "ours").mkdir(mode=0o700)
    (home / "virtrbd").symlink_to(home.parent / "ours")
    os.chown(home, NOBODY, NOBODY)


def folder_of_theirs(home: Path, _theirs: Path) -> None:
    (home / "virtrbd").mkdir(parents=True)
    os.chown(home / "virtrbd", NOBODY, NOBODY)


def folder_open_to_others(home: Path, _theirs: Path) -> None:
    (home / "virtrbd").mkdir(parents=True)
    (home / "virtrbd").chmod(0o770)


def nothing_in_a_folder_of_theirs(home: Path, _theirs: Path) -> None:
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)


def link_of_theirs_above(home: Path, theirs: Path) -> None:
    home.symlink_to(theirs)
    os.chown(home, NOBODY, NOBODY, follow_symlinks=False)


OTHERS: dict[str, Callable[[Path, Path], None]] = {
    "the folder is a link": link_to_theirs,
    "the folder is a link of theirs to a folder of ours": link_of_theirs_to_ours,
    "the folder is theirs": folder_of_theirs,
    "others may write into it": folder_open_to_others,
    "it is missing in a folder of theirs": nothing_in_a_folder_of_theirs,
    "a folder above is a link of theirs": link_of_theirs_above,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_that_another_user_can_change_is_not_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `sudo -E`: root's XDG_CACHE_HOME is then a user's."""
    theirs, home = tmp_path / "theirs", tmp_path / "home"
    (theirs / "virtrbd").mkdir(parents=True)
    for number in range(9):
        (theirs / f"{number:032x}").write_text("kept")
        (theirs / "virtrbd" / f"{number:032x}").write_text("kept")
    OTHERS[name](home, theirs)
    before = sorted(map(str, tmp_path.rglob("*")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(spec_cache, "_MOST_ENTRIES", 3)
    for _ in range(2):
        assert spec_cache.remembered(str, ("key",), lambda: "made") == "made"
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_half_entries_of_killed_runs_go(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "virtrbd"
    folder.mkdir(parents=True, mode=0o700)
    (folder / f".virtrbd+{'0' * 16}.part").write_text("half")
    spec_cache.remembered(int, ("key",), lambda: 1)
    assert [entry.name for entry in entries() if entry.name.startswith(".")] == []


def test_a_working_directory_that_is_gone_costs_nothing(
    spec: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert desired_domains([str(spec)], settings)[0].name == "web"
