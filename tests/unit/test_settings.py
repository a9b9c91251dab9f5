"""The settings file: what is wrong with it is named, what it does not say is known."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from virtrbd.errors import ConfigError
from virtrbd.model.disk import Cache
from virtrbd.model.record import replace
from virtrbd.model.settings import CephSettings, Settings
from virtrbd.specs import settings as module
from virtrbd.specs.desired import desired_domains
from virtrbd.specs.settings import load_settings

Run = Callable[..., CompletedProcess[str]]
SPEC = "name: web\nmemory: 128M\ndisks:\n  - size: 1G\n"

BAD = {
    "unknown field": ("host: a\nhots: b\n", "settings.yaml:2: hots: unknown field; did you mean `host`?"),
    "unknown nested field": ("ceph:\n  pol: vms\n", "settings.yaml:2: ceph.pol: unknown field; did you mean `pool`?"),
    "no number": ("timeouts:\n  ceph: soon\n", "settings.yaml:2: timeouts.ceph: "),
    "a deadline of nothing": ("timeouts:\n  libvirt: 0\n", "settings.yaml:2: timeouts.libvirt: "),
    "no such cache": (
        "defaults:\n  disk:\n    cache: fast\n",
        "settings.yaml:3: disk.cache: 'fast' is not known; write ",
    ),
    "repeated key": ("host: a\nhost: b\n", "settings.yaml:2: host: written twice (first in line 1); keep one"),
    "no mapping": ("- host\n", "settings.yaml:1: not a mapping"),
    "no yaml": ("host: [\n", "settings.yaml:2: not YAML: "),
    "two documents": ("host: a\n---\nhost: b\n", "settings.yaml: more than one document; keep one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_78_with_file_and_line(name: str, virtrbd: Run, tmp_path: Path) -> None:
    text, message = BAD[name]
    (tmp_path / "settings.yaml").write_text(text)
    (tmp_path / "s.yaml").write_text(SPEC)
    # Twice: what is wrong is never taken for checked.
    for _ in range(2):
        done = virtrbd("validate", "s.yaml")
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.startswith(f"{tmp_path}/{message}")


def test_all_that_is_wrong_is_named_at_once(virtrbd: Run, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("hots: a\nceph:\n  pol: vms\n")
    assert len(virtrbd("list").stderr.splitlines()) == 2


def test_a_file_that_was_named_must_be_there(virtrbd: Run, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC)
    done = virtrbd("validate", "--config", "nowhere.yaml", "s.yaml")
    said = "nowhere.yaml: no such settings file; check --config or $VIRTRBD_CONFIG\n"
    assert (done.returncode, done.stderr) == (78, said)
    done = virtrbd("validate", "s.yaml", env={"VIRTRBD_CONFIG": "elsewhere.yaml"})
    assert (done.returncode, done.stderr.split(":")[0]) == (78, "elsewhere.yaml")


@pytest.mark.parametrize("kind", ["a pipe", "a character device"])
def test_what_is_no_regular_file_is_named_as_what_it_is(kind: str) -> None:
    reader, writer = os.pipe()
    try:
        # As the shell passes `<(...)`.
        name = {"a pipe": f"/dev/fd/{reader}", "a character device": "/dev/null"}[kind]
        with pytest.raises(ConfigError, match=f"^{name}: is {kind}; name a regular file$"):
            load_settings(name)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: is a folder; name a regular file"):
        load_settings(str(tmp_path))


def test_without_a_file_all_has_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VIRTRBD_CONFIG", raising=False)
    monkeypatch.setattr(module, "SYSTEM_FILE", str(tmp_path / "none.yaml"))
    assert load_settings(None) == Settings(host=socket.gethostname().split(".")[0])


def test_the_defaults_of_the_file_are_those_without_one(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"state_dir: {tmp_path}\nhost: h\n")
    loaded = load_settings(str(file))
    assert replace(loaded, file="", raw=b"", digest="") == Settings(host="h", state_dir=str(tmp_path))


def test_what_the_file_says_holds_the_second_time_too(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("state_dir: '/srv/state'  # here\nceph: {pool: ssd, user: u}\ndefaults: {vcpus: 2}\n")
    first, second = load_settings(str(file)), load_settings(str(file))
    assert first == second
    assert first.ceph == CephSettings(pool="ssd", user="u")


def test_a_default_that_changes_is_seen_in_every_domain(tmp_path: Path) -> None:
    """The digest of a domain's inputs decides whether its definition is looked at again."""
    (tmp_path / "web.yaml").write_text(SPEC)
    digests = set()
    for number, mode in enumerate(("none", "writeback")):
        file = tmp_path / f"settings-{number}.yaml"
        file.write_text(f"state_dir: {tmp_path}/state\ndefaults:\n  disk:\n    cache: {mode}\n")
        [domain] = desired_domains([str(tmp_path / "web.yaml")], load_settings(str(file)))
        assert domain.disks[0].cache is Cache(mode)
        digests.add(domain.digest)
    assert len(digests) == 2
