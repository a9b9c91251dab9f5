"""Lints: remarks on values that work, but may not do what the operator expects."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

# Every lint: the code that silences it, and why it exists.
REASONS: Mapping[str, str] = {
    "cache-none": "none and directsync switch librbd's cache off, also one that an admin switched on in ceph.conf.",
    "cache-override": "conf_rbd_cache* on the image or its pool overrides the cache mode of the spec.",
    "cache-unsafe": "The guest's flushes are dropped: a power cut loses what the guest believes to be written.",
    "cache-usb": "usb-storage has no write-cache before QEMU 9.0, so nothing is flushed after each write.",
    "cache-writethrough": "It is QEMU that flushes after each write; librbd's rbd_cache_max_dirty stays as it is.",
    "ceph-config-cache": "From QEMU 2.4 on the cache mode decides, not an rbd_cache in the disk's own ceph.conf.",
    "detect-zeroes-on": "detect_zeroes: unmap acts as `on` unless discard is unmap.",
    "discard-ignored": "Trimmed space stays allocated; every bus supports discard today, virtio from QEMU 4.0 on.",
    "discard-not-offered": "Machines up to 1.4 offer the guest no TRIM unless discard_granularity is stated.",
    "granularity-below-floor": "librbd drops discards that are smaller than 64 KiB (rbd_discard_granularity_bytes).",
    "granularity-ide": "512 is the default of ide and sata from QEMU 1.5 on; set discard: unmap instead.",
    "granularity-taints": "<qemu:override> and -set taint the domain, and disks that are hot-plugged don't have them.",
    "granularity-unused": "discard_granularity has no effect while discard is ignore; set discard: unmap.",
    "no-acpi": "Without ACPI nothing can be hot-plugged on pc, and the guest does not see a shutdown request.",
    "virtio-discard": "virtio discards from QEMU 4.0 with a machine of 4.0 on; before that, trims are lost.",
}


class Lint(Struct, frozen=True, kw_only=True):
    """One remark. `where` is `file:line`, `subject` its object (`disk vda`), `code` silences it."""

    code: str
    where: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.subject}: {self.text} (silence: [{self.code}])"

    def is_silenced(self, silence: Sequence[str]) -> bool:
        """Whether `code`, or `code:target` for one disk, is among these words."""
        return self.code in silence or f"{self.code}:{self.subject.rpartition(' ')[2]}" in silence


def all_codes() -> tuple[str, ...]:
    """Return the codes of all lints, sorted."""
    return tuple(sorted(REASONS))


def unknown_codes(silence: Sequence[str]) -> tuple[str, ...]:
    """Return the words that are not the code of any lint."""
    return tuple(word for word in silence if word.partition(":")[0] not in REASONS)
