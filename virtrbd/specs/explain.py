"""The source of every value of a desired domain: a line of a file, or a default and its reason."""

from collections.abc import Iterator, Mapping
from enum import Enum

from msgspec import Struct
from msgspec.structs import asdict

from virtrbd.lazily import lazily
from virtrbd.model.devices import HostDevice
from virtrbd.model.disk import Cdrom
from virtrbd.model.domain import Domain
from virtrbd.model.image import ImageRef
from virtrbd.model.overlay import Overlay
from virtrbd.model.record import replace
from virtrbd.model.seed import Seed, SeedDocument
from virtrbd.model.settings import Settings
from virtrbd.model.size import format_size
from virtrbd.printable import cut
from virtrbd.specs.document import Path, YamlDocument, field_name
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.resolve import is_i440fx
from virtrbd.specs.resolve_disks import resolve_drives

# Most specs have no XML, and lxml takes long to import.
with lazily():
    from virtrbd.domainxml.overlay import named_elements

# Fields whose name in a spec is not the model's.
_WORDS = {
    "memory_bytes": "memory", "current_memory_bytes": "current_memory", "hugepages_bytes": "hugepages",
    "size_bytes": "size", "discard_granularity_bytes": "discard_granularity", "vsock_cid": "vsock", "kind": "type",
    "import_file": "import", "import_format": "format", "import_member": "member", "import_checksum": "checksum",
    "direct_mode": "mode", "timeout_ms": "timeout", "seed": "cloud_init",
}  # fmt: skip
# The length of an element that is readable in a terminal.
_MAX_XML = 100
_HIDDEN = {"origin", "digest", "line", "is_seed", "import_beneath"}

# The reasons of default values.
_REASONS = {
    "uuid": "derived from the name",
    "host": "the settings' host",
    "machine": "q35, or pc where a disk is ide",
    "cpu": "host-model under kvm: every host of one make can take the guest over",
    "graphics": "a server has a serial console",
    "video": "none without graphics; virtio on q35, vga on pc",
    "disks.target": "the next free one",
    "disks.image": "<pool of the settings>/<domain>.<target>",
    "disks.existing": "the spec does not use an existing image",
    "disks.cache": "librbd's cache is on, the guest's flushes are honoured",
    "disks.discard": "trimmed space goes back to the pool",
    "disks.discard_granularity": "what suits this hypervisor",
    "disks.size": "as large as its source",
    "cdroms.target": "the next free one",
    "cdroms.bus": "sata on q35, ide on pc",
    "cloud_init": "no seed",
    "cloud_init.user_data": "none",
    "cloud_init.meta_data": "instance-id is the UUID, local-hostname the name",
    "cloud_init.network_config": "cloud-init's own, DHCP",
    "cloud_init.bus": "Debian's cloud kernel sees it: it has no AHCI and no USB",
    "cloud_init.target": "the last one on its controller, else the next free one",
    "cloud_init.image": "<pool of the settings>/<domain>.seed",
    "interfaces.mac": "derived from domain and interface name",
}


class Explained(Struct, frozen=True, kw_only=True):
    """One value: its field in a spec, the value in its written form, and its source."""

    field: str
    value: str
    source: str


def explain(
    item: LoadedSpec, domain: Domain, settings: Settings, guest_granularity: Mapping[str, int] | None = None
) -> tuple[Explained, ...]:
    """Return every value of the domain, in the order of the model, with its source.

    `guest_granularity`: the discard granularity that guests see on this hypervisor, in bytes by target.
    """
    drives = resolve_drives(item, settings, is_pc=is_i440fx(domain.machine))
    granularities = guest_granularity or {}
    disks = [
        replace(disk, discard_granularity_bytes=granularities.get(disk.target, disk.discard_granularity_bytes))
        for disk in drives.disks
    ]
    parts: dict[str, object] = asdict(domain)
    # In the order of the spec, by which its lines are found.
    parts |= {"disks": tuple(disks), "cdroms": drives.cdroms}
    if domain.seed and drives.seed:
        parts["seed"] = _seed(domain.seed, drives.seed)
    if domain.current_vcpus is not None:
        parts |= {"vcpus": domain.current_vcpus, "max_vcpus": domain.vcpus}
    parts.pop("current_vcpus")
    if domain.xml:
        parts.pop("xml")
    values = tuple(_explained(item.document, path, value) for path, value in _leaves(parts, ()))
    return (*values, *_of_overlay(domain.xml)) if domain.xml else values


def _of_overlay(overlay: Overlay) -> Iterator[Explained]:
    """Yield each element that the spec's own XML adds to what is rendered."""
    for named in named_elements(overlay.text):
        yield Explained(field=f"xml{named.path}", value=cut(named.xml, _MAX_XML), source=overlay.place(named.line))


def _seed(seed: Seed, drive: Cdrom) -> Mapping[str, object]:
    """Return the seed as in a spec; the content of its documents may be secret, and is left out."""
    documents = {word: getattr(seed, word) for word in ("user_data", "meta_data", "network_config")}
    return {**documents, "bus": drive.bus, "target": drive.target, "image": seed.image}


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    members = _members(value)
    if members is None:
        yield path, value
        return
    for key, member in members:
        if key not in _HIDDEN:
            yield from _leaves(member, (*path, key))


def _members(value: object) -> list[tuple[str | int, object]] | None:
    if isinstance(value, ImageRef | SeedDocument):
        return None
    if isinstance(value, HostDevice):
        return [(value.kind, value.address), ("managed", value.managed)]
    if isinstance(value, Struct):
        return [(_WORDS.get(name, name), member) for name, member in asdict(value).items()]
    if isinstance(value, Mapping) and value:
        return [(_WORDS.get(str(key), str(key)), member) for key, member in value.items()]
    if isinstance(value, tuple) and value and not isinstance(value[0], str | int):
        return list(enumerate(value))
    return None


def _explained(document: YamlDocument, path: Path, value: object) -> Explained:
    shown = _shown(path, value)
    source = _stated_at(document, path) or _reason(path, is_set=shown != "-")
    return Explained(field=field_name(path).removesuffix(": "), value=shown, source=source)


def _shown(path: Path, value: object) -> str:
    match value:
        case None | "" | ():
            return "-"
        case bool():
            return "up" if path[-1] == "link" and value else "down" if path[-1] == "link" else str(value).lower()
        case int() if path[-1] in ("memory", "current_memory", "size", "discard_granularity"):
            return format_size(value)
        case Enum():
            return str(value.value)
        case tuple():
            return ", ".join(map(str, value))
        case Mapping():
            return "-"
        case _:
            return str(value)


def _stated_at(document: YamlDocument, path: Path) -> str:
    # A short form (`cpu: host-model`) has the place of the field around it; a mapping has no places for missing fields.
    for known in (path, path[:-1]):
        if known and document.states(known) and (known == path or _is_short(document, known)):
            place = document.place(known)
            return f"{place} ({place.layer})" if place.layer else str(place)
    return ""


def _reason(path: Path, *, is_set: bool) -> str:
    words = [part for part in path if isinstance(part, str)]
    lengths = range(len(words), 0, -1) if is_set else (len(words),)
    reasons = (_REASONS.get(".".join(words[:length])) for length in lengths)
    reason = next(filter(None, reasons), "")
    return f"default: {reason}" if reason else "default"


def _is_short(document: YamlDocument, path: Path) -> bool:
    data = document.data
    for step in path:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int):
            data = data[step]
    return not isinstance(data, dict | list)
