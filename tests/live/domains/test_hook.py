"""Starts by virsh pass the start gate where libvirt's hook is installed: two hosts, never two guests."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import libvirt
import pytest
import rbd
from support.hooks import Hooked
from support.waiting import eventually
from support.worlds import LabWorld

BARE = "disks:\n  - size: 16M\n"
ROUNDS, LANES = 30, 5


def test_what_another_host_runs_is_refused_in_one_line_that_names_it(both: tuple[Hooked, Hooked], name: str) -> None:
    first, second = both
    first.host.ok("virsh", "start", name)
    [client] = re.findall(r"client\.\d+", first.host.ok("rbd", "status", f"vms/{name}.vda"))
    refused = second.host.run("virsh", "start", name)
    [line] = [line for line in refused.stderr.splitlines() if "virtrbd: " in line]
    said = line.partition("virtrbd: ")[2]
    assert said.startswith(f"{name}: image vms/{name}.vda is open by {client} at 127.0.0.1:0, still after 2 s;")
    assert re.search(rf"name host kvm-1 \({first.uuid}\) and domain {name}\)$", said)
    assert f"{name}: prepare: refused: image vms/{name}.vda is open by" in second.log
    assert (first.qemus(name), second.qemus(name)) == (1, 0)


def test_a_start_by_virsh_leaves_the_marks_of_a_start_by_virtrbd(
    both: tuple[Hooked, Hooked], name: str, world: LabWorld
) -> None:
    first, second = both
    first.host.ok("virsh", "start", name)
    image = world.image(f"{name}.vda")
    assert (image["running_on"], image["last_run"]["host_name"]) == (first.uuid, "kvm-1")
    assert image["last_run"]["domain"] == name
    assert first.keeps(name) == []
    assert len(first.host.watchers(f"vms/{name}.vda")) == 1
    first.host.ok("virsh", "destroy", name)
    # libvirt 9.0 does not say why it ended, so virsh's destroy is no clean stop, as without the hook.
    refused = second.host.run("virsh", "start", name)
    assert f"was last started on host kvm-1 ({first.uuid})" in refused.stderr
    assert f"(an option of virtrbd start {name})" in refused.stderr
    second.host.ok("virtrbd", "start", name, "--allow", "takes-over")
    second.host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    first.host.ok("virsh", "start", name)


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_two_hosts_at_once_by_virsh_never_start_two_guests(hooked: tuple[Hooked, Hooked], name: str) -> None:
    names = [f"{name}{lane}" for lane in range(LANES)]
    for lane in names:
        for each in hooked:
            each.host.ok("virtrbd", "define", each.host.spec(lane, BARE), "--allow", "takes-over")
    with ThreadPoolExecutor(LANES) as pool:
        lanes = pool.map(lambda lane: [race(lane, hooked) for _ in range(ROUNDS // LANES)], names)
        started = [guests for lane in lanes for guests in lane]
    assert len(started) == ROUNDS
    assert max(started) == 1, started
    # Two that meet release, and come back at different moments: only rarely do both give up.
    assert started.count(1) >= ROUNDS * 0.8, started


def race(name: str, hooked: tuple[Hooked, Hooked]) -> int:
    """Start the domain on both hosts at once; return how many guests that made, and end them."""
    # Without the claim of the last round: it alone would keep one of the two away.
    hooked[0].host.run("rbd", "image-meta", "remove", f"vms/{name}.vda", "virtrbd.running")
    with ThreadPoolExecutor(2) as pair:
        list(pair.map(lambda each: each.host.run("virsh", "start", name), hooked))
    guests = sum(each.qemus(name) for each in hooked)
    for each in hooked:
        each.host.run("virsh", "destroy", name)
    return guests


def test_a_start_waits_out_the_watch_of_a_killed_qemu(both: tuple[Hooked, Hooked], name: str) -> None:
    first, _ = both
    first.install(watcher=20)
    first.host.ok("virsh", "start", name)
    first.kill_qemu(name)
    eventually("the killed QEMU to be gone", lambda: first.host.ok("virsh", "domstate", name).strip() == "shut off")
    began_at = time.monotonic()
    first.host.ok("virsh", "start", name)
    assert time.monotonic() - began_at > 1
    assert first.qemus(name) == 1


def test_what_virtrbd_itself_starts_passes(both: tuple[Hooked, Hooked], name: str) -> None:
    """Also what the operator allowed: the hook would refuse it."""
    first, second = both
    first.host.ok("virsh", "start", name)
    first.host.ok("virsh", "destroy", name)
    second.host.ok("virtrbd", "start", name, "--allow", "takes-over")
    assert (second.qemus(name), second.keeps(name)) == (1, [])
    second.host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    second.host.ok("virtrbd", "define", "--start", f"{name}.yaml")
    assert name not in second.log


def test_a_domain_of_others_passes_untouched(hooked: tuple[Hooked, Hooked], name: str, world: LabWorld) -> None:
    """Also where another client has its image open: it is theirs to know."""
    first, second = hooked
    first.host.ok("virtrbd", "define", first.host.spec(name, BARE))
    foreign = re.sub(r"<metadata>.*?</metadata>", "", first.host.ok("virsh", "dumpxml", name), flags=re.DOTALL)
    first.host.ok("virsh", "start", name)
    before = world.image(f"{name}.vda")["last_run"]
    copied = first.host.ok("virsh", "dumpxml", "--inactive", name)
    # A mark that was copied with the rest of a document names another domain's UUID.
    for letter, text in (("o", foreign), ("c", copied)):
        other = re.sub(r"<uuid>.*?</uuid>", "", text).replace(f"<name>{name}</name>", f"<name>{name}{letter}</name>")
        other = re.sub(r"<mac address=.*?/>", "", other)
        (second.host.folder / "other.xml").write_text(other)
        second.host.ok("virtrbd", "define", second.host.spec(f"{name}s", "disks:\n  - size: 8M\n"))
        second.host.ok("virsh", "define", "other.xml")
        second.host.ok("virsh", "start", f"{name}{letter}")
        assert second.qemus(f"{name}{letter}") == 1
    assert world.image(f"{name}.vda")["last_run"] == before
    assert name not in second.log


def test_broken_settings_keep_no_guest_from_booting(both: tuple[Hooked, Hooked], name: str) -> None:
    first, _ = both
    whole = first.settings.read_text()
    first.settings.write_text(whole + "hots: x\n")
    first.host.ok("virsh", "start", name)
    assert f"{name}: prepare: passed without a look: the settings cannot be used: " in first.log
    status = first.host.virtrbd("hook", "status", "--config", str(first.settings))
    assert (status.returncode, "hots: unknown field" in status.stderr) == (78, True)


def test_a_save_of_an_earlier_run_is_not_resumed_by_virsh(both: tuple[Hooked, Hooked], name: str) -> None:
    first, second = both
    first.host.ok("virsh", "start", name)
    first.host.ok("virsh", "managedsave", name)
    second.host.ok("virtrbd", "start", name, "--allow", "takes-over")
    second.host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    refused = first.host.run("virsh", "start", name)
    assert f"image vms/{name}.vda was last run on host kvm-2" in refused.stderr
    assert f"or --allow loses-data (an option of virtrbd start {name})" in refused.stderr
    assert (first.qemus(name), "saved" in first.host.ok("virsh", "domstate", "--reason", name)) == (0, True)
    first.host.ok("virtrbd", "start", name, "--allow", "loses-data")


def test_a_save_is_resumed_by_virsh(both: tuple[Hooked, Hooked], name: str) -> None:
    first, _ = both
    first.host.ok("virtrbd", "start", name)
    for _ in range(2):
        first.host.ok("virsh", "managedsave", name)
        first.host.ok("virsh", "start", name)
    assert (first.qemus(name), first.log.count(name)) == (1, 0)


def migrate(first: Hooked, second: Hooked, name: str) -> str:
    """Migrate the guest to the second host, and return why that failed."""
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST
    with closing(libvirt.open(first.uri)) as here, closing(libvirt.open(second.uri)) as there:
        try:
            here.lookupByName(name).migrate3(there, {libvirt.VIR_MIGRATE_PARAM_URI: "tcp://127.0.0.1"}, flags)
        except libvirt.libvirtError as error:
            return str(error)
    return ""


def test_a_guest_that_comes_from_another_host_passes_and_beside_a_third_client_it_does_not(
    both: tuple[Hooked, Hooked], name: str, world: LabWorld
) -> None:
    first, second = both
    first.host.ok("virsh", "start", name)
    with rbd.Image(world.vms, f"{name}.vda"):
        assert f"image vms/{name}.vda is open by client." in migrate(first, second, name)
    assert (first.qemus(name), second.qemus(name)) == (1, 0)
    # That migration did not begin, and left nothing that a start by hand could be taken for.
    assert second.host.run("virsh", "start", name).returncode == 1
    assert migrate(first, second, name) == ""
    assert (first.qemus(name), second.qemus(name)) == (0, 1)
    assert second.keeps(name) == []
    assert first.host.run("virsh", "start", name).returncode == 1


def test_the_hook_may_be_removed_while_a_guest_starts(both: tuple[Hooked, Hooked], name: str) -> None:
    first, _ = both
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(first.host.run, "virsh", "start", name)
        eventually("the hook to keep the start", lambda: first.keeps(name))
        first.host.ok("virtrbd", "hook", "remove")
        assert start.result().returncode == 0
    assert first.qemus(name) == 1
    # libvirt has no hook that says so, and still the keeper sees QEMU.
    eventually("the keeper to leave", lambda: first.keeps(name) == [], within_s=30)
    eventually("QEMU alone to watch", lambda: len(first.host.watchers(f"vms/{name}.vda")) == 1)


def test_a_clean_end_that_libvirt_names_ends_the_claim(both: tuple[Hooked, Hooked], name: str, world: LabWorld) -> None:
    """Newer libvirts say the reason; here the program is run as they do."""
    first, second = both
    first.host.ok("virsh", "start", name)
    live = first.host.ok("virsh", "dumpxml", name)
    first.host.ok("virsh", "destroy", name)
    for reason in ("crashed", "saved", "migrated", "failed", "-", "shutdown"):
        assert world.image(f"{name}.vda")["running_on"] == first.uuid
        assert first.call(name, "release", "end", reason, xml=live).returncode == 0
    assert world.image(f"{name}.vda")["running_on"] is None
    second.host.ok("virsh", "start", name)


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_autostart_passes_the_gate_and_guests_that_run_stay_as_they_are(both: tuple[Hooked, Hooked], name: str) -> None:
    first, second = both
    names = {"free": f"{name}f", "runs": f"{name}r"}
    for each in names.values():
        first.host.ok("virtrbd", "define", first.host.spec(each, f"autostart: true\n{BARE}"))
    first.host.ok("virsh", "autostart", name)
    first.host.ok("virtrbd", "start", names["runs"])
    second.host.ok("virsh", "start", name)
    first.boot()
    eventually("the free one to run", lambda: first.qemus(names["free"]) == 1, within_s=60)
    eventually("the other to be refused", lambda: f"{name}: prepare: refused: " in first.log, within_s=60)
    assert (first.qemus(name), second.qemus(name), first.qemus(names["runs"])) == (0, 1, 1)
    assert names["runs"] not in first.log


def status(hooked: Hooked) -> tuple[int, dict[str, object]]:
    done = hooked.host.virtrbd("hook", "status", "--output", "json")
    return done.returncode, json.loads(done.stdout)["hook"]


def test_the_status_says_what_is_there_and_whether_libvirt_knows_it(both: tuple[Hooked, Hooked], name: str) -> None:
    first, _ = both
    first.host.ok("virtrbd", "hook", "install")
    # As libvirt has it that began before there was a hook, and was not reloaded.
    (first.starts / "called").unlink(missing_ok=True)
    code, found = status(first)
    assert (code, found["state"], found["known_to_libvirt"]) == (3, "installed", False)
    assert "`systemctl reload libvirtd` lets it look again" in first.host.virtrbd("hook", "status").stdout
    first.host.ok("virsh", "start", name)
    code, found = status(first)
    assert (code, found["state"], found["known_to_libvirt"], found["differences"]) == (0, "installed", True, [])
    text = first.file.read_text()
    first.file.write_text(text + "# mine\n")
    assert status(first)[1]["differences"] == ["it was changed by hand"]
    first.file.write_text("#!/bin/sh\n")
    for verb, code in (("status", 3), ("install", 5), ("remove", 5)):
        done = first.host.virtrbd("hook", verb)
        assert (done.returncode, "is not virtrbd's" in done.stdout + done.stderr) == (code, True)
    first.file.unlink()
    assert status(first)[0] == 3
    removed = json.loads(first.host.ok("virtrbd", "hook", "remove", "--output", "json"))
    assert (removed["file"], removed["changed"]) == (str(first.file), False)
    assert json.loads(first.host.ok("virtrbd", "hook", "install", "--output", "json"))["changed"]
