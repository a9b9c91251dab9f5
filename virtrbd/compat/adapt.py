"""Adapt a desired domain to this host's libvirt and QEMU."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from msgspec import Struct

from virtrbd.compat.domcapabilities import bus_problem, not_offered
from virtrbd.compat.granularity import (
    DEFAULT_OBJECT_BYTES,
    granularity_problems,
    granularity_way,
    json_device_capability,
)
from virtrbd.compat.lints import Situation, domain_lints
from virtrbd.compat.requirements import DISK, DOMAIN, INTERFACE, MEMBALLOON, unmet
from virtrbd.model.capabilities import Capabilities, version_text
from virtrbd.model.devices import Watchdog
from virtrbd.model.disk import Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.lint import Lint

Images = Mapping[ImageRef, Image | None]
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Fit(Struct, frozen=True, kw_only=True):
    """The adapted domain, why it is not possible (each `file:line: subject: reason`), and lints."""

    fitted: Fitted
    problems: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()


def fit(
    domain: Domain,
    capabilities: Capabilities,
    images: Images = MappingProxyType({}),
    pool_config: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Fit:
    """Return the domain for this hypervisor; unknown images and pools count with Ceph's defaults."""
    situations = [_situation(disk, capabilities, images, pool_config) for disk in domain.disks]
    lints = domain_lints(domain, situations)
    return Fit(
        fitted=_fitted(domain, situations, capabilities),
        problems=tuple(_problems(domain, situations, capabilities)),
        lints=tuple(lint for lint in lints if not lint.is_silenced(domain.silence)),
    )


def _situation(
    disk: Disk, capabilities: Capabilities, images: Images, pool_config: Mapping[str, Mapping[str, str]]
) -> Situation:
    image = images.get(disk.image.image)
    # A clone gets its parent's object size.
    made_like = image or (images.get(disk.clone) if disk.clone else None)
    return Situation(
        disk=disk,
        capabilities=capabilities,
        object_bytes=made_like.object_bytes if made_like else DEFAULT_OBJECT_BYTES,
        image_config=image.config if image else _NOTHING,
        pool_config=pool_config.get(disk.image.pool, _NOTHING),
    )


def _fitted(domain: Domain, situations: list[Situation], capabilities: Capabilities) -> Fitted:
    ways: dict[str, dict[str, int]] = {"blockio": {}, "override": {}, "set_device": {}}
    for situation in situations:
        if (granularity := situation.granularity) is not None:
            ways[granularity_way(granularity, capabilities)][situation.disk.target] = granularity
    json_device = json_device_capability(capabilities)
    return Fitted(
        domain=domain,
        blockio=ways["blockio"],
        override=ways["override"],
        set_device=ways["set_device"],
        drops_json_device=bool(ways["set_device"] and json_device),
        json_device_capability=json_device,
        # Debian's OVMF 2026.08 has images for confidential guests, which keep no variables, and libvirt 12.8 takes
        # one of them for any guest without Secure Boot: that does not boot. Up to 9.1 libvirt chose at each start,
        # and a definition has no loader.
        states_variables=domain.firmware.secure_boot is False and capabilities.libvirt >= (9, 2, 0),
    )


def _problems(domain: Domain, situations: list[Situation], capabilities: Capabilities) -> Iterator[str]:
    file = domain.origin.rpartition(":")[0]
    for text in _domain_problems(domain, capabilities):
        yield f"{domain.origin}: {domain.name}: {text}"
    for situation in situations:
        for text in _disk_problems(situation, capabilities):
            yield f"{file}:{situation.disk.line}: disk {situation.disk.target}: {text}"
    for cdrom in domain.cdroms:
        for text in (bus_problem(cdrom.bus, capabilities), _namespace_problem(cdrom.image, capabilities)):
            if text:
                yield f"{file}:{cdrom.line}: cdrom {cdrom.target}: {text}"
    for interface in domain.interfaces:
        for text in unmet(interface, INTERFACE, capabilities):
            yield f"{domain.origin}: interface {interface.mac}: {text}"


def _domain_problems(domain: Domain, capabilities: Capabilities) -> Iterator[str]:
    yield from unmet(domain, DOMAIN, capabilities)
    if domain.memballoon:
        yield from unmet(domain.memballoon, MEMBALLOON, capabilities)
    yield from not_offered(domain, capabilities)
    if domain.watchdog and (text := _watchdog_problem(domain.watchdog, capabilities)):
        yield text


def _disk_problems(situation: Situation, capabilities: Capabilities) -> Iterator[str]:
    disk = situation.disk
    for text in (bus_problem(disk.bus, capabilities), _namespace_problem(disk.image, capabilities)):
        if text:
            yield text
    yield from unmet(disk, DISK, capabilities)
    yield from granularity_problems(disk, capabilities, situation.object_bytes)


def _namespace_problem(image: ImageRef | None, capabilities: Capabilities) -> str:
    """From 5.10 (-blockdev) to 11.5 libvirt sends `namespace/image` as the image's name: the guest does not start."""
    if image is None or not image.namespace:
        return ""
    libvirt, qemu = capabilities.libvirt, capabilities.qemu
    if qemu < (5, 0, 0):
        return f"namespaces need QEMU 5.0 (this is {version_text(qemu)}); move {image.path} to the pool itself"
    if (5, 10, 0) <= libvirt < (11, 6, 0):
        return (
            f"libvirt 5.10 to 11.5 takes {image.path} for the name of an image (this is {version_text(libvirt)}), and "
            f"the guest does not start; use a pool without namespaces, or libvirt 11.6"
        )
    return ""


def _watchdog_problem(watchdog: Watchdog, capabilities: Capabilities) -> str:
    if watchdog.model == "diag288":
        return "watchdog diag288 exists on s390 only; use i6300esb"
    if watchdog.model == "itco" and "q35" not in capabilities.machine:
        return f"watchdog itco exists on q35 only, this is {capabilities.machine}; use i6300esb"
    return ""
