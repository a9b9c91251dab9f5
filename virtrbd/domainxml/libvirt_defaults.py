"""Elements that libvirt writes into every definition by itself: no spec and no template has to state them.

Only what it would write again into the same definition: anything else is stated, or lost with the definition.
"""

import re
from collections.abc import Callable, Mapping

from virtrbd.domainxml.document import Document
from virtrbd.domainxml.tree import Element, attribute, children, devices_of

_EMULATORS = frozenset({"/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm"})
_LIFECYCLE = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
_PCI = frozenset({"pci-root", "pcie-root", "pcie-root-port", "pci-bridge", "dmi-to-pci-bridge", "pcie-to-pci-bridge"})
# What libvirt chooses of a PCI controller: its name in QEMU, and its number there.
_PCI_CHOICES = frozenset({"chassis", "chassisNr", "port", "name"})
_NVRAM = "/var/lib/libvirt/qemu/nvram/"

# Of the memory of a screen, in KiB (virDomainVideoDefaultRAM, virDomainVideoDefPostParse).
_VIDEO_KIB: Mapping[str, Mapping[str, str]] = {
    "qxl": {"ram": "65536", "vram": "65536", "vgamem": "16384"},
    **{kind: {"vram": "16384"} for kind in ("vga", "cirrus", "vmvga", "bochs")},
}
# By element and attribute: the values that libvirt writes.
_ATTRIBUTES: Mapping[tuple[str, str], frozenset[str]] = {
    ("vcpu", "placement"): frozenset({"static"}),
    ("cpu", "migratable"): frozenset({"on"}),
    ("topology", "dies"): frozenset({"1"}),
    ("topology", "clusters"): frozenset({"1"}),
    ("hyperv", "mode"): frozenset({"custom"}),
    ("graphics", "port"): frozenset({"-1"}),
    # Of a mediated device (qemuDomainMdevDefPostParse).
    ("hostdev", "display"): frozenset({"off"}),
    ("model", "heads"): frozenset({"1"}),
    ("model", "primary"): frozenset({"yes"}),
    ("target", "type"): frozenset({"isa-serial"}),
}


# What every guest may have. Of others libvirt looks at the host, and its virConnectDomainXMLToNative uses what it has
# freed of an <interface type='hostdev'> (measured on 9.0: libvirtd crashes).
_PLAIN = frozenset({
    "audio", "channel", "console", "controller", "disk", "emulator", "graphics", "hub", "input", "interface",
    "memballoon", "panic", "parallel", "redirdev", "rng", "serial", "sound", "tpm", "video", "vsock", "watchdog",
})  # fmt: skip
_PLAIN_ENDS = frozenset({"bridge", "direct", "ethernet", "network", "user"})


def is_plain(document: Document) -> bool:
    """Whether the query of what libvirt would make of a domain is harmless."""
    devices = devices_of(document.tree)
    ends = [device.get("type") for device in devices if device.tag == "interface"]
    return _PLAIN.issuperset(str(device.tag) for device in devices) and _PLAIN_ENDS.issuperset(map(str, ends))


def is_own_attribute(element: Element, name: str) -> bool:
    """Whether libvirt writes this attribute with this value by default."""
    if (element.tag, name) == ("cpu", "check"):
        return element.get(name) == _default_check(element)
    if element.tag == "model" and name in ("ram", "vram", "vgamem"):
        return element.get(name) == _VIDEO_KIB.get(element.get("type", ""), {}).get(name)
    return element.get(name) in _ATTRIBUTES.get((str(element.tag), name), frozenset())


def _default_check(cpu: Element) -> str:
    """Return how libvirt checks a CPU without `check` (qemuDomainDefCPUPostParse)."""
    mode = cpu.get("mode", "custom")
    is_emulated = mode == "custom" and cpu.getroottree().getroot().get("type") == "qemu"
    return "none" if is_emulated or mode in ("host-passthrough", "maximum") else "partial"


def is_own(element: Element) -> bool:
    """Whether libvirt adds the element to a domain by itself."""
    parent = element.getparent()
    if parent is None or attribute(element, "alias", "name").startswith("ua-"):
        # A name that the user chose.
        return False
    if parent.getparent() is None:
        rule = _TOP.get(str(element.tag))
    elif parent.tag == "devices":
        rule = _DEVICES.get(str(element.tag))
    else:
        rule = _PARTS.get((str(parent.tag), str(element.tag)))
        if rule is None and _is_device(parent):
            rule = _IN_DEVICES.get(str(element.tag))
    return rule is not None and rule(element)


def _is_device(element: Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.tag == "devices"


def _around(element: Element) -> Element:
    parent = element.getparent()
    return element if parent is None else parent


def _is_bare(element: Element, *known: str) -> bool:
    """Whether it has only what libvirt writes into every one: the known attributes, its address and name."""
    inside = {str(child.tag) for child in children(element)}
    return set(map(str, element.attrib)) <= set(known) and inside <= {"address", "alias"}


def _top(element: Element, path: str) -> str:
    return str(element.getroottree().getroot().findtext(path) or "")


def _is_all_memory(element: Element) -> bool:
    return element.text == _top(element, "memory")


def _is_default_cpu(cpu: Element) -> bool:
    """libvirt writes QEMU's default CPU into a definition without one."""
    models = list(children(cpu))
    is_plain = sorted(cpu.attrib.items()) == [("check", "none"), ("match", "exact"), ("mode", "custom")]
    return is_plain and len(models) == 1 and models[0].text == "qemu64" and models[0].get("fallback") == "forbid"


def _is_only_boot(boot: Element) -> bool:
    return boot.get("dev") == "hd" and len(_around(boot).findall("boot")) == 1


def _is_chosen_loader(loader: Element) -> bool:
    """libvirt chooses a loader where a firmware is asked for; another loader was requested."""
    return _around(loader).get("firmware") == "efi" and set(map(str, loader.attrib)) <= {"type", "readonly", "format"}


def _is_chosen_nvram(nvram: Element) -> bool:
    path = f"{_NVRAM}{_top(nvram, 'name')}_VARS.fd"
    is_plain = next(children(nvram), None) is None and (nvram.text or path) == path
    return is_plain and _around(nvram).get("firmware") == "efi"


def _is_by_number(target: Element) -> bool:
    """Whether a PCI controller's numbers in QEMU follow from its own and its place (qemuDomainPCIControllerSetDefault…,
    qemuDomainAssignPCIAddresses).
    """
    controller = _around(target)
    place = _numbers(controller.find("address"), "slot", "function")
    index = controller.get("index", "")
    follows = {"chassis": index, "chassisNr": index, "port": hex(place[0] << 3 | place[1])}
    return all(follows.get(str(name)) == value for name, value in target.attrib.items())


def _numbers(address: Element | None, *names: str) -> tuple[int, ...]:
    """Return numbers of an address, -1 for a text that is not a number."""
    values = ["0" if address is None else address.get(name, "0") for name in names]
    return tuple(
        int(value, 0) if re.fullmatch("0x[0-9a-fA-F]{1,8}|[0-9]|[1-9][0-9]{1,8}", value) else -1 for value in values
    )


def is_chosen_profile(element: Element) -> bool:
    """Whether the element names the TPM profile that swtpm took by itself; libvirt writes it down from 10.10 on."""
    parent = element.getparent()
    is_profile = element.tag == "profile" and parent is not None and parent.tag == "backend"
    return is_profile and [*map(str, element.attrib)] == ["name"] and element.get("name", "").startswith("default-")


def _is_implied_controller(controller: Element) -> bool:
    kind, model, index = controller.get("type"), controller.get("model", ""), controller.get("index", "0")
    root = controller.getroottree().getroot()
    is_q35 = "q35" in attribute(root, "os/type", "machine")
    if kind == "pci":
        said = {str(name) for child in children(controller) if child.tag != "address" for name in child.attrib}
        return model in _PCI and said <= _PCI_CHOICES and not any(map(len, children(controller)))
    if kind == "usb":
        is_chosen = (model, index) == ("qemu-xhci" if is_q35 else "piix3-uhci", "0")
        return is_chosen and _is_bare(controller, "type", "index", "model")
    is_given = is_q35 and (kind, index) == ("sata", "0")
    return (is_given or _is_used(root, kind or "")) and _is_bare(controller, "type", "index")


def _is_used(root: Element, kind: str) -> bool:
    """Whether a device needs such a controller, so that libvirt adds it."""
    if kind == "virtio-serial":
        return any(root.find(f"devices/{tag}/target[@type='virtio']") is not None for tag in ("channel", "console"))
    return kind in ("ide", "sata", "fdc") and root.find(f"devices/disk/target[@bus='{kind}']") is not None


def _is_derived_address(address: Element) -> bool:
    """Whether libvirt gives the same place again: on a bus in order, and to a disk by its target.

    Only libvirt itself knows that for addresses on PCI, USB or virtio's ports: see Places.
    """
    if address.get("type") != "drive":
        return address.get("type") in _IN_ORDER
    return _numbers(address, *_DRIVE) == _derived_drive(_around(address))


# Where what comes first gets the first place.
_IN_ORDER = frozenset({"pci", "usb", "virtio-serial"})
_DRIVE = ("controller", "bus", "target", "unit")


def _derived_drive(disk: Element) -> tuple[int, ...]:
    """Return the place that a disk has by its target (virDomainDiskDefAssignAddress): controller, bus, target, unit."""
    target, bus = attribute(disk, "target", "dev"), attribute(disk, "target", "bus")
    index = 0
    for letter in target[2:]:
        if not "a" <= letter <= "z":
            return ()
        index = index * 26 + ord(letter) - ord("a") + 1
    index -= 1
    match bus:
        case "scsi":
            # Unit 7 is the controller itself.
            return index // 15, 0, 0, index % 15 + (index % 15 >= 7)
        case "ide":
            return index // 4, index % 4 // 2, 0, index % 2
        case "sata":
            return index // 6, 0, 0, index % 6
        case "fdc":
            return index // 2, 0, 0, index % 2
        case _:
            return ()


def _is_default_audio(audio: Element) -> bool:
    """A domain without any gets one of the kind of its screen (qemuDomainDefAddDefaultAudioBackend)."""
    if len(_around(audio).findall("audio")) > 1:
        return False
    screen = attribute(audio.getroottree().getroot(), "devices/graphics", "type")
    by_screen = {"": "none", "vnc": "none", "spice": "spice"}.get(screen)
    return audio.get("id") == "1" and audio.get("type") == by_screen and _is_bare(audio, "id", "type")


def _is_chipsets_watchdog(watchdog: Element) -> bool:
    """q35 has one, which libvirt shows from 9.1 on; it acts as the one beside it does."""
    parent = watchdog.getparent()
    others = [
        each for each in (parent if parent is not None else ()) if each.tag == "watchdog" and each is not watchdog
    ]
    action = others[0].get("action") if others else "reset"
    return watchdog.get("model") == "itco" and watchdog.get("action") == action


def _mirrors_serial(console: Element) -> bool:
    """libvirt shows the first serial port as the first console too."""
    return attribute(console, "target", "type") == "serial" and console.getparent() is not None


_TOP: Mapping[str, Callable[[Element], bool]] = {
    # Others may change their annotations: stating them would put an old value back.
    "metadata": lambda _element: True,
    "currentMemory": _is_all_memory,
    "cpu": _is_default_cpu,
    **dict.fromkeys(_LIFECYCLE, lambda element: element.text == _LIFECYCLE[str(element.tag)]),
}
_DEVICES: Mapping[str, Callable[[Element], bool]] = {
    "emulator": lambda emulator: emulator.text in _EMULATORS,
    "controller": _is_implied_controller,
    "console": _mirrors_serial,
    "input": lambda found: found.get("bus") == "ps2" and _is_bare(found, "type", "bus"),
    "memballoon": lambda found: found.get("model") == "virtio" and _is_bare(found, "model"),
    # Where a controller has too few ports (qemuDomainUSBAddressAddHubs); that libvirt adds it again is for it to say.
    "hub": lambda hub: _is_bare(hub, "type"),
    "audio": _is_default_audio,
    "watchdog": _is_chipsets_watchdog,
}
_PARTS: Mapping[tuple[str, str], Callable[[Element], bool]] = {
    ("os", "boot"): _is_only_boot,
    ("controller", "target"): _is_by_number,
    ("controller", "model"): lambda model: model.get("name") == _around(model).get("model"),
    ("os", "loader"): _is_chosen_loader,
    ("backend", "profile"): is_chosen_profile,
    ("os", "nvram"): _is_chosen_nvram,
    # The host's CPU has no model to fall back to.
    ("cpu", "model"): lambda model: (
        not (model.text or "").strip() and sorted(model.attrib.items()) in ([], [("fallback", "allow")])
    ),
    ("graphics", "listen"): lambda listen: listen.get("type") == "address" and listen.get("address") is None,
    ("target", "model"): lambda model: model.get("name") == "isa-serial",
}
_IN_DEVICES: Mapping[str, Callable[[Element], bool]] = {
    "address": _is_derived_address,
    "alias": lambda alias: not alias.get("name", "").startswith("ua-"),
}
