"""libvirt's hook where Ceph, an image or the hook itself fails: it refuses with the reason, and leaves nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from support.hooks import Hooked
from support.lab import LabHost
from support.operators import heal, pid_of, unpause
from support.waiting import eventually

# The hook, one process of which is killed at the moment at which all was found to be well.
KILLED = """
import os, signal, sys
import virtrbd.hook.checks as checks
from virtrbd.hook.answer import Call, answer
keep = checks.keep_start
def killed(*words):
    os.kill(WHO, signal.SIGKILL)
    return keep(*words)
checks.keep_start = killed
sys.exit(answer(Call(settings=sys.argv[1], host=sys.argv[2], state_dir=sys.argv[3], name=sys.argv[4],
                     operation="prepare", reason="-", xml=sys.stdin.read())))
"""


@pytest.fixture(params=["osd paused", "mon killed"])
def fault(request: pytest.FixtureRequest, host: LabHost) -> Iterator[Callable[[], object]]:
    if request.param == "osd paused":
        yield lambda: host.ok("ceph", "osd", "pause", admin=True)
        unpause(host)
    else:
        yield lambda: os.kill(pid_of("mon"), signal.SIGKILL)
        heal()


def refusal(hooked: Hooked, name: str) -> str:
    """Start the domain by virsh, which the hook must refuse, and return why."""
    done = hooked.host.run("virsh", "start", name)
    assert done.returncode == 1, done
    [line] = [line for line in done.stderr.splitlines() if "virtrbd: " in line]
    assert hooked.qemus(name) == 0
    return line.partition("virtrbd: ")[2]


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_without_ceph_a_start_is_refused_in_time_or_passes_as_the_settings_say(
    both: tuple[Hooked, Hooked], name: str, fault: Callable[[], object]
) -> None:
    first, _ = both
    first.install(ceph=3, watcher=1, hook=8)
    xml = first.host.ok("virsh", "dumpxml", name)
    fault()
    began_at = time.monotonic()
    said = refusal(first, name)
    assert time.monotonic() - began_at < 25
    assert re.match(rf"{name}: .*no answer (within|in time).*; not started: another host may run it$", said), said
    # QEMU would wait for Ceph, so libvirt is not asked.
    first.settings.write_text(
        re.sub("^hook:\n", "hook:\n  ceph_unreachable: allow\n", first.settings.read_text(), flags=re.MULTILINE)
    )
    done = first.call(name, "prepare", "begin", "-", xml=xml)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name}: prepare: passed without a look: " in first.log


@pytest.mark.parametrize("who", ["os.getpid()", "os.getppid()"])
def test_a_hook_that_is_killed_lets_no_guest_start_and_the_next_start_finds_all_well(
    both: tuple[Hooked, Hooked], name: str, who: str
) -> None:
    first, _ = both
    first.install(watcher=20)
    argv = [sys.executable, "-c", KILLED.replace("WHO", who), str(first.settings), first.uuid, str(first.starts.parent)]
    xml = first.host.ok("virsh", "dumpxml", name)
    done = subprocess.run([*argv, name], input=xml, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == (-signal.SIGKILL if "ppid" in who else 5), done
    eventually("no client to watch", lambda: first.host.watchers(f"vms/{name}.vda") == [], within_s=75)
    first.host.ok("virsh", "start", name)
    assert (first.qemus(name), first.keeps(name)) == (1, [])


def test_what_is_wrong_with_an_image_is_said(both: tuple[Hooked, Hooked], name: str) -> None:
    first, second = both
    image = f"vms/{name}.vda"
    first.host.ok("rbd", "image-meta", "set", image, "virtrbd.state", "importing disk.raw")
    assert f"image {image} is not ready" in refusal(first, name)
    first.host.ok("rbd", "image-meta", "remove", image, "virtrbd.state")
    first.host.ok("rbd", "lock", "add", image, "mine")
    said = refusal(first, name)
    assert "holds the lock 'mine' on it" in said
    [holder] = re.findall(r"client\.\d+", said)
    # RBD lets no other client remove it meanwhile.
    first.host.ok("rbd", "lock", "rm", image, "mine", holder)
    first.host.ok("rbd", "rm", "--no-progress", image)
    assert f"image {image} does not exist; see whether it is in the trash" in refusal(first, name)
    elsewhere = second.host.ok("virsh", "dumpxml", name).replace(f"'{image}'", f"'gone/{name}.vda'")
    (second.host.folder / "gone.xml").write_text(elsewhere)
    second.host.ok("virsh", "define", "gone.xml")
    assert "pool gone does not exist" in refusal(second, name)


def test_a_key_that_ceph_refuses_is_as_no_ceph(both: tuple[Hooked, Hooked], name: str) -> None:
    first, _ = both
    whole, keyring = first.settings.read_text(), first.host.folder / "keyring"
    first.settings.write_text(whole.replace("ceph:\n", f"ceph:\n  keyring: {keyring}\n", 1))
    assert refusal(first, name).endswith("; not started: another host may run it")
    keyring.write_text("[client.virtrbd]\n\tkey = AQBSdFhcAAAAABAAvcVn3mhoBWHYxdUd6XBEsA==\n")
    said = refusal(first, name)
    assert said.endswith("; not started: another host may run it")
    assert "AQBS" not in said + first.log
