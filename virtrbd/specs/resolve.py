"""Resolve specs to desired domains: every default is decided here."""

import uuid
from collections.abc import Iterator, Sequence

from virtrbd.contained import contained
from virtrbd.errors import DefectError, SpecError
from virtrbd.model.attributes import BOOT_MENU, INPUT, MEMBALLOON, NUMATUNE, USB_CONTROLLER, WATCHDOG, copied
from virtrbd.model.devices import Input, Interface, Memballoon, UsbController, Watchdog
from virtrbd.model.digest import digest_of
from virtrbd.model.disk import Bus
from virtrbd.model.domain import Domain
from virtrbd.model.machine import BootMenu, NumaTune
from virtrbd.model.power import WantedState
from virtrbd.model.settings import Settings
from virtrbd.specs.disk_rules import disk_problems, drive_problems, group_problems
from virtrbd.specs.document import Path as FieldPath
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.machine_rules import boot_problems, machine_problems
from virtrbd.specs.named_files import file_problems
from virtrbd.specs.resolve_cloud_init import resolve_seed
from virtrbd.specs.resolve_disks import Drives, TargetsTakenError, resolve_drives
from virtrbd.specs.resolve_host import host_problems, resolve_filesystem, resolve_host_device
from virtrbd.specs.resolve_interfaces import resolve_interfaces
from virtrbd.specs.resolve_machine import (
    resolve_cpu,
    resolve_cputune,
    resolve_features,
    resolve_firmware,
    resolve_graphics,
    resolve_tpm,
    resolve_video,
)
from virtrbd.specs.resolve_xml import resolve_xml, xml_problems
from virtrbd.specs.schema import DomainSpec
from virtrbd.specs.trusted import trust_problems

_NAMESPACE = uuid.UUID("8c1d0f5e-52b0-5d0e-9b1c-6d1f3c0a7c11")


def resolve(loaded: Sequence[LoadedSpec], settings: Settings) -> tuple[Domain, ...]:
    """Return the desired domains by name, those of other hosts too. Raises SpecError with all problems."""
    problems: list[str] = []
    defects: list[DefectError] = []
    resolved: list[tuple[Domain, LoadedSpec]] = []
    for item in loaded:
        try:
            with contained(f"{item.document.place(())}: {item.spec.name}: resolving the spec"):
                domain, found = _resolve(item, settings)
        except DefectError as defect:
            defects.append(defect)
            continue
        problems += found
        resolved += [(domain, item)] if domain else []
    problems += _clashes(resolved)
    if problems or defects:
        raise SpecError(*problems, defects=tuple(defects))
    return tuple(sorted((domain for domain, _ in resolved), key=lambda domain: domain.name))


def _resolve(item: LoadedSpec, settings: Settings) -> tuple[Domain | None, list[str]]:
    """Return the domain, None where targets for its disks are missing, and its problems."""
    try:
        drives = resolve_drives(item, settings, is_pc=is_i440fx(machine_of(item.spec)))
    except TargetsTakenError as error:
        return None, [item.document.at(("disks",), str(error))]
    domain = _domain(item, settings, drives)
    found = (
        *machine_problems(domain, drives),
        *disk_problems(drives.disks),
        *drive_problems(drives.disks, drives.cdroms, drives.seed),
        *group_problems(drives.disks),
        *host_problems(domain),
        *boot_problems(domain.boot, drives, domain.interfaces),
        *file_problems(item, settings),
        *trust_problems(item, settings),
    )
    problems = [item.document.at(path, message) for path, message in found]
    if domain.xml:
        targets = [disk.target for disk in domain.disks] + [cdrom.target for cdrom in domain.cdroms]
        problems += xml_problems(item, domain.xml, targets, settings)
    return domain, problems


def machine_of(spec: DomainSpec) -> str:
    """Return the machine: q35, or pc where a disk is ide, for which q35 has no controller."""
    buses = [drive.bus for drive in (*spec.disks, *(spec.cdroms or ()))]
    buses += [spec.cloud_init.bus] if spec.cloud_init else []
    return spec.machine or ("pc" if Bus.IDE in buses else "q35")


def is_i440fx(machine: str) -> bool:
    """Whether it is the machine with an IDE controller."""
    return machine == "pc" or machine.startswith(("pc-i440fx", "pc-0", "pc-1."))


def _domain(item: LoadedSpec, settings: Settings, drives: Drives) -> Domain:
    spec = item.spec
    machine, hypervisor = machine_of(spec), spec.hypervisor or "kvm"
    vcpus = spec.vcpus or 1
    graphics = resolve_graphics(spec.graphics)
    return Domain(
        name=spec.name,
        uuid=spec.uuid or str(uuid.uuid5(_NAMESPACE, spec.name)),
        title=spec.title or "",
        description=spec.description or "",
        memory_bytes=spec.memory,
        current_memory_bytes=spec.current_memory,
        memballoon=Memballoon(**copied(spec.memballoon, MEMBALLOON)) if spec.memballoon else None,
        hugepages_bytes=spec.hugepages,
        vcpus=spec.max_vcpus or vcpus,
        current_vcpus=vcpus if spec.max_vcpus else None,
        cpuset=spec.cpuset or "",
        cputune=resolve_cputune(spec.cputune),
        numatune=NumaTune(**copied(spec.numatune, NUMATUNE)) if spec.numatune else None,
        cpu=resolve_cpu(spec.cpu, hypervisor),
        machine=machine,
        machine_upgrade=bool(spec.machine_upgrade),
        hypervisor=hypervisor,
        firmware=resolve_firmware(spec.firmware),
        boot=spec.boot or (),
        boot_menu=BootMenu(**copied(spec.boot_menu, BOOT_MENU)) if spec.boot_menu else None,
        clock=spec.clock or "utc",
        timers=spec.timers.model_dump(exclude_none=True) if spec.timers else {},
        features=resolve_features(spec.features),
        on_poweroff=spec.on_poweroff or "",
        on_reboot=spec.on_reboot or "",
        on_crash=spec.on_crash or "",
        pm=spec.pm.model_dump(exclude_none=True) if spec.pm else {},
        host=spec.host or settings.host,
        disks=tuple(sorted(drives.disks, key=lambda disk: disk.target)),
        cdroms=tuple(sorted(drives.all_cdroms, key=lambda cdrom: cdrom.target)),
        seed=resolve_seed(item, settings),
        interfaces=resolve_interfaces(spec),
        hostdevs=tuple(map(resolve_host_device, spec.hostdevs or ())),
        filesystems=tuple(map(resolve_filesystem, spec.filesystems or ())),
        graphics=graphics,
        video=resolve_video(spec.video, has_graphics=graphics is not None, is_pc=is_i440fx(machine)),
        pcie_root_ports=spec.pcie_root_ports or 0,
        usb_controller=UsbController(**copied(spec.usb_controller, USB_CONTROLLER)) if spec.usb_controller else None,
        inputs=tuple(Input(**copied(each, INPUT)) for each in spec.inputs or ()),
        sound="" if spec.sound in (None, "none") else spec.sound,
        spice_agent=bool(spec.spice_agent),
        usb_redirections=spec.usb_redirections or 0,
        serial_console=spec.serial_console is not False,
        guest_agent=spec.guest_agent is not False,
        channels=spec.channels or (),
        rng=spec.rng is not False,
        asset_tag=spec.asset_tag is not False,
        watchdog=Watchdog(**copied(spec.watchdog, WATCHDOG)) if spec.watchdog else None,
        tpm=resolve_tpm(spec.tpm),
        vsock_cid=spec.vsock,
        autostart=bool(spec.autostart),
        state=spec.state or WantedState.UNMANAGED,
        template=spec.template or "domain.xml.j2",
        xml=resolve_xml(item),
        silence=spec.silence or (),
        origin=str(item.document.place(())),
        # The settings too: their defaults are in the definition.
        digest=digest_of(item.digest, settings.digest),
    )


def _clashes(resolved: Sequence[tuple[Domain, LoadedSpec]]) -> Iterator[str]:
    """Names, UUIDs, MACs and written images belong to one domain each; the first user keeps it."""
    users: dict[tuple[str, str], str] = {}
    for domain, item in resolved:
        for kind, value, path in claims(domain):
            if (kind, value) in users:
                user = users[kind, value]
                yield item.document.at(path, f"{kind} {value} is already used in {user}; give each its own")
            users.setdefault((kind, value), domain.origin)


def claims(domain: Domain) -> Iterator[tuple[str, str, FieldPath]]:
    """Yield the values that only one domain may have: kind, value, and the field."""
    yield "name", domain.name, ("name",)
    yield "uuid", domain.uuid, ("uuid",)
    interfaces: Sequence[Interface] = domain.interfaces
    for index, interface in enumerate(interfaces):
        yield "mac", interface.mac, ("interfaces", index, "mac")
    for disk in domain.disks:
        if disk.is_written:
            yield "image", str(disk.image.image), ("disks",)
    if domain.seed:
        yield "image", str(domain.seed.image), ("cloud_init",)
    if domain.xml:
        yield from (("image", str(ref), ("xml",)) for ref in domain.xml.images)
        # XML for an interface of the spec repeats its MAC, and so does its failover half.
        own = {interface.mac for interface in interfaces}
        yield from (("mac", mac, ("xml",)) for mac in domain.xml.macs if mac not in own)
    if domain.vsock_cid:
        yield "vsock", str(domain.vsock_cid), ("vsock",)
