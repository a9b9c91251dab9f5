"""The lints: values that work, but may not do what the operator expects."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct, field

from virtrbd.compat.explain import drops_write_cache
from virtrbd.compat.granularity import (
    LIBRBD_FLOOR,
    device_default,
    granularity_problems,
    granularity_to_state,
    granularity_way,
)
from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.disk import Bus, Cache, DetectZeroes, Discard, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.lint import Lint
from virtrbd.model.size import format_size
from virtrbd.qemu.era import Era


class Situation(Struct, frozen=True, kw_only=True):
    """A disk, with everything that decides its lints."""

    disk: Disk
    capabilities: Capabilities
    object_bytes: int
    image_config: Mapping[str, str] = field(default_factory=dict)
    pool_config: Mapping[str, str] = field(default_factory=dict)

    @property
    def era(self) -> Era:
        return Era.of(self.capabilities)

    @property
    def granularity(self) -> int | None:
        """The granularity of the device; nothing where the stated one is not possible."""
        if any(granularity_problems(self.disk, self.capabilities, self.object_bytes)):
            return None
        return granularity_to_state(self.disk, self.capabilities, self.object_bytes)

    @property
    def cache_overrides(self) -> tuple[str, ...]:
        """Ceph's own options that override the spec's cache mode; the image's come before the pool's."""
        pool, image = f"pool {self.disk.image.pool}", f"image {self.disk.image.image}"
        sources = {**dict.fromkeys(self.pool_config, pool), **dict.fromkeys(self.image_config, image)}
        config = {**self.pool_config, **self.image_config}
        return tuple(
            f"conf_{key} = {config[key]} on {sources[key]}"
            for key in sorted(config)
            if key in _OVERRIDES and _OVERRIDES[key](config[key], self.disk.cache)
        )


def _is_on(value: str) -> bool:
    return value.strip().lower() in ("true", "yes", "on", "1")


def _writes_back(cache: Cache) -> bool:
    facts = CACHE_FACTS[cache]
    return facts.rbd_cache and facts.write_cache


# Other options with this prefix (size, age, policy writearound) tune the cache, and do not change the mode.
_OVERRIDES: Mapping[str, Callable[[str, Cache], bool]] = {
    "rbd_cache": lambda value, cache: _is_on(value) != CACHE_FACTS[cache].rbd_cache,
    "rbd_cache_max_dirty": lambda value, cache: value.strip() == "0" and _writes_back(cache),
    "rbd_cache_policy": lambda value, cache: value.strip() == "writethrough" and _writes_back(cache),
}


class _LintRule(Struct, frozen=True, kw_only=True):
    """A lint of a disk: its code, when it applies, and its message."""

    code: str
    holds: Callable[[Situation], object]
    text: Callable[[Situation], str]


_RULES = (
    _LintRule(
        code="cache-none",
        holds=lambda s: CACHE_FACTS[s.disk.cache].direct and not s.disk.shareable and s.era.cache_drives_librbd,
        text=lambda s: (
            f"cache {s.disk.cache} switches librbd's cache off, even where ceph.conf switches it on; "
            f"write writeback for a cache"
        ),
    ),
    _LintRule(
        code="cache-unsafe",
        holds=lambda s: s.disk.cache is Cache.UNSAFE,
        text=lambda _s: (
            "cache unsafe drops the guest's flushes: a power cut loses what the guest believes to be written; "
            "write writeback for data that you want to keep"
        ),
    ),
    _LintRule(
        code="cache-writethrough",
        holds=lambda s: s.disk.cache is Cache.WRITETHROUGH and s.era.qemu >= (1, 3, 0),
        text=lambda _s: (
            "cache writethrough makes QEMU flush after each write; it does not change rbd_cache_max_dirty "
            "(only QEMU 1.2 set that to 0); writeback is as safe for guests that flush"
        ),
    ),
    _LintRule(
        code="cache-usb",
        holds=lambda s: drops_write_cache(s.disk, s.capabilities),
        text=lambda s: (
            f"usb-storage drops write-cache before QEMU 9.0: cache {s.disk.cache} is not flushed after each write; "
            f"use scsi"
        ),
    ),
    _LintRule(
        code="cache-override",
        holds=lambda s: s.cache_overrides,
        text=lambda s: (
            f"{', '.join(s.cache_overrides)} overrides cache {s.disk.cache} of the spec; "
            f"remove it with `rbd config image remove` or `rbd config pool remove`"
        ),
    ),
    _LintRule(
        code="ceph-config-cache",
        holds=lambda s: s.disk.ceph_config and s.era.cache_beats_ceph_conf,
        text=lambda s: (
            f"an rbd_cache in {s.disk.ceph_config} has no effect: QEMU sets it by cache {s.disk.cache} after it has "
            f"read the file (from 2.4 on); its other options apply"
        ),
    ),
    _LintRule(
        code="detect-zeroes-on",
        holds=lambda s: s.disk.detect_zeroes is DetectZeroes.UNMAP and s.disk.discard is not Discard.UNMAP,
        text=lambda s: f"detect_zeroes: unmap acts as `on` while discard is {s.disk.discard}; write discard: unmap",
    ),
    _LintRule(
        code="discard-ignored",
        holds=lambda s: s.disk.discard is not Discard.UNMAP and s.disk.is_written,
        text=lambda s: (
            f"discard: {s.disk.discard} keeps trimmed space in the pool; {s.disk.bus} discards"
            + (" (virtio too, from QEMU 4.0 and Linux 5.0 on)" if s.disk.bus is Bus.VIRTIO else "")
            + ": write discard: unmap to get the space back"
        ),
    ),
    _LintRule(
        code="virtio-discard",
        holds=lambda s: s.disk.bus is Bus.VIRTIO and s.disk.discard is Discard.UNMAP and not s.era.virtio_discards,
        text=lambda s: (
            f"trims are not passed: virtio discards from QEMU 4.0 with a machine of 4.0 on, this is {s.era}; "
            f"write machine_upgrade: true, or use scsi"
        ),
    ),
    _LintRule(
        code="discard-not-offered",
        holds=lambda s: (
            s.disk.discard is Discard.UNMAP
            and s.disk.bus in (Bus.IDE, Bus.SATA, Bus.SCSI)
            and not s.era.offers_discard_by_default
            and s.granularity is None
        ),
        text=lambda s: (
            f"{s.era} offers the guest no discard by itself; write machine_upgrade: true, or state "
            f"discard_granularity: {512 if s.disk.bus is not Bus.SCSI else '64K'}"
        ),
    ),
    _LintRule(
        code="granularity-ide",
        holds=lambda s: (
            s.disk.bus in (Bus.IDE, Bus.SATA)
            and s.disk.discard_granularity_bytes == device_default(s.disk.bus, s.era) != 0
            and s.disk.discard is Discard.UNMAP
        ),
        text=lambda s: (
            f"discard_granularity 512 is the default of {s.disk.bus} from QEMU 1.5 on; leave it out and write "
            f"discard: unmap"
        ),
    ),
    _LintRule(
        code="granularity-unused",
        holds=lambda s: s.disk.discard is not Discard.UNMAP and s.disk.discard_granularity_bytes,
        text=lambda _s: (
            "discard_granularity has no effect where discard is ignore; write discard: unmap, or leave it out"
        ),
    ),
    _LintRule(
        code="granularity-below-floor",
        holds=lambda s: (
            s.disk.bus not in (Bus.IDE, Bus.SATA)
            and s.disk.discard is Discard.UNMAP
            and 0 < (s.disk.discard_granularity_bytes or 0) < LIBRBD_FLOOR
        ),
        text=lambda s: (
            f"librbd drops discards below {format_size(LIBRBD_FLOOR)} (rbd_discard_granularity_bytes), so "
            f"{s.disk.discard_granularity_bytes} makes the guest send many without effect; write 64K or more"
        ),
    ),
    _LintRule(
        code="granularity-taints",
        holds=lambda s: s.granularity is not None and granularity_way(s.granularity, s.capabilities) != "blockio",
        text=lambda s: (
            f"this libvirt has no <blockio discard_granularity>, so {_way_words(s)} sets it: the domain gets tainted, "
            f"and disks that are hot-plugged don't have it"
        ),
    ),
)


def _way_words(situation: Situation) -> str:
    way = granularity_way(situation.granularity or 0, situation.capabilities)
    return {"override": "<qemu:override>", "set_device": "-set on QEMU's command line"}[way]


def domain_lints(domain: Domain, situations: Iterable[Situation]) -> Iterator[Lint]:
    """Yield the lints of a domain and its disks, those that are silenced too."""
    if domain.features.get("acpi") is False:
        text = "without acpi no disk or interface is hot-plugged on pc, and the guest sees no shutdown; switch it on"
        yield Lint(code="no-acpi", where=domain.origin, subject=f"domain {domain.name}", text=text)
    file = domain.origin.rpartition(":")[0]
    for situation in situations:
        for rule in _RULES:
            if rule.holds(situation):
                yield Lint(
                    code=rule.code,
                    where=f"{file}:{situation.disk.line}",
                    subject=f"disk {situation.disk.target}",
                    text=rule.text(situation),
                )
