"""The disks and CD-ROM drives of a spec, with targets, images and defaults decided."""

from collections.abc import Mapping
from string import ascii_lowercase

from msgspec import Struct

from virtrbd.model.attributes import DISK, copied
from virtrbd.model.disk import Bus, Cdrom, Disk
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings
from virtrbd.specs.cloud_init_schema import CloudInitSpec
from virtrbd.specs.disk_schema import TARGET_PREFIX, CdromSpec, DiskSpec, IoTuneSpec
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.named_files import NamedFile, named_file
from virtrbd.specs.resolve_cloud_init import seed_image

# The last place on the first controller (libvirt puts 7 scsi disks on one, 6 on sata): so a seed leaves the next
# free places to disks, and does not move when the spec gets another disk.
_SEED_TARGETS = {Bus.SCSI: "sdg", Bus.SATA: "sdf"}


class Drives(Struct, frozen=True, kw_only=True):
    """Disks and CD-ROM drives in the order of the spec; `seed` is the drive with the cloud-init seed."""

    disks: tuple[Disk, ...]
    cdroms: tuple[Cdrom, ...]
    seed: Cdrom | None

    @property
    def all_cdroms(self) -> tuple[Cdrom, ...]:
        return (*self.cdroms, *([self.seed] if self.seed else []))


class TargetsTakenError(Exception):
    """More disks than a prefix has letters; the message says which."""


def resolve_drives(item: LoadedSpec, settings: Settings, *, is_pc: bool) -> Drives:
    """Return the disks and drives. Raises TargetsTakenError."""
    spec = item.spec
    cdrom_specs = spec.cdroms or []
    targets = [disk.target for disk in spec.disks] + [cdrom.target for cdrom in cdrom_specs]
    targets += [spec.cloud_init.target] if spec.cloud_init else []
    taken = {target for target in targets if target}
    disks = []
    for index, disk in enumerate(spec.disks):
        target = disk.target or _free_target(disk.bus or Bus.VIRTIO, taken)
        file = _import_file(item, index, disk, settings)
        disks.append(_disk(item, disk, target, settings, file=file, line=_line(item, ("disks", index))))
    cdroms = []
    for index, cdrom in enumerate(cdrom_specs):
        bus = Bus(cdrom.bus) if cdrom.bus else Bus.IDE if is_pc else Bus.SATA
        target = cdrom.target or _free_target(bus, taken)
        cdroms.append(_cdrom(cdrom, bus, target, _line(item, ("cdroms", index))))
    seed = _seed_drive(item, spec.cloud_init, seed_image(item, settings), taken) if spec.cloud_init else None
    return Drives(disks=tuple(disks), cdroms=tuple(cdroms), seed=seed)


def _seed_drive(item: LoadedSpec, spec: CloudInitSpec, image: ImageRef, taken: set[str]) -> Cdrom:
    # Debian's cloud kernel has virtio-scsi and sr, but neither AHCI nor USB (its config).
    bus = Bus(spec.bus) if spec.bus else Bus.SCSI
    usual = _SEED_TARGETS.get(bus, "")
    target = spec.target or (usual if usual and usual not in taken else _free_target(bus, taken))
    return Cdrom(target=target, bus=bus, image=image, is_seed=True, line=_line(item, ("cloud_init",)))


def _line(item: LoadedSpec, path: tuple[str | int, ...]) -> int:
    return item.document.lines.get(path, 1)


def _free_target(bus: Bus, taken: set[str]) -> str:
    prefix = TARGET_PREFIX[bus]
    for letter in ascii_lowercase:
        target = prefix + letter
        if target not in taken:
            taken.add(target)
            return target
    raise TargetsTakenError(f"{prefix}a to {prefix}z are taken; use another bus for further disks")


def _import_file(item: LoadedSpec, index: int, spec: DiskSpec, settings: Settings) -> NamedFile:
    if not spec.import_file:
        return NamedFile(path="", beneath=())
    return named_file(item.document, ("disks", index, "import"), spec.import_file, settings)


def _disk(item: LoadedSpec, spec: DiskSpec, target: str, settings: Settings, *, file: NamedFile, line: int) -> Disk:
    image = spec.image or ImageRef(pool=settings.ceph.pool, name=f"{item.spec.name}.{target}")
    return Disk(
        target=target,
        bus=spec.bus or Bus.VIRTIO,
        image=image,
        import_file=file.path,
        import_beneath=file.beneath,
        existing=bool(spec.existing or image.snapshot),
        iotune=_iotune(spec.iotune),
        line=line,
        **copied(spec, DISK),
    )


def _iotune(spec: IoTuneSpec | None) -> Mapping[str, int | str]:
    if spec is None:
        return {}
    # 0 means no limit, like an absent element; libvirt drops it.
    limits: dict[str, int | str] = {name: value for name, value in spec if value}
    return limits


def _cdrom(spec: CdromSpec, bus: Bus, target: str, line: int) -> Cdrom:
    return Cdrom(target=target, bus=bus, image=spec.image, boot=spec.boot, line=line)
