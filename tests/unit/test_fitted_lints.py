"""What is told of disks that work, but not as somebody may think; and what librbd makes of a cache mode."""

import pytest
from support.eras import REF, codes, disk, domain, era, granular

from virtrbd.compat.adapt import fit
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.compat.explain import explain_cache
from virtrbd.model.disk import Bus, Cache, DetectZeroes, Discard, Disk
from virtrbd.model.image import Image, ImageRef


@pytest.mark.parametrize(
    ("subject", "hypervisor", "machine", "expected"),
    [
        (disk(), "11.6", "q35", []),
        (disk(Bus.IDE), "11.6", "pc", []),
        (disk(cache=Cache.NONE), "9.0", "pc", ["cache-none"]),
        (disk(cache=Cache.DIRECTSYNC), "9.0", "pc", ["cache-none"]),
        (disk(cache=Cache.NONE, shareable=True), "9.0", "pc", []),
        (disk(cache=Cache.UNSAFE), "9.0", "pc", ["cache-unsafe"]),
        (disk(cache=Cache.WRITETHROUGH), "9.0", "pc", ["cache-writethrough"]),
        (disk(Bus.USB, cache=Cache.WRITETHROUGH), "10.0", "pc", ["cache-writethrough", "cache-usb"]),
        (disk(Bus.USB, cache=Cache.WRITETHROUGH), "11.6", "pc", ["cache-writethrough"]),
        (disk(Bus.USB, cache=Cache.WRITEBACK), "10.0", "pc", []),
        (disk(ceph_config="/etc/ceph/x.conf"), "9.0", "pc", ["ceph-config-cache"]),
        (disk(detect_zeroes=DetectZeroes.UNMAP), "9.0", "pc", []),
        (disk(detect_zeroes=DetectZeroes.UNMAP, discard=Discard.IGNORE), "9.0", "pc",
         ["detect-zeroes-on", "discard-ignored"]),
        (disk(discard=Discard.IGNORE), "9.0", "pc-i440fx-4.0", ["discard-ignored"]),
        (disk(discard=Discard.IGNORE, readonly=True), "9.0", "pc", []),
        (disk(), "9.0", "pc-i440fx-3.1", ["virtio-discard"]),
        (disk(), "9.0", "pc-i440fx-4.0", []),
        (disk(Bus.SCSI), "9.0", "pc-i440fx-3.1", []),
        (disk(Bus.SCSI), "9.0", "pc-i440fx-1.4", ["discard-not-offered"]),
        (granular(Bus.IDE, 512), "9.0", "pc", ["granularity-ide"]),
        (granular(Bus.SATA, 512, discard=Discard.IGNORE), "9.0", "pc", ["discard-ignored", "granularity-unused"]),
        (granular(Bus.SATA, 65536), "9.0", "pc", []),
        (granular(Bus.SCSI, 4096), "9.0", "pc", ["granularity-below-floor"]),
        (granular(Bus.VIRTIO, 32768), "11.6", "pc", ["granularity-below-floor"]),
        (granular(Bus.VIRTIO, 65536), "11.6", "pc", []),
        (granular(Bus.VIRTIO, 65536), "9.0", "pc", ["granularity-taints"]),
    ],
)  # fmt: skip
def test_lints(subject: Disk, hypervisor: str, machine: str, expected: list[str]) -> None:
    found = fit(domain(subject), era(hypervisor, machine))
    assert codes(found) == expected
    assert {(lint.where, lint.subject) for lint in found.lints} <= {("web.yaml:7", f"disk {subject.target}")}


def test_a_domain_without_acpi_is_told_what_it_misses() -> None:
    [lint] = fit(domain(features={"acpi": False}), era("9.0")).lints
    assert (lint.code, lint.where, lint.subject) == ("no-acpi", "web.yaml:1", "domain web")


def with_config(**config: str) -> dict[ImageRef, Image | None]:
    return {REF: Image(ref=REF, image_id="1", size_bytes=0, created_at=0, config=config)}


@pytest.mark.parametrize(
    ("cache", "image", "pool", "said"),
    [
        (
            Cache.WRITEBACK,
            {"rbd_cache": "false"},
            {},
            "conf_rbd_cache = false on image vms/web.vda overrides cache writeback",
        ),
        (Cache.WRITEBACK, {}, {"rbd_cache": "0"}, "conf_rbd_cache = 0 on pool vms overrides cache writeback"),
        (Cache.NONE, {"rbd_cache": "True"}, {}, "conf_rbd_cache = True on image vms/web.vda overrides cache none"),
        # The image's own value is stronger than the pool's.
        (Cache.WRITEBACK, {"rbd_cache": "true"}, {"rbd_cache": "false"}, ""),
        (Cache.NONE, {"rbd_cache": "true"}, {"rbd_cache": "false"}, "on image vms/web.vda"),
        (Cache.WRITEBACK, {"rbd_cache_max_dirty": "0"}, {}, "conf_rbd_cache_max_dirty = 0"),
        (Cache.WRITEBACK, {"rbd_cache_policy": "writethrough"}, {}, "conf_rbd_cache_policy = writethrough"),
        # What tunes the cache leaves the mode as it is.
        (Cache.WRITEBACK, {"rbd_cache_policy": "writeback", "rbd_cache_size": "1"}, {"rbd_cache": "true"}, ""),
        (Cache.WRITETHROUGH, {"rbd_cache_max_dirty": "0"}, {}, ""),
        (Cache.WRITEBACK, {"rbd_op_threads": "2"}, {"rbd_qos_iops_limit": "0"}, ""),
    ],
)
def test_what_ceph_itself_overrides_is_told(
    cache: Cache, image: dict[str, str], pool: dict[str, str], said: str
) -> None:
    found = fit(
        domain(disk(cache=cache)), era("9.0"), with_config(**image), {"vms": pool, "other": {"rbd_cache": "no"}}
    )
    lints = [lint.text for lint in found.lints if lint.code == "cache-override"]
    assert len(lints) == bool(said)
    assert all(said in text for text in lints)


@pytest.mark.parametrize(
    ("cache", "qemu", "said"),
    [
        (Cache.WRITEBACK, "10.0", ["librbd's cache is on, as write-around", "the guest flushes"]),
        (Cache.DEFAULT, "10.0", ["librbd's cache is on", "the guest flushes"]),
        (Cache.NONE, "7.2", ["librbd's cache is off", "the guest flushes"]),
        (Cache.DIRECTSYNC, "7.2", ["librbd's cache is off", "QEMU flushes after each write"]),
        (Cache.WRITETHROUGH, "7.2", ["librbd's cache is on", "QEMU flushes after each write"]),
        (Cache.WRITETHROUGH, "1.2", ["rbd_cache_max_dirty = 0"]),
        (Cache.WRITETHROUGH, "1.3", ["librbd's cache is on, as write-around"]),
        (Cache.UNSAFE, "7.2", ["no flush reaches librbd", "rbd_cache_writethrough_until_flush is true"]),
        (Cache.WRITEBACK, "1.1", ["it has no effect on librbd"]),
        (Cache.WRITEBACK, "2.3", ["an rbd_cache in ceph.conf overrides it"]),
        (Cache.WRITEBACK, "2.4", ["ceph.conf's rbd_cache does not count, conf_rbd_cache of image or pool overrides"]),
    ],
)
def test_what_librbd_does_is_explained(cache: Cache, qemu: str, said: list[str]) -> None:
    text = explain_cache(disk(cache=cache), capabilities_by_hand(f"qemu={qemu}", "pc"))
    assert text.startswith(f"cache {cache} on QEMU {qemu}: ")
    assert [words for words in said if words not in text] == []


def test_a_usb_disk_is_not_said_to_be_flushed_where_it_is_not() -> None:
    subject = disk(Bus.USB, cache=Cache.WRITETHROUGH)
    assert "QEMU does not flush after each write" in explain_cache(subject, era("10.0"))
    assert "; QEMU flushes after each write" in explain_cache(subject, era("11.6"))
