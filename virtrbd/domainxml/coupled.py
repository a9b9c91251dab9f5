"""Values that libvirt couples: what is stated of one of them decides about the other."""

from collections.abc import Iterator, Sequence

from virtrbd.domainxml.ignoring import is_ignored
from virtrbd.domainxml.tree import Element, device_steps, remove
from virtrbd.model.difference import Difference
from virtrbd.model.element_path import ElementPath

_MEMORY, _CURRENT_MEMORY = ElementPath("memory"), ElementPath("currentMemory")
_CURRENT_VCPUS = ElementPath("vcpu/@current")
_BOOT = ElementPath("os/boot")


def couple(
    root: Element, wanted: Element, ignored: Sequence[ElementPath], merged: Sequence[Difference]
) -> Iterator[Difference]:
    """Let the values of a merged tree follow what is stated, and yield what that changed; `merged`: what differed."""
    if not is_ignored(_CURRENT_MEMORY, ignored):
        yield from _follow_memory(root, wanted, is_changed=any(each.path == _MEMORY for each in merged))
    if not is_ignored(_CURRENT_VCPUS, ignored):
        yield from _follow_vcpus(root, wanted)
    if not is_ignored(_BOOT, ignored):
        yield from _withdraw_boot_devices(root, wanted)
    if wanted.find("os/boot") is not None:
        yield from _withdraw_boot_orders(root)


def _follow_memory(root: Element, wanted: Element, *, is_changed: bool) -> Iterator[Difference]:
    """currentMemory is what the guest gets of the memory; a spec with one number means both."""
    memory, current = root.findtext("memory"), root.find("currentMemory")
    if current is None or wanted.find("currentMemory") is not None or current.text == memory:
        return
    if not is_changed:
        yield Difference(path=_CURRENT_MEMORY, wanted=memory or "", found=current.text or "")
    current.text = memory


def _follow_vcpus(root: Element, wanted: Element) -> Iterator[Difference]:
    """A current number of vcpus (virsh setvcpus) is removed where none is stated: all, and never more than all."""
    vcpu, stated = root.find("vcpu"), wanted.find("vcpu")
    if vcpu is not None and stated is not None and "current" in vcpu.attrib and "current" not in stated.attrib:
        yield Difference(path=_CURRENT_VCPUS, wanted="", found=str(vcpu.attrib.pop("current")))


def _withdraw_boot_devices(root: Element, wanted: Element) -> Iterator[Difference]:
    """Remove the kinds of devices to boot from beyond those that are stated, and all where devices have an order.

    libvirt gives a domain without boot orders an <os><boot>, and refuses that beside boot orders of devices.
    """
    found, stated = root.findall("os/boot"), len(wanted.findall("os/boot"))
    if wanted.find("devices/*/boot") is None:
        found = found[stated:] if stated else []
    if found:
        yield Difference(path=_BOOT, wanted="", found=" ".join(element.get("dev", "") for element in found))
    for element in found:
        remove(element)


def _withdraw_boot_orders(root: Element) -> Iterator[Difference]:
    """Remove the orders that others gave to virtrbd's devices: libvirt refuses them beside the stated kinds."""
    for name, device in device_steps(root):
        for order in device.findall("boot"):
            yield Difference(path=ElementPath.of_device(name) / "boot", wanted="", found=order.get("order", ""))
            remove(order)
