"""Every decision that a default stands for."""

from pathlib import Path

import pytest

from virtrbd.errors import SpecError
from virtrbd.model.disk import Bus, Cache, Discard
from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.specs.load import load
from virtrbd.specs.resolve import resolve
from virtrbd.specs.resolve_interfaces import derive_mac

SETTINGS = Settings(host="kvm-1")


def resolved(tmp_path: Path, rest: str, *, memory: str = "1G") -> Domain:
    (tmp_path / "s.yaml").write_text(f"name: web-01\nmemory: {memory}\n{rest}")
    [domain] = resolve(load([str(tmp_path / "s.yaml")], SETTINGS), SETTINGS)
    return domain


def test_the_shortest_spec_gets_a_server_guests_defaults(tmp_path: Path) -> None:
    domain = resolved(tmp_path, "disks:\n  - size: 10G\n")
    [disk] = domain.disks
    assert (domain.machine, domain.hypervisor, domain.host, domain.vcpus) == ("q35", "kvm", "kvm-1", 1)
    assert (disk.target, disk.bus, str(disk.image)) == ("vda", Bus.VIRTIO, "vms/web-01.vda")
    assert (disk.cache, disk.discard) == (Cache.WRITEBACK, Discard.UNMAP)


def test_an_ide_disk_makes_it_an_i440fx(tmp_path: Path) -> None:
    assert resolved(tmp_path, "disks:\n  - {size: 1G, bus: ide}\n").machine == "pc"


def test_free_targets_are_found_around_those_that_are_given(tmp_path: Path) -> None:
    domain = resolved(tmp_path, "disks:\n  - size: 1G\n  - {size: 1G, target: vda}\n  - {size: 1G, bus: sata}\n")
    assert [disk.target for disk in domain.disks] == ["sda", "vda", "vdb"]


def test_uuid_and_macs_come_from_names_and_never_change(tmp_path: Path) -> None:
    nics = "interfaces:\n  - bridge: br0\n  - bridge: br1\n  - bridge: br0\n"
    domain = resolved(tmp_path, f"disks:\n  - size: 1G\n{nics}")
    assert domain.uuid == resolved(tmp_path, "disks:\n  - size: 2G\n").uuid
    names = ["br0", "br1", "br0-2"]
    assert [nic.mac for nic in domain.interfaces] == [derive_mac("web-01", name) for name in names]


def test_an_interface_keeps_its_mac_when_one_before_it_goes(tmp_path: Path) -> None:
    both = resolved(tmp_path, "disks:\n  - size: 1G\ninterfaces:\n  - bridge: br0\n  - bridge: br1\n")
    one = resolved(tmp_path, "disks:\n  - size: 1G\ninterfaces:\n  - bridge: br1\n")
    assert one.interfaces[0].mac == both.interfaces[1].mac


def test_an_import_is_meant_from_where_the_spec_stands(tmp_path: Path) -> None:
    [disk] = resolved(tmp_path, "disks:\n  - import: images/a.qcow2\n").disks
    assert disk.import_file == str(tmp_path / "images/a.qcow2")


def test_memory_that_libvirt_cannot_count_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not a whole number of KiB"):
        resolved(tmp_path, "disks:\n  - size: 1G\n", memory="1000.5K")


def test_the_same_mac_in_two_domains_is_refused(tmp_path: Path) -> None:
    nic = 'interfaces:\n  - {bridge: br0, mac: "52:54:00:00:00:01"}\n'
    text = "".join(f"---\nname: {n}\nmemory: 1G\ndisks:\n  - size: 1G\n{nic}" for n in "ab")
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"s\.yaml:\d+: interfaces\[0\]\.mac: mac 52:54:00:00:00:01 is already used"):
        resolve(load([str(tmp_path / "s.yaml")], SETTINGS), SETTINGS)


def test_specs_come_out_by_name_whatever_their_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nmemory: 1G\ndisks:\n  - size: 1G\n")
    paths = [str(tmp_path / "b.yaml"), str(tmp_path / "a.yaml")]
    assert resolve(load(paths, SETTINGS), SETTINGS) == resolve(load(paths[::-1], SETTINGS), SETTINGS)
    assert [d.name for d in resolve(load([str(tmp_path)], SETTINGS), SETTINGS)] == ["a", "b"]
