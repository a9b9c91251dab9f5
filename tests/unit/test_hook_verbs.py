"""The verbs of `virtrbd hook`: what cannot be done is said, with its exit code, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]
NOWHERE = "qemu:///system?socket=/nowhere"


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """The folder of hooks that the settings name."""
    folder = tmp_path / "hooks/qemu.d"
    (tmp_path / "settings.yaml").write_text(f"host: h\nconnect: {NOWHERE}\nhook: {{folder: {folder}}}\n")
    return folder


@pytest.mark.parametrize(("words", "code", "said"), [
    (("install", "x"), 64, "unexpected extra argument"),
    (("install", "--connect", "qemu+ssh://kvm-2/system"), 64, "a hook is a file of the host whose libvirt runs it"),
    (("status", "--connect", "test:///default"), 64, "a hook is a file of the host whose libvirt runs it"),
    (("install",), 69, "nothing was begun"),
    (("status",), 69, "nothing was begun"),
    (("remove", "--config", "nowhere.yaml"), 78, "no such settings file"),
    (("replace",), 64, "No such command"),
])  # fmt: skip
def test_what_is_wrong_is_said(virtrbd: Run, hooks: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = virtrbd("hook", *words)
    assert (done.returncode, done.stdout, said in done.stderr) == (code, "", True), done
    assert not hooks.exists()
    as_json = virtrbd("hook", *words, "--output", "json")
    assert json.loads(as_json.stdout)["exit_code"] == code


@pytest.mark.parametrize("text", ["hook: {folder: hooks}\n", "hook: {ceph_unreachable: maybe}\n", "hook: {dir: /x}\n",
                                  "hook: {folder: 1}\n", "hook: []\n", "timeouts: {hook: -1}\n"])  # fmt: skip
def test_wrong_settings_are_78(virtrbd: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    done = virtrbd("hook", "remove")
    assert (done.returncode, done.stderr.startswith(f"{tmp_path}/settings.yaml:1: ")) == (78, True), done


def test_remove_needs_no_libvirt_and_removes_only_virtrbds(virtrbd: Run, hooks: Path) -> None:
    done = virtrbd("hook", "remove")
    assert (done.returncode, done.stdout) == (0, f"{hooks}/virtrbd: is not there\n")
    hooks.mkdir(parents=True)
    (hooks / "virtrbd").write_text("#!/bin/sh\n")
    done = virtrbd("hook", "remove")
    assert (done.returncode, "is not virtrbd's; move it to another name" in done.stderr) == (5, True)
    (hooks / "virtrbd").write_text("#!/bin/sh\n# virtrbd hook {}\nexit 5\n")
    done = virtrbd("hook", "remove", "--output", "json")
    assert (done.returncode, json.loads(done.stdout)["changed"]) == (0, True)
    assert list(hooks.iterdir()) == []
