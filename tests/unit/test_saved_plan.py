"""A plan kept in a file until it is applied: written over nothing else, and taken only as virtrbd wrote it."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.errors import ConfigError, UsageError, VirtrbdError
from virtrbd.local.saved_plan import SavedPlan, is_saved_plan, read_plan, refuse_target, save_plan
from virtrbd.model.digest import digest_of

Run = Callable[..., subprocess.CompletedProcess[str]]

SAVED = SavedPlan(paths=("/etc/virtrbd/specs",), digest=digest_of("plan"), host="kvm-1")
WRITTEN = {
    "kind": "virtrbd plan", "paths": list(SAVED.paths), "digest": SAVED.digest, "host": "kvm-1", "plan": ["a: would"],
}  # fmt: skip


def test_a_saved_plan_comes_back_and_can_be_read_by_people(tmp_path: Path) -> None:
    file = tmp_path / "tonight.plan"
    for lines in (["an older one"], ["a: would start domain"]):
        refuse_target(str(file))
        save_plan(str(file), SAVED, lines)
    assert read_plan(str(file)) == SAVED
    assert "a: would start domain" in file.read_text()
    assert [each.name for each in tmp_path.iterdir()] == [file.name], "no half file is left"
    assert is_saved_plan([str(file)])


def test_a_saved_plan_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_plan(str(tmp_path / "tonight.plan"), SAVED, [])
    finally:
        os.umask(before)
    assert (tmp_path / "tonight.plan").stat().st_mode & 0o777 == 0o600


def test_specs_are_no_saved_plan(tmp_path: Path) -> None:
    spec = tmp_path / "web.yaml"
    spec.write_text("name: web\n")
    assert not is_saved_plan([str(spec)])
    assert not is_saved_plan([str(tmp_path)])
    assert not is_saved_plan([])
    assert not is_saved_plan([str(spec), str(tmp_path)])
    saved = tmp_path / "monday.plan"
    saved.touch()
    with pytest.raises(UsageError, match="apply it alone"):
        is_saved_plan([str(saved), str(spec)])


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "another document": b"{}",
    "a list": b"[]",
    "a spec": b"name: web",
    "not UTF-8": json.dumps(WRITTEN).encode().replace(b"kvm-1", b"\xff"),
    "100,000 brackets": b"[" * 100_000,
    "brackets in a field": json.dumps(WRITTEN).encode().replace(b'["a: would"]', b"[" * 100_000 + b"]" * 100_000),
    "a lone surrogate": json.dumps(WRITTEN).encode().replace(b"kvm-1", b"\\ud800"),
    "an unknown field": json.dumps({**WRITTEN, "more": 1}).encode(),
    "too large": json.dumps(WRITTEN).encode() + b" " * 17 * 1024**2,
    "another kind": json.dumps({**WRITTEN, "kind": "other"}).encode(),
    "an empty digest": json.dumps({**WRITTEN, "digest": ""}).encode(),
    "a digest that is none": json.dumps({**WRITTEN, "digest": "d" * 31}).encode(),
    "a digest with a newline": json.dumps({**WRITTEN, "digest": SAVED.digest + "\n"}).encode(),
    "a digest that is a number": json.dumps({**WRITTEN, "digest": 1}).encode(),
    "no digest": json.dumps({key: WRITTEN[key] for key in WRITTEN if key != "digest"}).encode(),
    "a host that is a list": json.dumps({**WRITTEN, "host": ["kvm-1"]}).encode(),
    "no host": json.dumps({**WRITTEN, "host": ""}).encode(),
    "paths that are a text": json.dumps({**WRITTEN, "paths": "/etc"}).encode(),
    "a path that is a number": json.dumps({**WRITTEN, "paths": [1]}).encode(),
    "no paths": json.dumps({**WRITTEN, "paths": []}).encode(),
    "NUL in a path": json.dumps({**WRITTEN, "paths": ["/etc\0"]}).encode(),
    "a relative path": json.dumps({**WRITTEN, "paths": ["specs"]}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_virtrbd_did_not_write_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(HOSTILE[name])
    with pytest.raises(ConfigError, match=r"is not a plan that virtrbd saved; make one with virtrbd plan --save"):
        read_plan(str(tmp_path / "x.plan"))


@given(content=st.binary(max_size=300) | st.builds(
    lambda at, byte: (raw := json.dumps(WRITTEN).encode())[: at % len(raw)] + byte + raw[at % len(raw) + 1 :],
    st.integers(min_value=0), st.binary(min_size=1, max_size=1),
))  # fmt: skip
def test_any_bytes_are_a_plan_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.plan"
    file.write_bytes(content)
    try:
        saved = read_plan(str(file))
    except ConfigError:
        return
    assert saved.digest
    assert saved.host
    assert all(path.startswith("/") for path in saved.paths)


def sparse_file(file: Path) -> None:
    file.touch()
    os.truncate(file, 1024**4)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link to a device": lambda file: file.symlink_to("/dev/zero"),
    "a sparse file of 1 TiB": sparse_file,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_apply_ends_on_a_plan_that_never_ends(name: str, virtrbd: Run, tmp_path: Path) -> None:
    UNREADABLE[name](tmp_path / "x.plan")
    done = virtrbd("apply", "x.plan")
    assert done.returncode in (64, 78), done.stderr
    assert "x.plan: " in done.stderr


def test_a_plan_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_plan(str(tmp_path / "x.plan"))


TARGETS: dict[str, Callable[[Path], object]] = {
    "a link": lambda file: file.symlink_to(file.parent / "elsewhere"),
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "another file": lambda file: file.write_text("kept"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_plan_replaces_nothing_but_a_plan(name: str, tmp_path: Path) -> None:
    file = tmp_path / "x.plan"
    TARGETS[name](file)
    before = file.lstat()
    with pytest.raises(UsageError, match=r"x\.plan: "):
        refuse_target(str(file))
    if name != "another file":
        # It may have come meanwhile.
        with pytest.raises(VirtrbdError, match=r"x\.plan: "):
            save_plan(str(file), SAVED, [])
    after = file.lstat()
    assert (after.st_ino, after.st_size, after.st_mtime) == (before.st_ino, before.st_size, before.st_mtime)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "target", ["/", ".", "..", "missing/x.plan", "settings.yaml/x.plan", "web.yaml", "/dev/null", "x" * 300, "./"]
)
def test_a_place_where_no_plan_can_be_saved_is_refused_first(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").touch()
    with pytest.raises(UsageError, match=re.escape(f"{target}: ")):
        refuse_target(target)
    assert [each.name for each in tmp_path.iterdir()] == ["settings.yaml"]


def test_plan_says_at_once_that_it_cannot_be_saved(virtrbd: Run) -> None:
    # Without a libvirt to ask it would end with 69.
    done = virtrbd("plan", "--connect", "qemu:///system?socket=/missing", "--save", "/", "specs")
    assert (done.returncode, done.stderr) == (
        64,
        "virtrbd: /: Is a directory; name a file in a folder that can be written\n",
    )


def test_a_plan_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(VirtrbdError, match="File too large; name a file that can be written"):
            save_plan(str(tmp_path / "x.plan"), SAVED, ["x" * 1024**2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    script = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m virtrbd plan --save x.plan specs"
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 64, done.stderr
    assert "virtrbd: the working directory has been removed; change to another one" in done.stderr


def test_a_plan_of_files_that_are_not_utf8_is_not_saved(tmp_path: Path) -> None:
    odd = SavedPlan(paths=(os.fsdecode(b"/specs/\xff.yaml"),), digest=SAVED.digest, host="kvm-1")
    with pytest.raises(UsageError, match="not UTF-8"):
        save_plan(str(tmp_path / "x.plan"), odd, [])
