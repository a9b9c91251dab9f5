"""What a spec says of a definition's interfaces and small devices."""

from collections.abc import Iterator
from itertools import count

from virtrbd.adoption.word import Value, Word, number, read_records, read_rows
from virtrbd.domainxml.libvirt_defaults import is_own
from virtrbd.domainxml.tree import Element, attribute, children
from virtrbd.model.attributes import FILESYSTEM, INPUT, INTERFACE, MEMBALLOON, TPM, USB_CONTROLLER, WATCHDOG
from virtrbd.model.element_path import ElementPath

_ENDS = {"network": ("network", "network"), "bridge": ("bridge", "bridge"), "direct": ("direct", "dev")}


def interface_words(interface: Element) -> Iterator[Word]:
    """Yield the words of an interface, where a spec can express it."""
    mac, kind = attribute(interface, "mac", "address"), interface.get("type", "")
    # Of a failover pair the half that is a device of the host may be on a network too: of a pool of such devices.
    if kind not in _ENDS or attribute(interface, "teaming", "type") == "transient":
        return
    word, name = _ENDS[kind]
    value: dict[str, Value] = {word: attribute(interface, "source", name), "mac": mac}
    value["model"] = attribute(interface, "model", "type")
    if kind == "direct":
        value["mode"] = attribute(interface, "source", "mode")
    yield Word(path=("interfaces", mac), value=value, device=ElementPath.of_device(f"interface:{mac}"))
    for field, found in (*read_rows(interface, INTERFACE), *_interface_details(interface)):
        if field not in value and found not in ("", None, []):
            yield Word(path=("interfaces", mac, field), value=found)


def _interface_details(interface: Element) -> Iterator[tuple[str, Value]]:
    yield "vlan", [number(tag.get("id")) for tag in interface.iterfind("vlan/tag")]
    if name := attribute(interface, "filterref", "filter"):
        parameters = {str(p.get("name")): str(p.get("value")) for p in interface.iterfind("filterref/parameter")}
        yield "filterref", {"name": name, **({"parameters": parameters} if parameters else {})}


def filesystem_words(root: Element) -> Iterator[Word]:
    """Yield the folders of the host that the guest mounts by virtiofs."""
    found = [
        dict(read_rows(filesystem, FILESYSTEM))
        for filesystem in root.iterfind("devices/filesystem")
        if attribute(filesystem, "driver", "type") == "virtiofs" and attribute(filesystem, "source", "dir")
    ]
    if found:
        yield Word(path=("filesystems",), value=found)


def hostdev_words(root: Element) -> Iterator[Word]:
    """Yield the devices of the host that the guest has."""
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


def _root_ports(root: Element) -> int:
    """Return how many root ports follow each other from the first bus on."""
    models = {pci.get("index"): pci.get("model") for pci in root.iterfind("devices/controller[@type='pci']")}
    return next(index for index in count() if models.get(str(index + 1)) != "pcie-root-port")


def small_words(root: Element) -> Iterator[Word]:
    """Yield the words of the devices of which a domain usually has one."""
    if ports := _root_ports(root):
        yield Word(path=("pcie_root_ports",), value=ports)
    for usb in read_records(root, "devices/controller[@type='usb'][@index='0']", USB_CONTROLLER):
        yield Word(path=("usb_controller",), value=usb)
    for balloon in read_records(root, "devices/memballoon", MEMBALLOON):
        yield Word(path=("memballoon",), value=balloon)
    if inputs := read_records(root, "devices/input", INPUT):
        yield Word(path=("inputs",), value=inputs)
    for video in root.iterfind("devices/video"):
        yield Word(path=("video",), value=attribute(video, "model", "type"))
    for graphics in root.iterfind("devices/graphics"):
        port = number(graphics.get("port")) if graphics.get("autoport") != "yes" else None
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
    for watchdog in read_records(root, "devices/watchdog", WATCHDOG):
        yield Word(path=("watchdog",), value=watchdog)
    for tpm in read_records(root, "devices/tpm", TPM):
        yield Word(path=("tpm",), value=True)
        yield Word(path=("tpm",), value=tpm)
    for vsock in root.iterfind("devices/vsock"):
        yield Word(path=("vsock",), value=number(attribute(vsock, "cid", "address")) or "auto")
