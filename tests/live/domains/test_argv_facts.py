"""What libvirt makes of virtrbd's XML on QEMU's command line: discard, caches, granularity, as virtrbd says they are.

By virDomainXMLToNative("qemu-argv"), which has no side effects.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from support.lab import LabHost

from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.disk import Cache

pytestmark = pytest.mark.stack

BUSES = ("ide", "sata", "scsi", "usb", "virtio")
MODELS = {"ide": "ide-hd", "sata": "ide-hd", "scsi": "scsi-hd", "usb": "usb-storage", "virtio": "virtio-blk-pci"}


class Argv:
    """The command line of one domain, by what its options hold."""

    def __init__(self, text: str) -> None:
        words = shlex.split(text.replace("\\\n", " "))
        self._options = list(pairwise(words))

    def blockdevs(self) -> dict[str, dict[str, object]]:
        nodes = [json.loads(value) for option, value in self._options if option == "-blockdev"]
        return {node["node-name"]: node for node in nodes}

    def devices(self) -> list[dict[str, object]]:
        return [_device(value) for option, value in self._options if option == "-device"]

    def disks(self) -> Iterator[tuple[dict[str, object], list[dict[str, object]]]]:
        """Each disk's device with its nodes from the upper to the rbd one, whatever libvirt calls them."""
        nodes = self.blockdevs()
        for device in self.devices():
            if device["driver"] not in MODELS.values():
                continue
            chain, name = [], device["drive"]
            while isinstance(name, str):
                chain.append(nodes[name])
                name = nodes[name].get("file")
            yield device, chain


def _device(value: str) -> dict[str, object]:
    if value.startswith("{"):
        document: dict[str, object] = json.loads(value)
        return document
    pairs = (pair.partition("=") for pair in f"driver={value}".split(","))
    return {key: text for key, _, text in pairs}


@pytest.fixture
def argv(host: LabHost, name: str) -> Callable[[str], Argv]:
    """Define a domain with these disks and return its command line."""

    def of(disks: str) -> Argv:
        host.ok("virtrbd", "define", host.spec(name, f"disks:\n{disks}"))
        return Argv(host.ok("virsh", "domxml-to-native", "qemu-argv", "--domain", name))

    return of


@pytest.mark.parametrize("cache", list(Cache))
def test_cache_and_discard_on_every_bus(argv: Callable[[str], Argv], cache: Cache) -> None:
    facts = CACHE_FACTS[cache]
    found = argv("".join(f"  - {{bus: {bus}, size: 16M, cache: {cache}}}\n" for bus in BUSES))
    disks = list(found.disks())
    assert sorted(str(device["driver"]) for device, _ in disks) == sorted(MODELS.values())
    for device, chain in disks:
        assert chain[-1]["driver"] == "rbd"
        assert chain[0]["discard"] == "unmap"
        if cache is Cache.DEFAULT:
            assert "cache" not in chain[0]
            assert "write-cache" not in device
            continue
        assert all(node["cache"] == {"direct": facts.direct, "no-flush": facts.no_flush} for node in chain)
        assert device["write-cache"] == ("on" if facts.write_cache else "off")


def test_discard_off_is_off_above_rbd(argv: Callable[[str], Argv]) -> None:
    """libvirt always lets the rbd node discard (qemu_block.c); the node above it decides."""
    for _, chain in argv("".join(f"  - {{bus: {bus}, size: 16M, discard: ignore}}\n" for bus in BUSES)).disks():
        assert chain[0]["discard"] == "ignore"
        assert chain[-1]["discard"] == ("unmap" if len(chain) > 1 else "ignore")


def test_granularity_that_nobody_stated(argv: Callable[[str], Argv], libvirt_version: tuple[int, ...]) -> None:
    """From 9.7 on libvirt has <blockio discard_granularity>, and it is told what RBD wants; ide has QEMU's own 512."""
    told = {"scsi-hd", "virtio-blk-pci"} if libvirt_version >= (9, 7) else set()
    for device, _ in argv("".join(f"  - {{bus: {bus}, size: 16M}}\n" for bus in BUSES)).disks():
        assert device.get("discard_granularity") == (65536 if device["driver"] in told else None)


def test_stated_granularity_reaches_the_device(argv: Callable[[str], Argv]) -> None:
    found = argv(
        "  - {bus: ide, size: 16M, discard_granularity: 512}\n"
        "  - {bus: scsi, size: 16M, discard_granularity: 64K}\n"
        "  - {bus: virtio, size: 16M, discard_granularity: 4M}\n"
    )
    stated = {device["driver"]: device.get("discard_granularity") for device, _ in found.disks()}
    # 512 is what an ide disk has anyway, so it need not be there.
    assert stated.pop("ide-hd") in (None, 512)
    assert stated == {"scsi-hd": 65536, "virtio-blk-pci": 4 * 1024**2}


def test_detect_zeroes_shareable_and_snapshot(argv: Callable[[str], Argv], host: LabHost, name: str) -> None:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}.taken")
    host.ok("rbd", "snap", "create", f"vms/{name}.taken@v1")
    try:
        found = argv(
            "  - {size: 16M, target: vda, detect_zeroes: unmap}\n"
            "  - {size: 16M, target: vdb, shareable: true, cache: none}\n"
            f"  - {{image: vms/{name}.taken@v1, target: vdc, readonly: true}}\n"
        )
        zeroes, shared, taken = found.disks()
        assert zeroes[1][0]["detect-zeroes"] == "unmap"
        assert shared[0]["share-rw"] in (True, "on")
        assert (taken[1][0]["read-only"], taken[1][-1]["snapshot"]) == (True, "v1")
    finally:
        host.run("virsh", "undefine", name)
        host.run("rbd", "snap", "rm", f"vms/{name}.taken@v1")


def test_the_monitors_and_the_user_but_no_key(argv: Callable[[str], Argv]) -> None:
    [(_, chain)] = argv("  - {size: 16M}\n").disks()
    assert chain[-1]["user"] == "virtrbd"
    assert chain[-1]["auth-client-required"] == ["cephx", "none"]
    assert chain[-1]["server"]
    # Only the name of the object that holds it, encrypted (QEMU's secret object, with a key from a file).
    assert chain[-1]["key-secret"] == f"{chain[-1]['node-name']}-auth-secret0"
