"""The order of disks and interfaces: a guest boots from the first disk by default, and numbers by it."""

from collections.abc import Mapping, Sequence

from virtrbd.domainxml.tree import Element, attribute, device_steps, remove

_ORDERED = ("disk", "interface")


def out_of_order(found: Element, wanted: Element) -> frozenset[str]:
    """Return the devices, by step, to be stated in the order of `found`, where they come after those of `wanted`.

    Of the disks of one bus libvirt makes an order by itself, by their targets (virDomainDiskInsert).
    """
    held, have = dict(device_steps(found)), dict(device_steps(wanted))
    named: set[str] = set()
    for tag in _ORDERED:
        names = [name for name, device in held.items() if device.tag == tag]
        rendered = [name for name in have if name in held and held[name].tag == tag]
        made = rendered + [name for name in names if name not in have]
        if list(_order(names, held)) != list(_order(made, held)):
            named.update(_order(names, held).values())
    return frozenset(named)


def _order(names: Sequence[str], devices: Mapping[str, Element]) -> dict[str, str]:
    """Return what has an order of its own, the first first: the buses of disks, each with its first, or interfaces."""
    first: dict[str, str] = {}
    for name in names:
        is_disk = devices[name].tag == "disk"
        first.setdefault(attribute(devices[name], "target", "bus") if is_disk else name, name)
    return first


def set_in_order(named: Sequence[Element]) -> None:
    """Set devices of one kind behind each other in the order in which they were named, as far as they are not."""
    last: dict[str, Element] = {}
    for device in named:
        parent, before = device.getparent(), last.get(str(device.tag))
        if before is not None and parent is not None and parent.index(device) < parent.index(before):
            remove(device)
            before.addnext(device)
        last[str(device.tag)] = device
