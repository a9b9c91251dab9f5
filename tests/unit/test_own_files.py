"""This host's own files: written whole, for given eyes, through no link, in folders that only their owner writes."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.engine.metrics import Summary, write_summary
from virtrbd.engine.new_files import write_new
from virtrbd.errors import BusyError, ConfigError, UsageError, VirtrbdError
from virtrbd.local.file_lock import MARKING
from virtrbd.local.folders import is_own
from virtrbd.local.state_dir import StateDir
from virtrbd.local.write_whole import write_unless_taken, write_whole
from virtrbd.model.image import ImageRef, Intent
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.record import replace

REF = ImageRef(pool="vms", name="web.vda")
INTENT = Intent(ref=REF, domain_uuid="u", size_bytes=1, parent=None, nonce="n", written_at=1.5, what="filling")
SUMMARY = Summary(exit_code=0, ended_at=1.0, last_success=1.0)
NOBODY = 65534
NOT_UTF8 = "\udcff"


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("umask")
def test_each_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "deep" / "state"))
    state.write_intent(INTENT)
    state.write_reported({"a": "b"})
    with state.locked(["web"], "apply"):
        pass
    made = [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]
    assert {mode_of(each) for each in made if each.is_dir()} == {0o700}
    assert {mode_of(each) & 0o077 for each in made if each.is_file()} == {0}
    write_summary(str(tmp_path / "virtrbd.prom"), SUMMARY)
    assert mode_of(tmp_path / "virtrbd.prom") == 0o644
    write_new(tmp_path / "web.yaml", "name: web\n", "")
    assert mode_of(tmp_path / "web.yaml") == 0o644


def link_to_a_file(file: Path) -> None:
    (file.parent / "other").write_text("kept")
    file.symlink_to("other")


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a link": lambda file: file.symlink_to(file.parent / "elsewhere"),
    "a link to a file": link_to_a_file,
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("name", SPECIAL)
def test_only_a_regular_file_is_replaced(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    SPECIAL[name](file)
    before = sorted((each.name, each.lstat()) for each in tmp_path.iterdir())
    with pytest.raises(OSError, match=r"Is a|Is not a regular file"):
        write_whole(file, b"new", 0o600)
    with pytest.raises(FileExistsError):
        write_unless_taken(file, b"new", 0o600)
    with pytest.raises(VirtrbdError, match="node_exporter keeps reading the previous summary"):
        write_summary(str(file), SUMMARY)
    with pytest.raises(UsageError, match="exists already with another content; move it"):
        write_new(file, "new", "move it")
    assert sorted((each.name, each.lstat()) for each in tmp_path.iterdir()) == before


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="File name too long"):
        write_whole(tmp_path / ("x" * 256), b"new", 0o600)
    with pytest.raises(TypeError):
        write_whole(tmp_path / "file", "no bytes", 0o600)  # type: ignore[arg-type]  # it fails half-way
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]


# Stops where the half file is written and not renamed yet.
KILLED = """
import os, signal, sys
os.rename = os.link = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from virtrbd.local.write_whole import write_whole
write_whole(sys.argv[1], b"half", 0o600)
"""


def kill_while_writing(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False, timeout=50)
    assert done.returncode == -signal.SIGKILL
    assert len(half_files(file.parent)) == 1


def half_files(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir() if each.name.endswith(".part")]


def test_what_a_killed_run_left_goes_with_the_next_write(tmp_path: Path) -> None:
    for write in (write_whole, write_unless_taken):
        kill_while_writing(tmp_path / "file")
        write(tmp_path / f"{write.__name__}.other", b"whole", 0o600)
        assert half_files(tmp_path) == []


def test_what_a_killed_run_left_in_the_state_directory_goes_with_the_next_run(tmp_path: Path) -> None:
    StateDir(str(tmp_path)).write_intent(INTENT)
    kill_while_writing(tmp_path / "intents" / "x")
    with StateDir(str(tmp_path)).locked(["web"], "apply"):
        assert [each.name for each in (tmp_path / "intents").iterdir()] == ["vms%2Fweb.vda"]


def test_so_does_what_an_earlier_version_left_in_it(tmp_path: Path) -> None:
    for room in ("intents", "made", "retirements"):
        (tmp_path / room).mkdir(mode=0o700)
        (tmp_path / room / "vms%2Fweb.vda+new").write_text("half")
        (tmp_path / room / "vms%2Fweb.vda").write_text("whole")
    with StateDir(str(tmp_path)).locked(["web"], "define"):
        pass
    assert [file.name for file in tmp_path.rglob("*vda*")] == ["vms%2Fweb.vda"] * 3


def test_a_file_that_another_run_is_writing_is_let_be(tmp_path: Path) -> None:
    script = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "(print(flush=True), input())")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "file")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        assert writer.stdin
        writer.stdout.readline()
        write_whole(tmp_path / "other", b"whole", 0o600)
        assert len(half_files(tmp_path)) == 1
        writer.kill()


def test_half_files_of_others_and_files_that_look_like_them_are_let_be(tmp_path: Path) -> None:
    half = f".virtrbd+{'0' * 16}.part"
    (tmp_path / half).write_text("another user's")
    os.chown(tmp_path / half, NOBODY, NOBODY)
    for name in (".virtrbd+0.part", "virtrbd+0123456789abcdef.part", ".virtrbd+0123456789abcdef.part.bak"):
        (tmp_path / name).write_text("kept")
    (tmp_path / half.replace("0", "1")).symlink_to(tmp_path / half)
    (tmp_path / half.replace("0", "2")).mkdir()
    os.mkfifo(tmp_path / half.replace("0", "3"))
    before = {each.name for each in tmp_path.iterdir()}
    write_whole(tmp_path / "file", b"whole", 0o600)
    assert {each.name for each in tmp_path.iterdir()} == before | {"file"}


def make_a_link_of_it(state: Path) -> None:
    state.rename(state.with_name("real"))
    state.symlink_to("real")


OPEN_TO_OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "group": (lambda state: state.chmod(0o770), r"others may write into it \(mode 0770\); chmod -R go-w "),
    "everybody": (
        lambda state: state.chmod(0o1777),
        r"others may write into it \(mode 1777\); set state_dir to a folder ",
    ),
    "a folder in it": (lambda state: (state / "intents").chmod(0o702), "intents: others may write into it"),
    "its owner": (
        lambda state: os.chown(state, NOBODY, NOBODY),
        f"belongs to user {NOBODY}; set state_dir to a folder of your own",
    ),
    "a link": (
        make_a_link_of_it,
        "is a link; write the folder itself into state_dir: .*real",
    ),
    "the folder above": (lambda state: state.parent.chmod(0o777), r"any user may replace it, .*; chmod o-w "),
}


@pytest.mark.parametrize("name", OPEN_TO_OTHERS)
def test_a_state_directory_that_others_may_change_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "above" / "state"
    StateDir(str(path)).write_intent(INTENT)
    spoil, message = OPEN_TO_OTHERS[name]
    spoil(path)
    uses: tuple[Callable[[StateDir], object], ...] = (
        lambda state: state.read_intent(REF),
        lambda state: state.read_intents([REF]),
        lambda state: state.write_intent(INTENT),
        lambda state: state.drop_intent(REF),
    )
    for use in uses:
        with pytest.raises(ConfigError, match=message):
            use(StateDir(str(path)))
    if name != "a folder in it":
        with pytest.raises(ConfigError, match=message), StateDir(str(path)).locked(["web"], "apply"):
            pass


def test_a_state_directory_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    StateDir(str(tmp_path / "state")).write_intent(INTENT)
    probe = f"""
import os
os.setgid({NOBODY}); os.setuid({NOBODY})
from virtrbd.errors import DeniedError
from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import ImageRef
state, ref = StateDir("{tmp_path}/state"), ImageRef.parse("vms/web.vda")
def lock():
    with state.locked(["web"], "apply"): pass
for use in (lambda: state.read_intent(ref), lambda: state.read_intents([ref]), lambda: state.drop_intent(ref),
            lambda: state.read_definition("u"), lambda: state.write_reported({{}}), lock):
    try:
        use()
    except DeniedError as error:
        print(error)
"""
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        above.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=50)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 6
    assert "permission denied; run as root, or set state_dir" in done.stdout


def test_a_lock_file_that_may_not_be_opened_is_denied(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir(mode=0o700)
    (tmp_path / "locks" / "web").mkdir()
    with pytest.raises(VirtrbdError, match="Is a directory"), StateDir(str(tmp_path)).locked(["web"], "apply"):
        pass
    (tmp_path / "locks" / "linked").symlink_to("/dev/null")
    with pytest.raises(VirtrbdError, match="symbolic links"), StateDir(str(tmp_path)).locked(["linked"], "apply"):
        pass


def test_a_command_waits_for_the_moment_in_which_another_run_marks_the_image(tmp_path: Path) -> None:
    with ExitStack() as marking:
        marking.enter_context(StateDir(str(tmp_path)).locked([str(REF)], MARKING))
        ends = threading.Timer(0.2, marking.close)
        ends.start()
        with StateDir(str(tmp_path)).locked([str(REF)], "image resize"):
            ends.join()
            [lock] = (tmp_path / "locks").iterdir()
            assert lock.read_text().startswith("virtrbd image resize (pid "), "the lock is the command's"


def test_no_command_waits_for_a_run_that_hangs_while_it_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtrbd.local.file_lock._MARKING_ENDS_S", 0.1)
    other = StateDir(str(tmp_path)).locked([str(REF)], "image resize")
    with (
        StateDir(str(tmp_path)).locked([str(REF)], MARKING),
        pytest.raises(BusyError, match="virtrbd image mark"),
        other,
    ):
        pass


def test_names_of_any_length_and_kind_are_files(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    refs = [replace(REF, name=name) for name in ("x" * 4000, "x" * 3999 + "y", NOT_UTF8, "ü" * 100, "+new", "..")]
    for ref in refs:
        if ref.name != NOT_UTF8:
            state.write_intent(replace(INTENT, ref=ref))
        other = StateDir(str(tmp_path)).locked([str(ref)], "define")
        with state.locked([str(ref)], "apply"), pytest.raises(BusyError, match=r"virtrbd apply \(pid "), other:
            pass
    found = state.read_intents(refs)
    assert {ref for ref in refs if ref.name != NOT_UTF8} == found.keys()
    assert all(intent.ref == ref for ref, intent in found.items())
    for ref in refs:
        state.drop_intent(ref)
    assert state.read_intents(refs) == {}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    state, last = StateDir(str(tmp_path)), LastDefinition(xml="<domain/>", hypervisor="h")
    clone = replace(INTENT, parent=ImageRef.parse("golden/x@v1"), importing=True)
    for intent in (INTENT, clone):
        state.write_intent(intent)
        assert state.read_intent(REF) == intent
    state.write_definition("u", last)
    state.write_reported({"a": "\udcff"})
    state.write_last_success(1234.5)
    assert (state.read_definition("u"), state.read_reported(), state.read_last_success()) == (
        last,
        {"a": "\udcff"},
        1234.5,
    )


def spoil_all(folder: Path, content: bytes) -> StateDir:
    for file in ("intents/vms%2Fweb.vda", "definitions/u", "reconcile/told", "reconcile/last-success"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return StateDir(str(folder))


@given(content=st.binary(max_size=200))
def test_any_bytes_in_the_state_directory_are_read_as_nothing(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = spoil_all(tmp_path_factory.getbasetemp() / "state", content)
    assert (state.read_intent(REF), state.read_definition("u")) == (None, None)
    assert isinstance(state.read_reported(), dict)
    assert isinstance(state.read_last_success(), float)


SPOILED: dict[str, bytes] = {
    "brackets": b"[" * 100_000,
    "objects": b'{"a":' * 50_000,
    "objects in a text's place": b'{"ref":' * 50_000,
    "a ref that is a number": b'{"ref": 5}',
    "a number out of range": b"1e999",
    "no number": b"NaN",
    "of other types": json.dumps({
        "ref": "vms/web.vda", "domain_uuid": [], "size_bytes": "1", "parent": "", "nonce": "", "written_at": 1,
    }).encode(),
    "of another image": json.dumps({
        "ref": "vms/other.vda", "domain_uuid": "", "size_bytes": 1, "parent": "", "nonce": "", "written_at": 1,
    }).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_state_directory_is_read_as_an_empty_one(name: str, tmp_path: Path) -> None:
    state = spoil_all(tmp_path, SPOILED[name])
    assert (state.read_intent(REF), state.read_definition("u"), state.read_last_success()) == (None, None, 0.0)
    assert isinstance(state.read_reported(), dict)


def test_a_path_is_own_when_no_other_user_can_change_any_part_of_it(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "deep" / "mine").mkdir(parents=True)
    os.chown(theirs, NOBODY, NOBODY)
    (tmp_path / "link").symlink_to(theirs / "deep")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "sticky" / "theirs").symlink_to(tmp_path)
    os.chown(tmp_path / "sticky" / "theirs", NOBODY, NOBODY, follow_symlinks=False)
    for path in ("", "sticky", "sticky/missing", "missing/at/all"):
        assert is_own(str(tmp_path / path)), path
    for path in ("theirs", "theirs/deep/mine", "theirs/missing", "link/mine", "shared/x", "sticky/theirs"):
        assert not is_own(str(tmp_path / path)), path
