"""The managed paths of a document: elements and attributes that it states, kept to see which are no longer stated.

`/title` is an element, `/vcpu/@current` an attribute, `/devices/disk:vda/iotune/read_iops_sec` an element of a device.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

from msgspec import Struct, field

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.tree import Element, children, device_steps, key_name, steps, word
from virtrbd.model.element_path import ElementPath

# These are one value each: they are compared and removed as a whole.
LISTS = {"source": "host", "vlan": "tag"}

_TARGET = ("target/@dev", "target/@bus", "target/@type", "target/@name", "target/@port")
_SOURCE = (
    "source", "source/@protocol", "source/@name", "source/@network", "source/@bridge", "source/@dev", "source/@mode",
    "source/auth/@username", "source/auth/secret/@type", "source/auth/secret/@uuid",
)  # fmt: skip
# Elements that every domain, or every device of the kind, has: they would only make the list longer.
_ALWAYS: Mapping[str, frozenset[str]] = {
    "domain": frozenset(
        ["@type", "name", "uuid", "memory", "memory/@unit", "vcpu", "os/type", "os/type/@arch", "os/type/@machine"]
    ),
    "disk": frozenset(["@type", "@device", "driver/@name", "driver/@type", *_TARGET, *_SOURCE]),
    "interface": frozenset(["@type", "mac/@address", "model/@type", *_SOURCE]),
    **dict.fromkeys(("controller", "serial", "console", "channel"), frozenset(["@type", "@index", "@model", *_TARGET])),
}


class Stated(Struct, frozen=True):
    """What was stated of one element: `itself`, its attributes and its children by step."""

    itself: bool = False
    attributes: frozenset[str] = frozenset()
    children: Mapping[str, "Stated"] = field(default_factory=dict)

    def child(self, name: str) -> "Stated":
        """Return what was stated of a child; nothing where it was not mentioned."""
        return self.children.get(name, NOTHING)

    def __bool__(self) -> bool:
        return self.itself or bool(self.attributes) or bool(self.children)


NOTHING = Stated()


def stated_paths(rendered: Rendered) -> tuple[ElementPath, ...]:
    """Return the paths of everything that a document states and could leave out, sorted."""
    root = rendered.tree
    always = _ALWAYS["domain"]
    paths = [ElementPath(path) for path in _paths(root) if path not in always and not path.startswith("devices")]
    for name, device in device_steps(root):
        always = _ALWAYS.get(str(device.tag), frozenset())
        here = ElementPath.of_device(name)
        paths += [here, *(here / way for way in _paths(device) if way not in always)]
    return tuple(sorted(set(paths)))


def every_path(rendered: Rendered) -> frozenset[ElementPath]:
    """Return all paths of a document, also of elements that every domain has.

    A single number of memory, or of vcpus, is the current number as well: virsh setmem and setvcpus are put back.
    """
    root = rendered.tree
    paths = [*_paths(root), *(str(child.tag) for child in children(root)), "currentMemory", "vcpu/@current"]
    whole = [ElementPath.of_device(name) for name, _ in device_steps(root)]
    return frozenset([*map(ElementPath, paths), *whole])


def read_stated(paths: Iterable[ElementPath]) -> Stated:
    """Return the paths as the statements about the root."""
    return _stated([(path.steps, path.attribute) for path in paths])


def _stated(paths: Sequence[tuple[Sequence[str], str]]) -> Stated:
    here = [attribute for way, attribute in paths if not way]
    below = defaultdict[str, list[tuple[Sequence[str], str]]](list)
    for way, attribute in paths:
        for child in way[:1]:
            below[child].append((way[1:], attribute))
    return Stated("" in here, frozenset(filter(None, here)), {name: _stated(each) for name, each in below.items()})


def argument_groups(commandline: Element) -> dict[str, list[Element]]:
    """Return the arguments of a <qemu:commandline> by content: an option with its values is one argument."""
    groups: list[list[Element]] = []
    for child in children(commandline):
        if word(child) != "qemu:arg":
            continue
        if groups and not child.get("value", "").startswith("-"):
            groups[-1].append(child)
        else:
            groups.append([child])
    return {"qemu:arg:" + quote(" ".join(arg.get("value", "") for arg in group), safe=""): group for group in groups}


def _paths(element: Element) -> Iterator[str]:
    """Yield what the element states, by the way to it from there, without the element itself."""
    key, listed = key_name(element), LISTS.get(str(element.tag))
    yield from (f"@{name}" for name in map(str, element.attrib) if name != key)
    if word(element) == "qemu:commandline":
        yield from argument_groups(element)
    for name, child in steps(element):
        if child.tag == listed or word(child) == "qemu:arg":
            continue
        if _states_itself(child):
            yield name
        yield from (f"{name}/{path}" for path in _paths(child))


def _states_itself(element: Element) -> bool:
    key = key_name(element)
    is_bare = not element.attrib and next(children(element), None) is None
    return bool(key) or is_bare or bool((element.text or "").strip()) or element.tag in LISTS
