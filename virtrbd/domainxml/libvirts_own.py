"""What libvirt writes into every definition by itself: nobody asked for it, so nobody has to state it."""

from collections.abc import Callable, Mapping

from virtrbd.domainxml.tree import Element, attribute, children

_EMULATORS = frozenset(
    {"/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm", "/usr/bin/kvm", "/usr/bin/kvm-spice"}
)
_LIFECYCLE = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
_PCI = frozenset({"pci-root", "pcie-root", "pcie-root-port", "pci-bridge", "dmi-to-pci-bridge", "pcie-to-pci-bridge"})
_NVRAM = "/var/lib/libvirt/qemu/nvram/"

# By element and attribute: the values that libvirt writes, None for any.
_ATTRIBUTES: Mapping[tuple[str, str], frozenset[str] | None] = {
    ("vcpu", "placement"): frozenset({"static"}),
    ("cpu", "check"): None,
    ("cpu", "migratable"): frozenset({"on"}),
    ("topology", "dies"): frozenset({"1"}),
    ("topology", "clusters"): frozenset({"1"}),
    ("hyperv", "mode"): frozenset({"custom"}),
    ("graphics", "port"): frozenset({"-1"}),
    ("model", "heads"): frozenset({"1"}),
    ("model", "primary"): frozenset({"yes"}),
    ("model", "ram"): frozenset({"65536"}),
    ("model", "vram"): frozenset({"9216", "16384", "65536"}),
    ("model", "vgamem"): frozenset({"16384"}),
    ("target", "type"): frozenset({"isa-serial"}),
}


def is_own_attribute(element: Element, name: str) -> bool:
    """Whether libvirt writes this attribute with this value where nobody said so."""
    values = _ATTRIBUTES.get((str(element.tag), name), frozenset())
    return values is None or element.get(name) in values


def is_own(element: Element) -> bool:
    """Whether libvirt adds the element to a domain in which nobody stated it."""
    parent = element.getparent()
    if parent is None:
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


def _is_bare(element: Element, *known: str) -> bool:
    """Whether it says nothing but what libvirt says of every one: the known attributes, its place and name."""
    inside = {str(child.tag) for child in children(element)}
    return set(map(str, element.attrib)) <= set(known) and inside <= {"address", "alias"}


def _top(element: Element, path: str) -> str:
    return str(element.getroottree().getroot().findtext(path) or "")


def _is_all_memory(element: Element) -> bool:
    return element.text == _top(element, "memory")


def _is_default_cpu(cpu: Element) -> bool:
    """libvirt writes down the CPU that QEMU takes when nobody names one."""
    tags = [child.tag for child in children(cpu)]
    return cpu.get("mode") == "custom" and tags == ["model"] and cpu.findtext("model") == "qemu64"


def _is_only_boot(boot: Element) -> bool:
    parent = boot.getparent()
    return boot.get("dev") == "hd" and parent is not None and len(parent.findall("boot")) == 1


def _is_chosen_firmware(element: Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.get("firmware") == "efi"


def is_chosen_profile(element: Element) -> bool:
    """Whether the element names the TPM profile that swtpm took by itself; libvirt writes it down from 10.10 on."""
    parent = element.getparent()
    is_profile = element.tag == "profile" and parent is not None and parent.tag == "backend"
    return is_profile and [*map(str, element.attrib)] == ["name"] and element.get("name", "").startswith("default-")


def _is_implied_controller(controller: Element) -> bool:
    kind, model = controller.get("type"), controller.get("model", "")
    if kind == "pci":
        return model in _PCI
    if kind == "usb":
        return model in ("piix3-uhci", "qemu-xhci") and _is_bare(controller, "type", "index", "model")
    return kind in ("ide", "sata", "fdc", "virtio-serial") and _is_bare(controller, "type", "index")


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
    # Others' annotations are theirs to change: stating them would put an old value back.
    "metadata": lambda _element: True,
    "currentMemory": _is_all_memory,
    "resource": lambda resource: resource.findtext("partition") == "/machine",
    "cpu": _is_default_cpu,
    **dict.fromkeys(_LIFECYCLE, lambda element: element.text == _LIFECYCLE[str(element.tag)]),
}
_DEVICES: Mapping[str, Callable[[Element], bool]] = {
    "emulator": lambda emulator: emulator.text in _EMULATORS,
    "controller": _is_implied_controller,
    "console": _mirrors_serial,
    "input": lambda found: found.get("bus") == "ps2" and _is_bare(found, "type", "bus"),
    "memballoon": lambda found: found.get("model") == "virtio" and _is_bare(found, "model"),
    "audio": lambda audio: audio.get("id") == "1" and _is_bare(audio, "id", "type"),
    "watchdog": _is_chipsets_watchdog,
}
_PARTS: Mapping[tuple[str, str], Callable[[Element], bool]] = {
    ("os", "boot"): _is_only_boot,
    ("os", "loader"): _is_chosen_firmware,
    ("os", "firmware"): lambda firmware: firmware.find("feature[@name='secure-boot']") is None,
    ("os", "nvram"): lambda nvram: _is_chosen_firmware(nvram) and (nvram.text or _NVRAM).startswith(_NVRAM),
    ("backend", "profile"): is_chosen_profile,
    ("firmware", "feature"): lambda feature: feature.get("name") == "enrolled-keys",
    # Of the host's CPU there is no model to fall back to.
    ("cpu", "model"): lambda model: not (model.text or "").strip(),
    ("disk", "backingStore"): lambda store: len(store) == 0 and not store.attrib,
    ("interface", "link"): lambda link: link.get("state") == "up",
    ("graphics", "listen"): lambda listen: listen.get("type") == "address" and listen.get("address") is None,
    ("target", "model"): lambda model: model.get("name") == "isa-serial",
}
_IN_DEVICES: Mapping[str, Callable[[Element], bool]] = {
    "address": lambda _address: True,
    "alias": lambda alias: not alias.get("name", "").startswith("ua-"),
}
