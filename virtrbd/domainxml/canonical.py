"""The canonical form of a rendered document, as libvirt writes it, to compare it with what libvirt gives back."""

from virtrbd.domainxml.tree import Element, children, remove

_UNITS = {"b": 1, "bytes": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {
    short: 1024**n for n, shorts in enumerate(("k KiB", "M MiB", "G GiB", "T TiB"), 1) for short in shorts.split()
}
_SIZES = frozenset({"memory", "currentMemory", "maxMemory"})
# Without content these have no meaning, and libvirt leaves them out.
_CONTAINERS = frozenset({"features", "iotune", "cputune", "memoryBacking", "hyperv", "kvm", "firmware"})


def make_canonical(root: Element) -> None:
    """Rewrite a rendered tree as libvirt would write it."""
    for size in root.iter(*_SIZES):
        # numatune's <memory> is not a size.
        if size.text is not None:
            _in_kib(size)
    for page in root.iterfind("memoryBacking/hugepages/page"):
        _page_in_kib(page)
    vcpu = root.find("vcpu")
    if vcpu is not None and vcpu.get("current") == (vcpu.text or "").strip():
        del vcpu.attrib["current"]
    for limit in root.findall("devices/disk/iotune/*"):
        if (limit.text or "").strip() == "0":
            remove(limit)
    for mac in root.iterfind("devices/interface/mac"):
        mac.set("address", mac.get("address", "").lower())
    for driver in root.iterfind("devices/interface/driver[@queues='1']"):
        del driver.attrib["queues"]
    for container in reversed(list(root.iter(*_CONTAINERS))):
        if next(children(container), None) is None and not container.attrib:
            remove(container)


def _in_kib(size: Element) -> None:
    unit, text = size.get("unit", "KiB"), (size.text or "").strip()
    if unit != "KiB" and text.isdecimal() and unit in _UNITS:
        # libvirt rounds up (virDomainParseMemory).
        size.text = str(-(-int(text) * _UNITS[unit] // 1024))
    size.set("unit", "KiB")


def _page_in_kib(page: Element) -> None:
    unit, size = page.get("unit", "KiB"), page.get("size", "")
    if unit in _UNITS and size.isdecimal():
        page.set("size", str(-(-int(size) * _UNITS[unit] // 1024)))
        page.set("unit", "KiB")
