"""The command lines that virtrbd writes, run by the real QEMU: they open the image, cached and discarding as stated."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from support.lab import LabHost

from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.capabilities import Capabilities, parse_version
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.disk import Bus, Cache, Cdrom, DetectZeroes, Discard, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.image import ImageRef
from virtrbd.qemu.command import qemu_command

BUSES = {Bus.IDE: "hda", Bus.SATA: "sda", Bus.SCSI: "sdb", Bus.USB: "sdc", Bus.VIRTIO: "vda"}
DRIVE_ERAS = ("1.1", "1.2", "1.5", "2.7", "4.1")  # all that -drive is written for, as far as today's QEMU takes it
BLOCKDEV_ERAS = ("4.2", "5.0", "7.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """A QEMU's monitor."""

    process: subprocess.Popen[str]

    def ask(self, command: str, **arguments: object) -> object:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if not line.startswith("{"):  # what qemu-io says of its work
                continue
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer
        raise AssertionError(f"QEMU ended: {self.process.communicate()[1]}")

    def block(self, target: str) -> dict[str, Any]:
        """What query-block says of a device that has a medium."""
        blocks = self.ask("query-block")
        assert isinstance(blocks, list)
        # By the device's id, or its path where a part of it holds the medium (virtio, usb); else by -drive's id.
        [found] = [
            block
            for block in blocks
            if target in block.get("qdev", "").split("/") or block["device"] == f"drive-{target}"
        ]
        inserted: dict[str, Any] = found["inserted"]
        return inserted

    def property(self, target: str, name: str) -> object:
        return self.ask("qom-get", path=f"/machine/peripheral/{target}", property=name)


@pytest.fixture(scope="session")
def machines() -> frozenset[str]:
    """The machines that this QEMU has: it drops those that are older than six years (docs/about/deprecated.rst)."""
    listed = subprocess.run(["qemu-system-x86_64", "-M", "help"], capture_output=True, text=True, check=True).stdout
    return frozenset(line.split()[0] for line in listed.splitlines())


class Runner(Protocol):
    """Runs a domain's command line, made for a QEMU of some era, by the QEMU that is here."""

    def __call__(
        self, *disks: Disk, qemu: str, machine: str = "pc", cdroms: tuple[Cdrom, ...] = ()
    ) -> AbstractContextManager[Monitor]: ...


@pytest.fixture
def run(host: LabHost, name: str, machines: frozenset[str]) -> Runner:
    conf = host.ok("printenv", "CEPH_CONF").strip()

    @contextlib.contextmanager
    def running(*disks: Disk, qemu: str, machine: str = "pc", cdroms: tuple[Cdrom, ...] = ()) -> Iterator[Monitor]:
        if machine not in machines:
            pytest.skip(f"this QEMU has no {machine} any more")
        domain = Domain(
            name=name, uuid="", memory_bytes=128 * 1024**2, vcpus=1, machine=machine, hypervisor="qemu", host="kvm-1",
            disks=disks, cdroms=cdroms,
        )  # fmt: skip
        cluster = ClusterFacts(fsid="", monitors=(), user="virtrbd")
        capabilities = Capabilities(libvirt=(9, 0, 0), qemu=parse_version(qemu), machine=machine)
        words = [*qemu_command(domain, cluster, capabilities, conf).words, "-S", "-display", "none", "-qmp", "stdio"]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                monitor = Monitor(process=process)
                assert process.stdout
                greeting = process.stdout.readline()
                assert greeting, process.communicate()[1]
                monitor.ask("qmp_capabilities")
                yield monitor
                monitor.ask("quit")
                assert process.wait(timeout=20) == 0
            finally:
                process.kill()

    return running


@pytest.fixture
def image(host: LabHost, name: str) -> ImageRef:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}")
    return ImageRef(pool="vms", name=name)


def watchers(host: LabHost, image: ImageRef) -> int:
    return len(json.loads(host.ok("rbd", "status", str(image), "--format", "json"))["watchers"])


@pytest.mark.parametrize("qemu", [*DRIVE_ERAS, *BLOCKDEV_ERAS])
def test_opens_the_images_on_all_buses(host: LabHost, run: Runner, name: str, qemu: str) -> None:
    disks = [
        Disk(target=target, bus=bus, image=ImageRef(pool="vms", name=f"{name}.{bus}")) for bus, target in BUSES.items()
    ]
    for disk in disks:
        host.ok("rbd", "create", "--size", "16M", str(disk.image))
    with run(*disks, qemu=qemu) as monitor:
        for disk in disks:
            found = monitor.block(disk.target)
            assert found["drv"] == "raw"
            assert f'"image": "{disk.image.name}"' in found["file"] or f"rbd:{disk.image}" in found["file"]
            assert found["image"]["virtual-size"] == 16 * 1024**2
        assert [watchers(host, disk.image) for disk in disks] == [1] * len(disks)


@pytest.mark.parametrize("qemu", ["2.7", "7.2"])
@pytest.mark.parametrize("cache", list(Cache))
def test_cache_is_as_stated(run: Runner, image: ImageRef, cache: Cache, qemu: str) -> None:
    facts = CACHE_FACTS[cache]
    with run(Disk(target="vda", bus=Bus.VIRTIO, image=image, cache=cache), qemu=qemu) as monitor:
        assert monitor.block("vda")["cache"] == {
            "direct": facts.direct,
            "no-flush": facts.no_flush,
            "writeback": facts.write_cache,
        }
        # The lower node, which is librbd's client: rbd_cache is the opposite of its `direct`.
        nodes = monitor.ask("query-named-block-nodes", flat=True)
        assert isinstance(nodes, list)
        assert [not node["cache"]["direct"] for node in nodes if node["drv"] == "rbd"] == [facts.rbd_cache]
        if cache is not Cache.DEFAULT:
            assert monitor.property("vda", "write-cache") == ("on" if facts.write_cache else "off")


@pytest.mark.parametrize(
    ("bus", "qemu", "machine", "granularity"),
    [
        (Bus.IDE, "7.2", "pc-i440fx-1.4", 512),  # the machine's own would be 0: no TRIM
        (Bus.IDE, "2.7", "pc-i440fx-1.4", 512),
        (Bus.SCSI, "7.2", "pc-i440fx-1.4", 4096),
        (Bus.IDE, "7.2", "pc", 512),
        (Bus.SATA, "7.2", "q35", 512),
        (Bus.SCSI, "7.2", "q35", 65536),
        (Bus.VIRTIO, "7.2", "q35", 65536),
        (Bus.VIRTIO, "4.2", "q35", 2**32 - 1),
    ],
)
@pytest.mark.stack
def test_granularity_is_what_the_guest_should_see(
    run: Runner, image: ImageRef, *, bus: Bus, qemu: str, machine: str, granularity: int
) -> None:
    disk = Disk(target=BUSES[bus], bus=bus, image=image)
    with run(disk, qemu=qemu, machine=machine) as monitor:
        assert monitor.property(disk.target, "discard_granularity") == granularity


def test_the_oldest_machine_has_no_trim_unasked(run: Runner, image: ImageRef) -> None:
    ignoring = Disk(target="hda", bus=Bus.IDE, image=image, discard=Discard.IGNORE)
    with run(ignoring, qemu="7.2", machine="pc-i440fx-1.4") as monitor:
        assert monitor.property("hda", "discard_granularity") == 0


@pytest.mark.parametrize("qemu", ["1.5", "4.1", "7.2"])
@pytest.mark.parametrize("discard", list(Discard))
def test_discard_reaches_rbd_only_when_stated(
    host: LabHost, run: Runner, image: ImageRef, discard: Discard, qemu: str
) -> None:
    """query-block does not tell of it; a discard through the same backend does."""
    with run(Disk(target="vda", bus=Bus.VIRTIO, image=image, discard=discard), qemu=qemu) as monitor:
        whom = "-d /machine/peripheral/vda/virtio-backend"
        for io in ("write -P 1 0 16M", "flush", "discard 0 16M"):
            said = monitor.ask("human-monitor-command", **{"command-line": f'qemu-io {whom} "{io}"'})
            assert "rror" not in str(said)
    assert allocated(host, image) == (0 if discard is Discard.UNMAP else 16 * 1024**2)


def allocated(host: LabHost, image: ImageRef) -> int:
    return sum(extent["length"] for extent in json.loads(host.ok("rbd", "diff", str(image), "--format", "json")))


@pytest.mark.parametrize("qemu", ["1.2", "4.1", "4.2", "7.2"])
def test_a_hostile_name_is_that_image(host: LabHost, run: Runner, name: str, qemu: str) -> None:
    image = ImageRef(pool="vms", name=f"{name},a\\b=c ;$(x)'\"")
    host.ok("rbd", "create", "--size", "8M", str(image))
    with run(Disk(target="hda", bus=Bus.IDE, image=image), qemu=qemu) as monitor:
        assert monitor.block("hda")["image"]["virtual-size"] == 8 * 1024**2
        assert watchers(host, image) == 1


@pytest.mark.parametrize("qemu", ["1.2", "4.1", "4.2", "7.2"])
def test_a_snapshot_is_open_read_only(host: LabHost, run: Runner, image: ImageRef, qemu: str) -> None:
    host.ok("rbd", "snap", "create", f"{image}@v1")
    host.ok("rbd", "resize", "--size", "32M", str(image))
    snapshot = ImageRef(pool="vms", name=image.name, snapshot="v1")
    try:
        with run(Disk(target="vda", bus=Bus.VIRTIO, image=snapshot, readonly=True), qemu=qemu) as monitor:
            found = monitor.block("vda")
            assert (found["ro"], found["image"]["virtual-size"]) == (True, 16 * 1024**2)
    finally:
        host.run("rbd", "snap", "rm", f"{image}@v1")


def test_a_namespace_is_looked_into(host: LabHost, run: Runner, name: str) -> None:
    space = f"n{name}"
    host.ok("rbd", "namespace", "create", f"vms/{space}", admin=True)
    image = ImageRef(pool="vms", namespace=space, name=name)
    host.ok("rbd", "create", "--size", "8M", str(image), admin=True)
    try:
        with run(Disk(target="vda", bus=Bus.VIRTIO, image=image), qemu="7.2") as monitor:
            assert monitor.block("vda")["image"]["virtual-size"] == 8 * 1024**2
    finally:
        host.run("rbd", "rm", "--no-progress", str(image), admin=True)
        host.run("rbd", "namespace", "rm", f"vms/{space}", admin=True)


@pytest.mark.stack
@pytest.mark.parametrize("qemu", ["4.1", "5.2", "7.2"])
def test_everything_that_a_spec_can_state_is_taken(
    host: LabHost, run: Runner, image: ImageRef, name: str, qemu: str
) -> None:
    names = [f"{name}.{letter}" for letter in "abcd"]
    for each in names:
        host.ok("rbd", "create", "--size", "8M", f"vms/{each}")
    refs = [ImageRef(pool="vms", name=each) for each in names]
    limits: dict[str, int | str] = {
        "total_bytes_sec": 10**7, "total_bytes_sec_max": 2 * 10**7, "total_bytes_sec_max_length": 3,
        "read_iops_sec": 100, "write_iops_sec": 200, "size_iops_sec": 4096, "group_name": "g",
    }  # fmt: skip
    disks = (
        Disk(
            target="vda", bus=Bus.VIRTIO, image=image, iothread=2, queues=2, iotune=limits, serial="a b",
            detect_zeroes=DetectZeroes.UNMAP, error_policy="enospace", boot=1, discard_granularity_bytes=2**22,
        ),
        Disk(target="vdb", bus=Bus.VIRTIO, image=refs[0], iotune=limits, discard=Discard.IGNORE,
             detect_zeroes=DetectZeroes.UNMAP, shareable=True, cache=Cache.NONE),
        Disk(target="sda", bus=Bus.SCSI, image=refs[1], wwn="5000c50015ea71ac", rotation_rate=1, error_policy="stop",
             rerror_policy="report", discard_granularity_bytes=2**22),
        Disk(target="sdb", bus=Bus.SATA, image=refs[2], rotation_rate=7200, serial="sata-1"),
        Disk(target="sdc", bus=Bus.USB, image=refs[3], serial="usb-1", readonly=True),
    )  # fmt: skip
    cdroms = (
        Cdrom(target="hda", bus=Bus.IDE), Cdrom(target="hdc", bus=Bus.IDE, image=ImageRef(pool="vms", name=names[0])),
        Cdrom(target="sdd", bus=Bus.SATA), Cdrom(target="sde", bus=Bus.SCSI), Cdrom(target="sdf", bus=Bus.USB),
    )  # fmt: skip
    with run(*disks, qemu=qemu, cdroms=cdroms) as monitor:
        found = monitor.block("vda")
        assert found["detect_zeroes"] == "unmap"
        assert monitor.block("vdb")["detect_zeroes"] == "on"
        if qemu == "4.1":  # by a filter node else, which query-block does not look into
            assert (found["bps"], found["bps_max"], found["bps_max_length"]) == (10**7, 2 * 10**7, 3)
            assert (found["iops_rd"], found["iops_wr"], found["iops_size"]) == (100, 200, 4096)
            assert found["group"] == "limits-g"
        else:
            kept = monitor.ask("qom-get", path="/objects/limits-g", property="limits")
            assert isinstance(kept, dict)
            assert (kept["bps-total"], kept["bps-total-max-length"], kept["iops-size"]) == (10**7, 3, 4096)
        assert monitor.property("sda", "wwn") == 0x5000C50015EA71AC
        assert monitor.property("vda", "num-queues") == 2
        assert monitor.property("sdb", "rotation_rate") == 7200
