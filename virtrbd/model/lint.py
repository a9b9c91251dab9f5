"""Lints: what a person should know of a value that works all the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Every lint there is: what silences it, and why there is one.
REASONS: Mapping[str, str] = {
    "cache-none": "none and directsync switch librbd's cache off, also one that an admin switched on in ceph.conf.",
    "cache-override": "conf_rbd_cache* on the image or its pool is stronger than the cache mode of the spec.",
    "cache-unsafe": "The guest's flushes are dropped: a power cut loses what the guest believes to be written.",
    "cache-usb": "usb-storage has no write-cache before QEMU 9.0, so nothing is flushed after each write.",
    "cache-writethrough": "It is QEMU that flushes after each write; librbd's rbd_cache_max_dirty stays as it is.",
    "ceph-config-cache": "From QEMU 2.4 on the cache mode decides, not an rbd_cache in the disk's own ceph.conf.",
    "detect-zeroes-on": "detect_zeroes: unmap acts as `on` unless discard is unmap.",
    "discard-ignored": "What the guest trims stays allocated; every bus discards today, virtio from QEMU 4.0 on too.",
    "discard-not-offered": "Machines up to 1.4 offer the guest no TRIM unless discard_granularity is stated.",
    "granularity-below-floor": "librbd drops discards that are smaller than 64 KiB (rbd_discard_granularity_bytes).",
    "granularity-ide": "512 is what ide and sata have anyway from QEMU 1.5 on; it is discard: unmap that matters.",
    "granularity-taints": "<qemu:override> and -set taint the domain, and disks that are hot-plugged don't have them.",
    "granularity-unused": "discard_granularity has no effect while discard is ignore: discard: unmap is what matters.",
    "no-acpi": "Without ACPI nothing can be hot-plugged on pc, and the guest never hears of a shutdown.",
    "virtio-discard": "virtio discards from QEMU 4.0 with a machine of 4.0 on; before, trims go nowhere.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """One remark. `where` is `file:line`, `subject` what it is about (`disk vda`), `code` what silences it."""

    code: str
    where: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.subject}: {self.text} (silence: [{self.code}])"

    def is_silenced(self, silence: Sequence[str]) -> bool:
        """Whether `code`, or `code:target` for one disk alone, is among these words."""
        return self.code in silence or f"{self.code}:{self.subject.rpartition(' ')[2]}" in silence


def all_codes() -> tuple[str, ...]:
    """Return the codes of all lints, sorted."""
    return tuple(sorted(REASONS))


def unknown_codes(silence: Sequence[str]) -> tuple[str, ...]:
    """Return the words that silence no lint that there is."""
    return tuple(word for word in silence if word.partition(":")[0] not in REASONS)
