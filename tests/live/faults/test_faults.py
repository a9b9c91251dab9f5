"""Deadlines and refusals on a real stack: whatever is dead, paused or wrong, every verb ends in time and says why."""

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.lab import LAB, LabHost
from support.operators import CEPH_S, ENDS_WITHIN_S, LIBVIRT_S, Operator, heal, operator_of, pid_of, unpause
from support.sources import as_disk

# It disturbs what all tests share.
pytestmark = pytest.mark.alone


def spec_of(host: LabHost, name: str, **more: str) -> str:
    lines = "".join(f"{key}: {value}\n" for key, value in more.items())
    return str(host.spec(name, f"{lines}disks:\n  - size: 16M\n"))


def is_running(host: LabHost, name: str) -> bool:
    return name in host.ok("virsh", "list", "--name").split()


@pytest.fixture(params=["osd paused", "mon killed"])
def fault(request: pytest.FixtureRequest, host: LabHost) -> Iterator[Callable[[], object]]:
    """What breaks Ceph when it is called; it is whole again afterwards."""
    if request.param == "osd paused":
        yield lambda: host.ok("ceph", "osd", "pause", admin=True)
        unpause(host)
    else:
        yield lambda: os.kill(pid_of("mon"), signal.SIGKILL)
        heal()


@pytest.mark.timeout(120)
def test_every_verb_ends_in_time_without_ceph(
    host: LabHost, name: str, operator: Operator, fault: Callable[[], object]
) -> None:
    a, b, c, d = (f"{name}{letter}" for letter in "abcd")
    for domain in (b, c, d):
        # Not with short deadlines: a libvirtd that was just started looks at every QEMU first when it is asked.
        host.ok("virtrbd", "define", spec_of(host, domain))
    spec_of(host, a), spec_of(host, f"{name}new")
    (host.folder / "disk.raw").write_bytes(as_disk(b"x" * 1024**2))
    fault()
    hanging = (
        ("define", f"{a}.yaml"),
        ("define", "--start", f"{name}new.yaml"),
        ("define", f"{d}.yaml"),
        ("start", b),
        ("inspect", b),
        ("undefine", "--trash-images", "--allow", "loses-data", c),
        ("image", "import", "disk.raw", f"vms/{name}.imported"),
        ("image", "info", f"vms/{b}.vda"),
        ("image", "snapshot", "create", f"vms/{b}.vda@s"),
    )
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda words: operator.run(*words), hanging))
    for words, end in zip(hanging, ended, strict=True):
        assert end.code == 69, (words, end)
        assert re.search(r"Ceph: [a-z].*: no answer (within 3 s|in time)", end.err), (words, end)
        assert "leaving the cluster" not in end.err, (words, end)
        assert "Traceback" not in end.err, (words, end)
        assert end.took_s < ENDS_WITHIN_S, (words, end)
    for words in (("list",), ("validate", f"{a}.yaml"), ("render", f"{a}.yaml")):
        end = operator.run(*words)
        assert (end.code, end.err) == (0, ""), (words, end)
        assert a in end.out or b in end.out
    assert not [found for found in host.ok("virsh", "list", "--name").split() if found.startswith(name)]


@pytest.fixture
def paused_osd(host: LabHost) -> Iterator[Callable[[], object]]:
    yield lambda: host.ok("ceph", "osd", "pause", admin=True)
    unpause(host)


def test_what_a_paused_osd_cut_off_is_finished_by_the_next_run(
    host: LabHost, name: str, operator: Operator, paused_osd: Callable[[], object]
) -> None:
    spec = spec_of(host, name)
    paused_osd()
    cut = operator.run("define", "--start", spec)
    assert cut.code == 69, cut
    assert not is_running(host, name)
    unpause(host)
    done = operator.run("define", "--start", spec)
    assert done.code == 0, done
    again = operator.run("define", "--start", spec)
    assert (again.code, again.out) == (0, f"{name}: nothing to do\n")


# virtrbd, but the OSD is paused at the very moment at which it asks libvirt to start: past the gate.
PAUSED_IN_START = """
import subprocess, sys
from virtrbd.__main__ import main
from virtrbd.hypervisor.connection import Hypervisor
start = Hypervisor.start
def paused(self, uuid):
    subprocess.run(PAUSE, check=True, capture_output=True)
    start(self, uuid)
Hypervisor.start = paused
main()
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("verb", ["start", "define"])
@pytest.mark.usefixtures("paused_osd")
def test_a_start_cut_off_within_libvirt_is_cancelled(host: LabHost, name: str, operator: Operator, verb: str) -> None:
    spec = spec_of(host, name)
    assert operator.run("define", spec).code == 0
    pause = [LAB, "env", "--admin", "--", "ceph", "osd", "pause"]
    words = ["start", name] if verb == "start" else ["define", "--start", spec]
    began_at = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PAUSED_IN_START.replace("PAUSE", repr(pause)), *words],
        env=operator.env, cwd=operator.folder, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.returncode == 69, done
    assert "did not start in time; the start was cancelled" in done.stderr, done
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began_at < 2 * LIBVIRT_S + 3 * CEPH_S + 6
    unpause(host)
    # An abandoned start would fire now.
    for _ in range(10):
        assert not is_running(host, name)
        time.sleep(0.2)
    again = operator.run("start", name)
    assert (again.code, again.out) == (0, f"{name}: started\n"), again


def test_no_libvirt_socket(host: LabHost, name: str, operator: Operator) -> None:
    spec = spec_of(host, name)
    connect = ("--connect", "qemu:///system?socket=/nonexistent/libvirt-sock")
    for words in (("list",), ("define", spec), ("inspect", name), ("start", name), ("undefine", name)):
        end = operator.run(*connect, *words)
        assert end.code == 69, (words, end)
        assert "/nonexistent/libvirt-sock" in end.err
        assert "is libvirtd running?" in end.err


def test_a_stopped_libvirtd(host: LabHost, name: str, operator: Operator) -> None:
    spec = spec_of(host, name)
    pid = pid_of("kvm-1 libvirtd")
    os.kill(pid, signal.SIGSTOP)
    try:
        verbs = (("list",), ("define", spec), ("inspect", name), ("start", name), ("undefine", name))
        with ThreadPoolExecutor(3) as pool:
            ended = list(pool.map(lambda words: operator.run(*words), verbs))
    finally:
        os.kill(pid, signal.SIGCONT)
    for words, end in zip(verbs, ended, strict=True):
        assert end.code == 69, (words, end)
        assert "libvirt: connecting to qemu:///system" in end.err, (words, end)
        assert "no answer within 6 s" in end.err, (words, end)
        assert end.took_s < LIBVIRT_S + 6, (words, end)


def test_a_killed_libvirtd(make_host: Callable[[str], LabHost]) -> None:
    host = make_host("kvm-2")
    operator = operator_of(host)
    os.kill(pid_of("kvm-2 libvirtd"), signal.SIGKILL)
    try:
        end = operator.run("list")
    finally:
        heal()
    assert end.code == 69, end
    assert "is libvirtd running?" in end.err


def with_keyring(operator: Operator, text: str | None) -> tuple[Operator, Path]:
    keyring = operator.folder / "other.keyring"
    if text is not None:
        keyring.write_text(text)
    return operator.with_settings("keyring", lambda old: old.replace("ceph:\n", f"ceph:\n  keyring: {keyring}\n", 1)), (
        keyring
    )


CEPH_VERBS = (("define", "{name}.yaml"), ("image", "info", "vms/{name}.vda"), ("inspect", "{name}"))


def test_a_wrong_key_is_denied_and_not_shown(host: LabHost, name: str, operator: Operator) -> None:
    assert operator.run("define", spec_of(host, name)).code == 0
    # type 1, time, length 16: the form of a cephx key
    key = base64.b64encode(b"\1\0" + bytes(8) + b"\20\0" + os.urandom(16)).decode()
    wrong, _ = with_keyring(operator, f"[client.virtrbd]\n\tkey = {key}\n")
    for verb in CEPH_VERBS:
        end = wrong.run(*(word.format(name=name) for word in verb))
        assert end.code == 77, end
        assert "client.virtrbd is not allowed; check its key and caps" in end.err, end
        assert key not in end.out + end.err
        assert end.took_s < ENDS_WITHIN_S


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[client.other]\n\tkey = AQA=\n",
        "[client.virtrbd]\n\tkey = no*base64*at*all\n",
        "AQBnot-a-keyring==\n",
    ],
    ids=["missing", "empty", "another user's", "no base64", "no keyring"],
)
def test_a_keyring_without_the_key_is_named_with_its_setting(
    host: LabHost, name: str, operator: Operator, text: str | None
) -> None:
    spec_of(host, name)
    wrong, keyring = with_keyring(operator, text)
    for verb in CEPH_VERBS[:2]:
        end = wrong.run(*(word.format(name=name) for word in verb))
        assert end.code == 78, end
        assert str(keyring) in end.err, end
        assert f"`ceph auth get client.virtrbd -o {keyring}`" in end.err, end
        if text is None:
            assert f"{keyring} (no such file); write ceph: keyring: to the settings" in end.err, end
        assert "no*base64" not in end.err, end
        assert "AQBnot" not in end.err, end
        assert "Traceback" not in end.err, end


@pytest.mark.parametrize("module", ["rbd", "rados", "libvirt"])
def test_a_missing_module_names_its_package(
    host: LabHost, name: str, operator: Operator, tmp_path: Path, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    end = operator.run("define", spec_of(host, name), PYTHONPATH=str(tmp_path))
    assert end.code == 69, end
    assert f"the Python module {module} is missing" in end.err
    assert f"python3-{module}" in end.err
    assert "--system-site-packages" in end.err
    assert "Traceback" not in end.err


def test_a_stopped_qemu_holds_up_nobody(host: LabHost, name: str, operator: Operator) -> None:
    stuck, other = f"{name}stuck", f"{name}other"
    assert operator.run("define", "--start", spec_of(host, stuck)).code == 0
    [pid] = qemus(stuck)
    os.kill(pid, signal.SIGSTOP)
    try:
        spec_of(host, other)
        for words in (
            ("list",),
            ("define", f"{other}.yaml"),
            ("inspect", other),
            ("inspect", stuck),
            ("define", f"{stuck}.yaml"),
            ("undefine", other),
        ):
            end = operator.run(*words)
            assert (end.code, end.err) == (0, ""), (words, end)
            assert end.took_s < LIBVIRT_S, (words, end)
        spec_of(host, stuck, autostart="true")
        changed = operator.run("define", f"{stuck}.yaml")
        assert changed.code == 0, changed
        assert changed.took_s < LIBVIRT_S, changed
        assert operator.run("list").out.count("running") >= 1
    finally:
        os.kill(pid, signal.SIGCONT)


def qemus(name: str) -> list[int]:
    """Return the pids of the domain's QEMUs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"guest={name},debug-threads=on".encode() in words:
                found.append(int(entry.name))
    return found
