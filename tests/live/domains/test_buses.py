"""Each disk bus with a real guest: it boots from a clone, trims, reboots and shuts down when it is asked to.

The guests are booted once, all together, for the whole file; its tests run in this order, and the last ones end them.
"""

import json
import os
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.guests import FILL, FORMAT, Guest
from support.lab import LabHost
from support.xml import at

BUSES = {"ide": "pc-i440fx-", "sata": "pc-q35-", "virtio": "pc-q35-", "scsi": "pc-q35-"}
MIB = 1024**2
WRITTEN = 64 * MIB
BOOT_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def guests(golden: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Guest]]:
    """One guest per bus, booted all at once: a disk cloned from the golden image and an empty one of its own."""
    folder, stem = tmp_path_factory.mktemp("buses"), f"t{uuid.uuid4().hex[:10]}"
    env = LabHost(name="kvm-1", folder=folder).env()
    found = {bus: Guest(name=f"{stem}{bus}", bus=bus, env=env) for bus in BUSES}
    files = []
    for guest in found.values():
        file = folder / f"{guest.name}.yaml"
        disks = f"disks:\n  - {{bus: {guest.bus}, clone: {golden}}}\n  - {{bus: {guest.bus}, size: 96M}}\n"
        file.write_text(f"name: {guest.name}\nmemory: 128M\n{disks}")
        files.append(str(file))
    try:
        found["ide"].ok("virtrbd", "define", *files)
        with ThreadPoolExecutor(len(found)) as pool:
            list(pool.map(Guest.start, found.values()))
        yield found
    finally:
        for guest in found.values():
            guest.run("virsh", "destroy", guest.name)
            guest.run("virsh", "undefine", guest.name)
            if guest.console >= 0:
                os.close(guest.console)
        images = found["ide"].run("rbd", "ls", "vms").stdout.split()
        for image in (image for image in images if image.startswith(stem)):
            found["ide"].run("rbd", "rm", "--no-progress", f"vms/{image}")


@pytest.fixture(params=BUSES)
def guest(request: pytest.FixtureRequest, guests: dict[str, Guest]) -> Guest:
    return guests[request.param]


def test_the_definition_says_what_the_bus_needs(guest: Guest) -> None:
    root = ET.fromstring(guest.ok("virsh", "dumpxml", guest.name))
    disks = root.findall("devices/disk")
    assert len(disks) == 2
    for disk in disks:
        driver = at(disk, "driver")
        assert (driver.get("type"), driver.get("cache"), driver.get("discard")) == ("raw", "writeback", "unmap")
        assert at(disk, "target").get("bus") == guest.bus
        assert at(disk, "source").get("protocol") == "rbd"
    assert at(root, "os/type").get("machine", "").startswith(BUSES[guest.bus])
    models = [controller.get("model") for controller in root.findall("devices/controller[@type='scsi']")]
    assert models == (["virtio-scsi"] if guest.bus == "scsi" else [])
    assert [disk["bus"] for disk in guest.images()] == [guest.bus] * 2


@pytest.mark.timeout(BOOT_TIMEOUT_S + 30)
def test_all_four_boot_from_their_clones(guests: dict[str, Guest]) -> None:
    give_up_at = time.monotonic() + BOOT_TIMEOUT_S
    for guest in guests.values():
        guest.await_up(1, give_up_at - time.monotonic())
    for guest in guests.values():
        assert guest.json("inspect", guest.name)["domain"]["state"] == "running"
        assert guest.shell("hostname") == f"{guest.name}\n"
        assert " /data ext4 " in guest.shell("cat /proc/mounts")


def exact_bytes(guest: Guest, image: str) -> int:
    """Bytes that the image really takes, by asking every object."""
    listed = json.loads(guest.ok("rbd", "du", "--exact", "--format", "json", image))["images"]
    return sum(int(found["used_size"]) for found in listed)


def test_trimmed_space_goes_back_to_the_pool(guest: Guest) -> None:
    """On the guest's own image and on its clone.

    A clone has to remember each trimmed object as empty, where its parent's would show otherwise: fast-diff counts
    such an object as a whole one, so for the clone it is the bytes in the objects that tell.
    """
    guest.shell(FORMAT)
    clone, own = guest.images()
    before, exact_before = own["allocated_bytes"], exact_bytes(guest, clone["image"])
    guest.shell(f"{FILL.format(file='/mnt/big')}; {FILL.format(file='/data/big')}")
    full, exact_full = guest.images()[1]["allocated_bytes"], exact_bytes(guest, clone["image"])
    assert full >= before + WRITTEN - 4 * MIB, (before, full)
    assert exact_full >= exact_before + WRITTEN - 4 * MIB, (exact_before, exact_full)
    info = guest.json("image", "info", own["image"])["image"]
    assert info["allocated_bytes"] == full

    guest.shell("rm /mnt/big /data/big; sync")
    assert guest.images()[1]["allocated_bytes"] == full, "without a trim nothing comes back"
    trimmed = guest.agent("guest-fstrim")["paths"]
    assert sorted(found["path"] for found in trimmed if "error" not in found) == ["/data", "/mnt"], trimmed
    left, exact_left = guest.images()[1]["allocated_bytes"], exact_bytes(guest, clone["image"])
    # ATA cuts a trim at 65,535 sectors: objects at such a seam get two halves, and stay.
    stays = 4 * MIB + (8 * MIB if guest.bus in ("ide", "sata") else 0)
    assert left <= full - WRITTEN + stays, (before, full, left)
    assert exact_left <= exact_full - WRITTEN + stays, (exact_before, exact_full, exact_left)


@pytest.mark.timeout(BOOT_TIMEOUT_S)
def test_a_reboot_leads_to_a_second_guest_up(guests: dict[str, Guest]) -> None:
    guest = guests["virtio"]
    before = guest.ups()
    assert before == 1
    assert guest.json("reboot", guest.name) == {"schema": 1, "name": guest.name, "asked": "reboot"}
    guest.await_up(before + 1, BOOT_TIMEOUT_S - 20)
    assert guest.json("inspect", guest.name)["domain"]["state"] == "running"


def test_shutdown_ends_each_guest_cleanly(guests: dict[str, Guest]) -> None:
    with ThreadPoolExecutor(len(guests)) as pool:
        answers = list(pool.map(lambda guest: guest.json("shutdown", guest.name, "--timeout", "40"), guests.values()))
    for guest, answer in zip(guests.values(), answers, strict=True):
        assert answer == {"schema": 1, "name": guest.name, "state": "shut off", "changed": True}
        reason = guest.ok("virsh", "domstate", "--reason", guest.name).strip()
        assert reason == "shut off (shutdown)", "not destroyed, not crashed"
        found = guest.json("inspect", guest.name)["domain"]
        assert found["state"] == "shut off"
        assert [disk["watchers"] for disk in found["disks"]] == [[], []]
    again = guest.json("shutdown", guest.name)
    assert (again["state"], again["changed"]) == ("shut off", False)


def test_a_deaf_guest_is_waited_for_and_left_running(host: LabHost, name: str) -> None:
    """An empty disk: nobody in the BIOS hears the button. Only a person ends such a guest."""
    host.ok("virtrbd", "define", "--start", host.spec(name, "disks:\n  - size: 16M\n"))
    began_at = time.monotonic()
    done = host.virtrbd("shutdown", name, "--timeout", "3", "--output", "json")
    took_s = time.monotonic() - began_at
    assert done.returncode == 5, done
    assert 3 <= took_s < 9, took_s
    said = json.loads(done.stdout)
    assert (said["schema"], said["exit_code"]) == (1, 5)
    assert f"the guest of {name} did not shut down within 3 s and still runs" in said["errors"][0]
    assert f"virtrbd destroy {name} --allow interrupts-guest" in said["errors"][0]
    assert host.inspect(name)["state"] == "running"
    assert name in host.ok("virsh", "list", "--name").split()
