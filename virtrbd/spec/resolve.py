"""From specs to desired domains: every decision that a default stands for is taken here."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from virtrbd.errors import SpecError
from virtrbd.model.digest import digest_of
from virtrbd.model.domain import Bus, Disk, Domain, Interface
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings
from virtrbd.spec.document import Path as FieldPath
from virtrbd.spec.load import LoadedSpec
from virtrbd.spec.schema import TARGET_PREFIX, DiskSpec, DomainSpec, InterfaceSpec

_NAMESPACE = uuid.UUID("8c1d0f5e-52b0-5d0e-9b1c-6d1f3c0a7c11")
_MAX_IDE_DISKS = 4


def resolve(loaded: Sequence[LoadedSpec], settings: Settings) -> tuple[Domain, ...]:
    """Return the desired domains by name, those of other hosts too. Raises SpecError with all problems."""
    problems: list[str] = []
    domains = [_domain(item, settings, problems) for item in loaded]
    _check_unique(domains, loaded, problems)
    if problems:
        raise SpecError(*problems)
    return tuple(sorted(domains, key=lambda domain: domain.name))


def _domain(item: LoadedSpec, settings: Settings, problems: list[str]) -> Domain:
    spec = item.spec
    has_ide = any(disk.bus is Bus.IDE for disk in spec.disks)
    machine = spec.machine or ("pc" if has_ide else "q35")
    disks = _disks(item, settings)
    for path, message in (*_machine_problems(spec, machine, has_ide), *_disk_problems(disks)):
        problems.append(item.document.at(path, message))
    return Domain(
        name=spec.name,
        uuid=spec.uuid or str(uuid.uuid5(_NAMESPACE, spec.name)),
        memory_bytes=spec.memory,
        vcpus=spec.vcpus,
        machine=machine,
        hypervisor=spec.hypervisor or settings.defaults.hypervisor,
        host=spec.host or settings.host,
        disks=tuple(sorted(disks, key=lambda disk: disk.target)),
        interfaces=_interfaces(spec),
        serial_console=spec.serial_console,
        guest_agent=spec.guest_agent,
        autostart=spec.autostart,
        origin=item.document.at((), "").removesuffix(": "),
        # The settings too: what they default is in the definition.
        digest=digest_of(item.digest, settings.digest),
    )


def _disks(item: LoadedSpec, settings: Settings) -> list[Disk]:
    taken = {disk.target for disk in item.spec.disks if disk.target}
    disks = []
    for index, spec in enumerate(item.spec.disks):
        target = spec.target or _free_target(spec.bus, taken)
        taken.add(target)
        disks.append(_disk(item, spec, target, settings, item.document.lines.get(("disks", index), 1)))
    return disks


def _free_target(bus: Bus, taken: set[str]) -> str:
    letters = (chr(code) for code in range(ord("a"), ord("z") + 1))
    return next(target for letter in letters if (target := TARGET_PREFIX[bus] + letter) not in taken)


def _disk(item: LoadedSpec, spec: DiskSpec, target: str, settings: Settings, line: int) -> Disk:
    image = spec.image or ImageRef(pool=settings.ceph.pool, name=f"{item.spec.name}.{target}")
    # A relative file is meant from where the spec stands: cron has another working directory.
    file = str(Path(item.document.file).absolute().parent / spec.import_file) if spec.import_file else ""
    return Disk(
        target=target,
        bus=spec.bus,
        image=image,
        size_bytes=spec.size,
        clone=spec.clone,
        import_file=file,
        existing=spec.existing or bool(image.snapshot),
        cache=spec.cache or settings.defaults.cache,
        discard=spec.discard or settings.defaults.discard,
        boot=spec.boot,
        readonly=spec.readonly,
        shareable=spec.shareable,
        line=line,
    )


def _interfaces(spec: DomainSpec) -> tuple[Interface, ...]:
    seen: Counter[str] = Counter()
    interfaces = []
    for interface in spec.interfaces:
        end = interface.network or interface.bridge or ""
        seen[end] += 1
        name = interface.name or (end if seen[end] == 1 else f"{end}-{seen[end]}")
        interfaces.append(_interface(spec.name, name, interface))
    return tuple(interfaces)


def _interface(domain: str, name: str, spec: InterfaceSpec) -> Interface:
    return Interface(
        mac=spec.mac or derive_mac(domain, name),
        network=spec.network or "",
        bridge=spec.bridge or "",
        model=spec.model,
    )


def derive_mac(domain: str, interface: str) -> str:
    """Return the MAC that an interface of a domain has unless the spec says so; 52:54:00 is QEMU's own prefix."""
    tail = hashlib.sha256(f"{domain}/{interface}".encode()).digest()[:3]
    return "52:54:00:" + tail.hex(":")


def _machine_problems(spec: DomainSpec, machine: str, has_ide: bool) -> list[tuple[FieldPath, str]]:
    found: list[tuple[FieldPath, str]] = []
    if spec.memory % 1024**2:
        found.append((("memory",), "not a whole number of MiB; QEMU rounds it, so write it as it will be"))
    if has_ide and "q35" in machine:
        index = next(n for n, disk in enumerate(spec.disks) if disk.bus is Bus.IDE)
        found.append((("disks", index, "bus"), "q35 has no IDE controller; write machine: pc, or bus: sata"))
    if sum(disk.bus is Bus.IDE for disk in spec.disks) > _MAX_IDE_DISKS:
        found.append((("disks",), "five or more ide disks; the one IDE controller takes 4: use sata, scsi or virtio"))
    return found


def _disk_problems(disks: Sequence[Disk]) -> list[tuple[FieldPath, str]]:
    found: list[tuple[FieldPath, str]] = []
    for index, disk in enumerate(disks):
        earlier = disks[:index]
        if disk.target in {other.target for other in earlier}:
            found.append((("disks", index, "target"), f"{disk.target} is taken by another disk; give each its own"))
        if disk.boot is not None and disk.boot in {other.boot for other in earlier}:
            found.append((("disks", index, "boot"), f"boot {disk.boot} is taken by another disk; give each its own"))
    return found


def _check_unique(domains: Sequence[Domain], loaded: Sequence[LoadedSpec], problems: list[str]) -> None:
    """Names, UUIDs, MACs and written images belong to one domain each; the first user keeps it."""
    users: dict[tuple[str, str], str] = {}
    for domain, item in zip(domains, loaded, strict=True):
        claims: list[tuple[str, str, FieldPath]] = [("name", domain.name, ("name",)), ("uuid", domain.uuid, ("uuid",))]
        claims += [("mac", nic.mac, ("interfaces", n, "mac")) for n, nic in enumerate(domain.interfaces)]
        claims += [("image", str(disk.image.image), ("disks",)) for disk in domain.disks if disk.is_written]
        for kind, value, path in claims:
            if (kind, value) in users:
                user = users[kind, value]
                problems.append(item.document.at(path, f"{kind} {value} is already used in {user}; give each its own"))
            users.setdefault((kind, value), domain.origin)
