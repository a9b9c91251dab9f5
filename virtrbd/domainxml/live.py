"""A running guest compared with what is desired, and its devices as XML for changes by libvirt."""

import copy
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from virtrbd.domainxml.canonical import make_canonical
from virtrbd.domainxml.document import Definition, Document, LiveDocument, Rendered
from virtrbd.domainxml.edit import edit_tree
from virtrbd.domainxml.own_devices import known_places
from virtrbd.domainxml.tree import Element, attribute, device_steps, remove, to_text, whole_number
from virtrbd.domainxml.update_modes import mend_of
from virtrbd.model.difference import Difference
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace

# libvirt replaces these in the live XML: for example the host's CPU by a model with features.
_EXPANDED = frozenset({"host-model"})
_FIXED = frozenset({"host-passthrough", "maximum"})


class LiveEdit(Struct, frozen=True, kw_only=True):
    """What a running guest lacks. `places`: where its devices are that are wanted, or will be removed, by step.

    `unclear`: the devices of which there are several, or that others gave the guest: they show no difference.
    """

    differences: tuple[Difference, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()


def _keep_shape(cpu: Element) -> None:
    """Leave of a CPU what libvirt does not replace by the host's: the guest's sockets and NUMA nodes."""
    cpu.attrib.clear()
    for child in list(cpu):
        if child.tag not in ("topology", "numa"):
            remove(child)


def live_edit(
    live: LiveDocument,
    definition: Definition,
    desired: Rendered,
    new_mark: DomainMark,
    left_out: Sequence[ElementPath] = (),
) -> LiveEdit:
    """Return how the running guest differs from what is desired, and how each is mended.

    `left_out`: what libvirt left out of the definition, and may still have put into the guest.
    The guest's own mark, of its start, records what virtrbd stated then and no longer desires.
    """
    root = live.copy()
    wanted = desired.copy()
    cpu, its_cpu = wanted.find("cpu"), root.find("cpu")
    if cpu is not None and cpu.get("mode") in _EXPANDED and its_cpu is not None and its_cpu.get("mode") not in _FIXED:
        # From both: its mark says that the CPU is virtrbd's, and a CPU removed from `desired` alone would be absent.
        for each in (cpu, its_cpu):
            _keep_shape(each)
    os = root.find("os")
    if os is not None and attribute(os, "loader", "type") == "pflash":
        # libvirt 9 writes into a running guest which loader it chose instead of the attribute for UEFI; 11 keeps both.
        os.set("firmware", "efi")
    for clock in (*root.iterfind("clock[@offset='variable']"), *wanted.iterfind("clock[@offset='variable']")):
        # There libvirt adds up by how much the guest set its clock (qemuProcessHandleRTCChange).
        clock.attrib.pop("adjustment", "")
    # An empty drive has no format; it comes with the medium.
    for driver in wanted.iterfind("devices/disk[@device='cdrom']/driver[@type]"):
        del driver.attrib["type"]
    memory = wanted.find("memory")
    if memory is not None and memory.get("unit", "KiB") == "KiB":
        # A guest gets whole MiB (qemuDomainAlignMemorySizes); its definition keeps what was written.
        memory.text = str(-(-whole_number(memory.text, 0) // 1024) * 1024)
    mark = live.mark
    if mark is not None:
        mark = replace(mark, places=tuple(known_places(live, definition).items()))
    new_mark = replace(new_mark, ignored=(*new_mark.ignored, *left_out))
    edit = edit_tree(copy.deepcopy(root), copy.deepcopy(wanted), mark, new_mark)
    devices = {name: device for tree in (root, wanted) for name, device in device_steps(tree)}
    return LiveEdit(
        differences=tuple(
            replace(each, mend=mend_of(each.path, devices.get(each.path.device)))
            for each in edit.differences
            if each.path.device not in edit.taken
        ),
        places=edit.held,
        unclear=tuple(sorted({*edit.unclear, *edit.taken})),
    )


def live_limits(
    live: LiveDocument, desired: Rendered, device: str, differences: tuple[Difference, ...]
) -> dict[str, int | str]:
    """Return a disk's desired I/O limits for libvirt; none where none differs.

    All of them, not only those that differ: libvirt clears the limits of a kind (bytes, iops, their bursts) that it
    is not given. 0 is for a limit that is no longer stated.
    """
    path = ElementPath.of_device(device) / "iotune"
    changed = [each for each in differences if each.path.is_within(path)]
    if not changed:
        return {}
    held, wanted = _limits(live, device), _limits(desired, device)
    if all(each.path != path for each in changed):
        wanted = held | {each.path.below(path): each.wanted for each in changed}
    limits = dict.fromkeys(held, "0") | wanted
    return {name: value if name == "group_name" else whole_number(value, 0) for name, value in sorted(limits.items())}


def _limits(document: Document, device: str) -> dict[str, str]:
    found = dict(device_steps(document.tree)).get(device)
    return {str(limit.tag): limit.text or "" for limit in (found.findall("iotune/*") if found is not None else ())}


def without_address(device: Element) -> str:
    """Return the text of a device's element without its address, so that libvirt chooses a free one."""
    element = copy.deepcopy(device)
    for address in element.findall("address"):
        remove(address)
    return to_text(element)


def with_link(device: Element, *, up: bool, is_stated: bool) -> str:
    """Return the text of an interface's element with its link up, libvirt's takes for granted where none is
    stated, or down.
    """
    element = copy.deepcopy(device)
    for link in element.findall("link"):
        remove(link)
    if is_stated or not up:
        element.append(element.makeelement("link", {"state": "up" if up else "down"}))
    return to_text(element)


class Amount(Struct, frozen=True, kw_only=True):
    """How much of something a guest has, and the most that it can get while it runs."""

    current: int
    most: int


def current_vcpus(root: Element) -> Amount:
    """Return the vcpus that a guest has."""
    vcpu = root.find("vcpu")
    most = whole_number(vcpu.text if vcpu is not None else None, 1)
    return Amount(current=whole_number(vcpu.get("current") if vcpu is not None else None, most), most=most)


def current_memory(root: Element) -> Amount:
    """Return the bytes of memory that a guest has."""
    most = whole_number(root.findtext("memory"), 0)
    return Amount(current=whole_number(root.findtext("currentMemory"), most) * 1024, most=most * 1024)


def wanted_memory(desired: Rendered) -> int:
    """Return the bytes of memory that a guest should have by a rendered document, in any unit."""
    return current_memory(_canonical(desired)).current


def wanted_vcpus(desired: Rendered) -> int:
    """Return the vcpus that a guest should have by a rendered document."""
    return current_vcpus(_canonical(desired)).current


def wanted_link(desired: Rendered, device: str) -> str:
    """Return the state of an interface's link by a rendered document, "" where it states none."""
    return attribute(dict(device_steps(desired.tree)).get(device), "link", "state")


def _canonical(desired: Rendered) -> Element:
    root = desired.copy()
    make_canonical(root)
    return root


def titles(document: Document) -> dict[str, str]:
    """Return title and description, empty where there is none."""
    root = document.tree
    return {name: root.findtext(name) or "" for name in ("title", "description")}
