"""Candidate spec values for an existing definition (used by adopt); others decide which are needed and allowed.

Disks, CD-ROM drives and interfaces are mappings here, by target and MAC: their order is found at the end.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct

from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.libvirt_defaults import is_own
from virtrbd.domainxml.monitors import is_of_this_cluster
from virtrbd.domainxml.parse import parse_image
from virtrbd.domainxml.tree import Element, attribute, children, whole_number
from virtrbd.model.attributes import DISK, INPUT, INTERFACE, MEMBALLOON, USB_CONTROLLER, Attribute, Form
from virtrbd.model.image import ImageRef
from virtrbd.model.size import exact_size

# i686 has the machines of x86_64; the architecture itself goes into the spec's own XML.
_ARCHITECTURES = frozenset({"x86_64", "i686"})

Path = tuple[str, ...]
Value = object


class Word(Struct, frozen=True, kw_only=True):
    """A value for a place in a spec, or without a place several values that belong together.

    `device` names the device that it makes known to the spec.
    """

    path: Path
    value: Value
    device: str = ""


class Unknown(Struct, frozen=True, kw_only=True):
    """A device that a spec cannot express, and why."""

    path: str
    why: str


class Words(Struct, frozen=True, kw_only=True):
    """All candidate values of a definition: `base` is always stated, each of `more` where it helps.

    `refusals` say why no spec is possible."""

    base: Mapping[str, Value]
    more: tuple[Word, ...]
    unknown: tuple[Unknown, ...] = ()
    refusals: tuple[str, ...] = ()


def spec_words(definition: Definition, sizes: Mapping[ImageRef, int], monitors: Collection[str]) -> Words:
    """Return what a spec may state of a definition; `sizes` holds the existing images, by reference.

    `monitors`: the names and addresses that mean this cluster.
    """
    root = definition.tree
    if (arch := attribute(root, "os/type", "arch")) not in _ARCHITECTURES:
        return Words(base={}, more=(), refusals=(f"it is for {arch}, and specs have only the machines of x86_64",))
    unknown: list[Unknown] = []
    more = [*_machine_words(root)]
    for disk in root.iterfind("devices/disk"):
        if disk.get("device", "disk") == "cdrom":
            more += _cdrom_words(disk, monitors)
        elif disk.get("type") == "network" and attribute(disk, "source", "protocol") == "rbd":
            why = _why_not(disk, sizes, monitors)
            if why:
                unknown.append(Unknown(path=f"/devices/disk:{attribute(disk, 'target', 'dev')}", why=why))
            else:
                more += _disk_words(disk, sizes)
    for interface in root.iterfind("devices/interface"):
        more += _interface_words(interface)
    more += _filesystem_words(root)
    more += _hostdev_words(root)
    more += _small_words(root)
    # Its pins are of vcpus, and of the I/O threads of disks.
    more += _cputune(root)
    return Words(base=_base(root), more=tuple(more), unknown=tuple(unknown))


def images_of(definition: Definition, monitors: Collection[str] | None = None) -> tuple[ImageRef, ...]:
    """Return the images behind the disks of a definition, sorted; where `monitors` are given, only their cluster's."""
    disks = list(definition.tree.iterfind("devices/disk"))
    if monitors is not None:
        disks = [disk for disk in disks if is_of_this_cluster(disk, monitors)]
    return tuple(sorted({image.image for disk in disks if (image := parse_image(disk)) is not None}))


def _base(root: Element) -> dict[str, Value]:
    """The minimum: everything that virtrbd adds by itself is switched off."""
    return {
        "name": root.findtext("name"),
        "uuid": root.findtext("uuid"),
        "memory": _kib(root.findtext("memory")),
        "machine": attribute(root, "os/type", "machine"),
        "hypervisor": root.get("type"),
        "features": {"acpi": False, "apic": False},
        "serial_console": False,
        "guest_agent": False,
        "rng": False,
        "asset_tag": False,
    }


def _machine_words(root: Element) -> Iterator[Word]:
    for path in ("title", "description", "on_poweroff", "on_reboot", "on_crash"):
        if text := root.findtext(path):
            yield Word(path=(path,), value=text)
    for name in ("suspend_to_mem", "suspend_to_disk"):
        if enabled := attribute(root, f"pm/{name.replace('_', '-')}", "enabled"):
            yield Word(path=("pm", name), value=enabled == "yes")
    if (current := root.findtext("currentMemory")) and current != root.findtext("memory"):
        yield Word(path=("current_memory",), value=_kib(current))
    yield from _hugepages(root)
    yield from _vcpus(root)
    yield from _features(root)
    if nodes := attribute(root, "numatune/memory", "nodeset"):
        mode = attribute(root, "numatune/memory", "mode")
        yield Word(path=("numatune",), value={"nodeset": nodes, **({"mode": mode} if mode != "strict" else {})})
    yield from _cpu(root)
    if attribute(root, "os", "firmware") == "efi":
        yield Word(path=("firmware",), value={"type": "uefi"})
        if secure := attribute(root, "os/firmware/feature[@name='secure-boot']", "enabled"):
            yield Word(path=("firmware", "secure_boot"), value=secure == "yes")
    if classes := [boot.get("dev") for boot in root.iterfind("os/boot") if not is_own(boot)]:
        yield Word(path=("boot",), value=classes)
    if enabled := attribute(root, "os/bootmenu", "enable"):
        timeout = _number(attribute(root, "os/bootmenu", "timeout"))
        yield Word(path=("boot_menu",), value=enabled == "yes" if timeout is None else {"timeout": timeout})
    offset = attribute(root, "clock", "offset")
    for timer in root.iterfind("clock/timer"):
        # A timer of which more is said needs the spec's own XML.
        if policy := timer.get("tickpolicy"):
            yield Word(path=("timers", timer.get("name", "")), value=policy)
        elif present := timer.get("present"):
            yield Word(path=("timers", timer.get("name", "")), value=present == "yes")
    yield Word(path=("clock",), value=attribute(root, "clock", "timezone") if offset == "timezone" else offset)


def _hugepages(root: Element) -> Iterator[Word]:
    pages = root.find("memoryBacking/hugepages")
    if pages is not None:
        size = attribute(pages, "page", "size")
        yield Word(path=("hugepages",), value=_kib(size) if size else True)


def _vcpus(root: Element) -> Iterator[Word]:
    if cpus := attribute(root, "vcpu", "cpuset"):
        yield Word(path=("cpuset",), value=cpus)
    most, current = _number(root.findtext("vcpu")), _number(attribute(root, "vcpu", "current"))
    if current:
        yield Word(path=(), value={"vcpus": current, "max_vcpus": most})
    else:
        yield Word(path=("vcpus",), value=most)


def _cputune(root: Element) -> Iterator[Word]:
    for name in ("shares", "period", "quota"):
        text = root.findtext(f"cputune/{name}") or ""
        if re.fullmatch("-?[0-9]{1,18}", text):
            yield Word(path=("cputune", name), value=int(text))
    for pin in root.iterfind("cputune/vcpupin"):
        yield Word(path=("cputune", "vcpupin", pin.get("vcpu", "")), value=pin.get("cpuset"))
    if cpus := attribute(root, "cputune/emulatorpin", "cpuset"):
        yield Word(path=("cputune", "emulatorpin"), value=cpus)
    for pin in root.iterfind("cputune/iothreadpin"):
        yield Word(path=("cputune", "iothreadpin", pin.get("iothread", "")), value=pin.get("cpuset"))


def _features(root: Element) -> Iterator[Word]:
    for name in ("acpi", "apic", "pae"):
        if root.find(f"features/{name}") is not None:
            yield Word(path=("features", name), value=True)
    for name in ("hap", "pmu", "smm", "vmport"):
        if state := attribute(root, f"features/{name}", "state"):
            yield Word(path=("features", name), value=state == "on")
    if attribute(root, "features/hyperv/relaxed", "state") == "on":
        yield Word(path=("features", "hyperv"), value=True)
    if hidden := attribute(root, "features/kvm/hidden", "state"):
        yield Word(path=("features", "kvm_hidden"), value=hidden == "on")


def _cpu(root: Element) -> Iterator[Word]:
    cpu = root.find("cpu")
    if cpu is None:
        return
    mode, model = cpu.get("mode", "custom"), cpu.findtext("model") or ""
    yield Word(path=("cpu",), value={"mode": mode, **({"model": model} if mode == "custom" else {})})
    found = {"match": cpu.get("match"), "fallback": attribute(cpu, "model", "fallback"), "check": cpu.get("check")}
    for name, said in found.items():
        if said:
            yield Word(path=("cpu", name), value=said)
    if (topology := cpu.find("topology")) is not None:
        counts = {name: _number(topology.get(name)) for name in ("sockets", "cores", "threads")}
        yield Word(path=("cpu", "topology"), value=counts)
    cells = [
        {
            "cpus": cell.get("cpus"),
            "memory": _kib(cell.get("memory")),
            **({"mem_access": access} if (access := cell.get("memAccess")) else {}),
        }
        for cell in cpu.iterfind("numa/cell")
    ]
    if cells:
        yield Word(path=("cpu", "numa"), value=cells)
    for feature in cpu.iterfind("feature"):
        yield Word(path=("cpu", "features", feature.get("name", "")), value=feature.get("policy", "require"))


def _why_not(disk: Element, sizes: Mapping[ImageRef, int], monitors: Collection[str]) -> str:
    """Return why a spec cannot have the disk, empty where that must be tried."""
    image = parse_image(disk)
    if image is None:
        return "its source does not name an image"
    if not is_of_this_cluster(disk, monitors):
        hosts = ", ".join(host.get("name", "") for host in disk.iterfind("source/host"))
        return f"its monitors ({hosts}) are not this cluster's"
    if image.image not in sizes:
        return f"image {image.image} does not exist"
    return ""


def _disk_words(disk: Element, sizes: Mapping[ImageRef, int]) -> Iterator[Word]:
    target, image = attribute(disk, "target", "dev"), parse_image(disk)
    assert image is not None, "a disk without an image was sorted out before"
    shared = {name: True for name in ("readonly", "shareable") if disk.find(name) is not None}
    size = exact_size(sizes[image.image])
    # An image that several guests read or write has no owner.
    source = {"existing": True} if shared or image.snapshot or not size else {"size": size}
    value = {
        "target": target,
        "bus": attribute(disk, "target", "bus"),
        "image": str(image),
        **source,
        "cache": attribute(disk, "driver", "cache") or "default",
        "discard": attribute(disk, "driver", "discard") or "default",
        **_granularity(disk),
        **shared,
    }
    yield Word(path=("disks", target), value=value, device=f"/devices/disk:{target}")
    for name, found in (*_read(disk, DISK), ("iotune", _limits(disk))):
        if name not in value and found not in ("", None, {}):
            yield Word(path=("disks", target, name), value=found)


def _read(device: Element, rows: Iterable[Attribute]) -> Iterator[tuple[str, Value]]:
    """Yield the spec's words for what the rows have a place for, with what the definition has there."""
    for row in rows:
        if not row.place:
            continue
        found = device.find(row.element)
        if row.form is Form.FLAG:
            yield row.spec_word, True if found is not None else None
            continue
        text = "" if found is None else found.get(row.name) if row.name else found.text
        if row.form is Form.SWITCH:
            yield row.spec_word, text == "on" if text else None
        else:
            yield row.spec_word, _number(text) if row.form is Form.NUMBER else text


def _limits(disk: Element) -> dict[str, Value]:
    return {str(limit.tag): _limit(limit) for limit in disk.iterfind("iotune/*")}


def _granularity(disk: Element) -> dict[str, Value]:
    """Where the definition states nothing, the device keeps its default."""
    told = _number(attribute(disk, "blockio", "discard_granularity"))
    by_itself = {"virtio": 512, "scsi": 4096}.get(attribute(disk, "target", "bus"))
    granularity = by_itself if told is None else told
    return {} if granularity is None else {"discard_granularity": granularity}


def _limit(limit: Element) -> int | str:
    text = limit.text or ""
    return text if limit.tag == "group_name" else whole_number(text, 0)


def _cdrom_words(disk: Element, monitors: Collection[str]) -> Iterator[Word]:
    """An empty drive, or an image; a spec cannot express a drive with a file or a device of the host."""
    target, image = attribute(disk, "target", "dev"), parse_image(disk)
    is_empty = disk.find("source") is None and disk.get("type") == "file"
    if is_empty or (image and is_of_this_cluster(disk, monitors)):
        value = {"target": target, "bus": attribute(disk, "target", "bus")} | ({"image": str(image)} if image else {})
        yield Word(path=("cdroms", target), value=value, device=f"/devices/disk:{target}")
        if order := _number(attribute(disk, "boot", "order")):
            yield Word(path=("cdroms", target, "boot"), value=order)


_ENDS = {"network": ("network", "network"), "bridge": ("bridge", "bridge"), "direct": ("direct", "dev")}


def _interface_words(interface: Element) -> Iterator[Word]:
    mac, kind = attribute(interface, "mac", "address"), interface.get("type", "")
    # Of a failover pair the half that is a device of the host may be on a network too: of a pool of such devices.
    if kind not in _ENDS or attribute(interface, "teaming", "type") == "transient":
        return
    word, name = _ENDS[kind]
    value: dict[str, Value] = {word: attribute(interface, "source", name), "mac": mac}
    value["model"] = attribute(interface, "model", "type")
    if kind == "direct":
        value["mode"] = attribute(interface, "source", "mode")
    yield Word(path=("interfaces", mac), value=value, device=f"/devices/interface:{mac}")
    for field, found in (*_read(interface, INTERFACE), *_interface_details(interface)):
        if field not in value and found not in ("", None, []):
            yield Word(path=("interfaces", mac, field), value=found)


def _interface_details(interface: Element) -> Iterator[tuple[str, Value]]:
    yield "vlan", [_number(tag.get("id")) for tag in interface.iterfind("vlan/tag")]
    if name := attribute(interface, "filterref", "filter"):
        parameters = {str(p.get("name")): str(p.get("value")) for p in interface.iterfind("filterref/parameter")}
        yield "filterref", {"name": name, **({"parameters": parameters} if parameters else {})}


def _filesystem_words(root: Element) -> Iterator[Word]:
    found = [
        {"source": attribute(filesystem, "source", "dir"), "target": attribute(filesystem, "target", "dir")}
        for filesystem in root.iterfind("devices/filesystem")
        if attribute(filesystem, "driver", "type") == "virtiofs" and attribute(filesystem, "source", "dir")
    ]
    if found:
        yield Word(path=("filesystems",), value=found)


def _hostdev_words(root: Element) -> Iterator[Word]:
    found = [value for device in root.iterfind("devices/hostdev[@mode='subsystem']") if (value := _hostdev(device))]
    if found:
        yield Word(path=("hostdevs",), value=found)


def _hostdev(device: Element) -> dict[str, Value]:
    """Return what a spec says of a device of the host, nothing where it is another kind or has more to it."""
    source = device.find("source")
    if source is None or source.attrib or not all(is_own(child) for child in children(device) if child is not source):
        return {}
    managed = {} if device.get("managed") == "yes" else {"managed": False}
    address = source.find("address")
    match device.get("type"):
        case "pci" if address is not None:
            domain, bus, slot, function = (address.get(name, "")[2:] for name in ("domain", "bus", "slot", "function"))
            return {"pci": f"{domain}:{bus}:{slot}.{function}", **managed}
        case "usb" if address is None:
            numbers = [attribute(device, f"source/{name}", "id")[2:] for name in ("vendor", "product")]
            return {"usb": ":".join(numbers), **managed}
        case "mdev" if address is not None and device.get("model") == "vfio-pci":
            return {"mdev": address.get("uuid")}
        case _:
            return {}


def _records(root: Element, path: str, rows: Iterable[Attribute]) -> list[dict[str, Value]]:
    """Return what the rows say of each of the elements, without those that libvirt adds by itself."""
    elements = [element for element in root.iterfind(path) if not is_own(element)]
    return [{word: value for word, value in _read(element, rows) if value not in ("", None)} for element in elements]


def _small_words(root: Element) -> Iterator[Word]:
    for usb in _records(root, "devices/controller[@type='usb'][@index='0']", USB_CONTROLLER):
        yield Word(path=("usb_controller",), value=usb)
    for balloon in _records(root, "devices/memballoon", MEMBALLOON):
        yield Word(path=("memballoon",), value=balloon)
    if inputs := _records(root, "devices/input", INPUT):
        yield Word(path=("inputs",), value=inputs)
    for video in root.iterfind("devices/video"):
        yield Word(path=("video",), value=attribute(video, "model", "type"))
    for graphics in root.iterfind("devices/graphics"):
        port = _number(graphics.get("port")) if graphics.get("autoport") != "yes" else None
        listen = graphics.get("listen") or attribute(graphics, "listen", "address") or "default"
        value = {"type": graphics.get("type"), "listen": listen, **({"port": port} if port else {})}
        if compression := attribute(graphics, "image", "compression"):
            value["image_compression"] = compression
        yield Word(path=("graphics",), value=value)
        # The card may have attributes that a spec cannot express.
        yield Word(path=(), value={"graphics": value, "video": "none"})
    for word, path in (
        ("serial_console", "serial"),
        ("guest_agent", "channel/target[@name='org.qemu.guest_agent.0']"),
        ("rng", "rng"),
    ):
        if root.find(f"devices/{path}") is not None:
            yield Word(path=(word,), value=True)
    names = [
        target.get("name")
        for target in root.iterfind("devices/channel[@type='unix']/target[@type='virtio']")
        if target.get("name") not in (None, "org.qemu.guest_agent.0", "com.redhat.spice.0")
    ]
    if names:
        yield Word(path=("channels",), value=names)
    for sound in root.iterfind("devices/sound"):
        yield Word(path=("sound",), value=sound.get("model"))
    if root.find("devices/channel[@type='spicevmc']/target[@name='com.redhat.spice.0']") is not None:
        yield Word(path=("spice_agent",), value=True)
    if redirections := root.findall("devices/redirdev[@bus='usb'][@type='spicevmc']"):
        yield Word(path=("usb_redirections",), value=len(redirections))
    if root.find("sysinfo") is not None:
        yield Word(path=("asset_tag",), value=True)
    for watchdog in root.iterfind("devices/watchdog"):
        yield Word(path=("watchdog",), value={"model": watchdog.get("model"), "action": watchdog.get("action")})
    for tpm in root.iterfind("devices/tpm"):
        yield Word(path=("tpm",), value=True)
        value = {"model": tpm.get("model"), "version": attribute(tpm, "backend", "version")}
        yield Word(path=("tpm",), value=value)
    for vsock in root.iterfind("devices/vsock"):
        yield Word(path=("vsock",), value=_number(attribute(vsock, "cid", "address")) or "auto")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _kib(text: str | None) -> str:
    return exact_size(whole_number(text, 0) * 1024)
