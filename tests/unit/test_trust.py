"""Whether a file is to be believed: who else could change it, and where it really lies."""

import errno
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.trust import (
    OutsideError,
    open_beneath,
    open_entry,
    open_regular,
    weakness,
    weakness_of,
)

NOBODY = 65534


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file belong to another user: to nobody, or else let another one run."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/s.yaml").write_text("x")
    return tmp_path / "a/b/s.yaml"


def test_a_file_of_the_own_user_below_tmp_is_safe(file: Path) -> None:
    """/tmp is everybody's, and sticky: nobody else can replace what is there."""
    assert weakness(str(file)) is None
    assert weakness("/") is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666], ids=oct)
def test_a_file_that_others_may_write_is_weak(file: Path, mode: int) -> None:
    file.chmod(mode)
    found = weakness(str(file))
    assert found is not None
    assert (found.path, found.way_out) == (str(file), f"chmod go-w {file}")
    assert found.fact.endswith(f"(mode {mode:04o})")


@pytest.mark.parametrize("mode", [0o775, 0o777], ids=oct)
def test_any_folder_on_the_way_counts(file: Path, mode: int) -> None:
    file.parent.parent.chmod(mode)
    found = weakness(str(file))
    assert found is not None
    assert found.path == str(file.parent.parent)


def test_the_sticky_bit_saves_a_parent_but_not_the_folder_itself(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert weakness(str(file)) is None
    found = weakness(str(file.parent))
    assert found is not None
    assert found.path == str(file.parent)


@pytest.mark.parametrize("part", ["a", "a/b", "a/b/s.yaml"])
def test_what_belongs_to_another_user_is_weak(
    file: Path, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_away(tmp_path / part, monkeypatch)
    found = weakness(str(file))
    assert found is not None
    assert found.fact.startswith("belongs to user ")
    assert found.way_out.startswith("chown " if part.endswith(".yaml") else "put it into a folder that only ")


def test_no_way_out_takes_from_others_what_they_use() -> None:
    """A home, a folder that many share, one far above, a device: another place for the file is the way out."""

    def way_out(mode: int, parts_below: int, path: str = "/srv/x", uid: int = 0) -> str:
        status = os.stat_result((mode, 0, 0, 0, uid, 0, 0, 0, 0, 0))
        found = weakness_of(path, status, parts_below=parts_below)
        assert found is not None
        return found.way_out

    elsewhere = f"into a folder that only {pwd.getpwuid(os.geteuid()).pw_name} may write"
    assert f"put it {elsewhere}" in way_out(stat.S_IFDIR | 0o755, 1, uid=NOBODY), "a home"
    assert f"put it {elsewhere}" in way_out(stat.S_IFDIR | 0o777, 2), "not the file's own folder"
    assert f"put it {elsewhere}" in way_out(stat.S_IFCHR | 0o666, 0), "/dev/null"
    assert f"put its files {elsewhere}" in way_out(stat.S_IFDIR | 0o1777, 0), "/tmp"
    assert f"put its files {elsewhere}" in way_out(stat.S_IFDIR | 0o755, 0, uid=NOBODY), "a home that holds specs"
    assert way_out(stat.S_IFDIR | 0o777, 1) == "chmod go-w /srv/x"
    assert way_out(stat.S_IFREG | 0o666, 0) == "chmod go-w /srv/x"
    assert way_out(stat.S_IFDIR | 0o777, 2, "/etc") == "chmod go-w /etc", "no place would be better than /etc/virtrbd"
    assert way_out(stat.S_IFDIR | 0o777, 5, "/") == "chmod go-w /"


def test_a_link_is_looked_at_and_so_is_the_way_to_its_target(file: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open/s.yaml").write_text("x")
    (tmp_path / "open").chmod(0o777)
    (file.parent / "link.yaml").symlink_to("../../open/s.yaml")
    found = weakness(str(file.parent / "link.yaml"))
    assert found is not None
    assert found.path == str(tmp_path / "open")
    (tmp_path / "open/back.yaml").symlink_to(file)
    assert weakness(str(tmp_path / "open/back.yaml")) is not None, "who may write the folder may change the link"


def test_a_link_of_another_user_is_weak_wherever_it_leads(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.yaml").symlink_to(file)
    give_away(tmp_path / "link.yaml", monkeypatch)
    assert weakness(str(tmp_path / "link.yaml")) is not None


def test_dots_and_relative_names_lead_where_the_kernel_goes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent.parent / "link").symlink_to("b")
    monkeypatch.chdir(file.parent.parent)
    for name in ("b/s.yaml", "./link/../b//s.yaml", "../a/b/./s.yaml"):
        assert weakness(name) is None, name
    file.chmod(0o666)
    assert weakness("link/../b/s.yaml") is not None


def test_a_way_without_an_end_ends(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        weakness(str(tmp_path / "one"))


def read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as stream:
        return stream.read()


def test_what_lies_beneath_a_folder_is_opened(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a/link").symlink_to("b/s.yaml")
    (tmp_path / "linked").symlink_to("a")
    for folder in (tmp_path / "a", tmp_path / "linked"):
        for path in (file, tmp_path / "a/link", tmp_path / "linked/link", tmp_path / "a/b/../link"):
            assert read(open_beneath(str(path), [str(folder)])) == b"x", path


@pytest.mark.parametrize("kind", ["dots", "absolute", "link", "folder link", "name that begins alike", "magic link"])
def test_what_leads_outside_is_not_opened(kind: str, file: Path, tmp_path: Path) -> None:
    (tmp_path / "a/b-secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a/b/link").symlink_to("../../secret")
    (tmp_path / "a/b/up").symlink_to("../..")
    folder = file.parent
    path = {
        "dots": f"{folder}/../../secret",
        "absolute": "/etc/passwd",
        "link": f"{folder}/link",
        "folder link": f"{folder}/up/secret",
        "name that begins alike": f"{folder}-secret",
        "magic link": "/proc/self/root/etc/passwd",
    }[kind]
    with pytest.raises(OutsideError):
        open_beneath(path, [str(folder)])
    assert read(open_beneath(path, [str(folder), "/"]))


def test_without_a_folder_nothing_is_opened(file: Path) -> None:
    with pytest.raises(OutsideError):
        open_beneath(str(file), [])


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "socket"])
def test_what_is_no_regular_file_is_not_even_opened(kind: str, tmp_path: Path) -> None:
    """A FIFO without a writer would be waited for; a watchdog is armed by opening it."""
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.mkdir()
    for look in (open_regular, lambda name: open_beneath(name, ["/"])):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            look(str(path))
    if kind == "device":
        assert open_entry(str(path)) is None, "it is a link"
        return
    with pytest.raises(OSError, match=r"not a regular file|Is a directory|No such device"):
        open_entry(str(path))


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300).map(os.fsdecode)))
def test_any_name_is_opened_or_refused(name: str) -> None:
    for look in (weakness, open_regular, lambda path: open_beneath(path, ["/nowhere"])):
        try:
            found = look(name)
        except (OSError, OutsideError):
            continue
        if isinstance(found, int):
            os.close(found)


@pytest.mark.parametrize(
    ("group", "members", "euid", "is_safe"),
    [("bob", [], 1000, True), ("bob", ["bob"], 1000, True), ("bob", ["eve"], 1000, False), ("users", [], 1000, False),
     ("bob", [], 0, False)],
)  # fmt: skip
def test_the_group_of_one_user_alone_may_write_what_is_that_users(
    group: str, members: list[str], euid: int, is_safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As umask 002 leaves it. Root takes nothing that any group may write."""
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr("grp.getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_mem=members, gr_gid=gid))
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="bob" if uid == 1000 else "root"))
    status = os.stat_result((stat.S_IFREG | 0o664, 1, 1, 1, euid, euid, 0, 0, 0, 0))
    assert (weakness_of("/home/bob/v.yaml", status) is None) == is_safe
