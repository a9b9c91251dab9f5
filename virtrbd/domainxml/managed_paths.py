"""The managed paths of a document: elements and attributes that it states, kept to see which are no longer stated.

`title` is an element, `vcpu/@current` an attribute, `devices/disk:vda/iotune/read_iops_sec` an element of a device.
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from msgspec import Struct, field

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.tree import Element, children, key_name, steps, word

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


def stated_paths(rendered: Rendered) -> tuple[str, ...]:
    """Return the paths of everything that a document states and could leave out, sorted."""
    root = rendered.tree
    always = _ALWAYS["domain"]
    paths = [path for path in _paths(root) if path not in always and not path.startswith("devices")]
    devices = root.find("devices")
    for name, device in steps(devices) if devices is not None else ():
        always = _ALWAYS.get(str(device.tag), frozenset())
        paths.append(f"devices/{name}")
        paths += [f"devices/{name}/{path}" for path in _paths(device) if path not in always]
    return tuple(sorted(set(paths)))


def every_path(rendered: Rendered) -> frozenset[str]:
    """Return all paths of a document, also of elements that every domain has.

    A single number of memory, or of vcpus, is the current number as well: virsh setmem and setvcpus are put back.
    """
    root = rendered.tree
    devices = root.find("devices")
    paths = [*_paths(root), *(f"devices/{name}" for name, _ in (steps(devices) if devices is not None else ()))]
    return frozenset([*paths, *(str(child.tag) for child in children(root)), "currentMemory", "vcpu/@current"])


def read_stated(paths: Sequence[str]) -> Stated:
    """Return the paths as the statements about the root."""
    itself = "" in paths
    attributes = frozenset(path[1:] for path in paths if path.startswith("@"))
    below: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition("/")
        if name and not name.startswith("@"):
            below.setdefault(name, []).append(rest)
    return Stated(itself, attributes, {name: read_stated(rests) for name, rests in below.items()})


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
    """Yield what the element states, by path relative to it, without the element itself."""
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
