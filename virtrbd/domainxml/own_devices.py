"""virtrbd's own devices of a document: devices of others may have the same key.

libvirt takes two interfaces with one MAC, two serial ports with one number, two channels with one name, two
filesystems with one tag, and any number of devices without a key. So a mark records where each of virtrbd's was: its
address, which libvirt chooses once and keeps, or the content of a device without an address.
"""

import copy
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from virtrbd.domainxml.canonical_text import quick_canonical_text
from virtrbd.domainxml.document import Definition, Document, LiveDocument, Rendered
from virtrbd.domainxml.managed_paths import Stated, read_stated
from virtrbd.domainxml.tree import (
    Element,
    device_key,
    device_steps,
    devices_of,
    has_attribute,
    key_of,
    number_of,
    remove,
    steps,
)
from virtrbd.model.digest import digest_of
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace

# Of these libvirt itself refuses two of one key ("target 'vda' duplicated", "Multiple 'scsi' controllers with index").
UNIQUE = frozenset({"disk", "controller"})
# The parts of an address that are not a part of the place: `base` is chosen at each start.
_NO_PLACE = frozenset({"type", "multifunction", "base"})
_BY_CONTENT = "="
_BY_ORDER = "#"


class OwnDevices(Struct, frozen=True, kw_only=True):
    """The devices that a mark records, by its step.

    `lost`: nothing is where they were, and others of their key are elsewhere. `unclear`: the mark does not say where
    they were, and there are more of their key than it records.
    """

    found: Mapping[str, Element] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    unclear: frozenset[str] = frozenset()


def own_devices(root: Element, stated: Mapping[str, Stated], places: Mapping[str, str]) -> OwnDevices:
    """Return the devices of a document that a mark states, by step, and that it saw at these places."""
    held = dict(device_steps(root))
    alike, recorded = defaultdict[str, list[Element]](list), defaultdict[str, list[str]](list)
    for name, device in held.items():
        # libvirt shows q35's own watchdog from 9.1 on, so it may not be the one that the mark states.
        if not _is_chipsets_watchdog(device) or key_of(name) in places:
            alike[key_of(name)].append(device)
    for name in sorted(stated, key=number_of):
        recorded[key_of(name)].append(name)
    parts = [
        OwnDevices(found={name: held[name] for name in names if name in held})
        if key.partition(":")[0] in UNIQUE
        else _own_of_one_key(alike[key], {name: stated[name] for name in names}, places)
        for key, names in recorded.items()
    ]
    return OwnDevices(
        found={name: device for part in parts for name, device in part.found.items()},
        lost=frozenset[str]().union(*(part.lost for part in parts)),
        unclear=frozenset[str]().union(*(part.unclear for part in parts)),
    )


def _own_of_one_key(alike: Sequence[Element], stated: Mapping[str, Stated], places: Mapping[str, str]) -> OwnDevices:
    """Find them where they were; those of which no address is known by their order, as far as that leaves no choice."""
    at = defaultdict[str, deque[Element]](deque)
    for number, device in enumerate(alike, 1):
        at[f"{_BY_ORDER}{number}"].append(device)
        at[place_of(device)].append(device)
    found: dict[str, Element] = {}
    taken: set[Element] = set()
    for name in stated:
        there = at.get(places.get(name, ""), deque())
        while there and name not in found:
            if (device := there.popleft()) not in taken:
                found[name] = device
                taken.add(device)
    missing = [name for name in stated if name not in found]
    lost = [name for name in missing if _is_address(places.get(name, ""))]
    rest = [name for name in missing if not _is_address(places.get(name, ""))]
    left = [device for device in alike if device not in taken]
    if len(left) > len(rest) == 1:
        left = [device for device in left if _says(device, stated[rest[0]])] or left
    is_clear = not rest or len(left) <= len(rest)
    return OwnDevices(
        found=found | (dict(zip(rest, left, strict=False)) if is_clear else {}),
        lost=frozenset(lost if len(found) < len(alike) else ()),
        unclear=frozenset(() if is_clear else rest),
    )


def place_of(device: Element) -> str:
    """Return the place of a device among others of its key: its address, else a digest of its content."""
    address = device.find("address")
    parts = {} if address is None else {str(name): str(value) for name, value in address.attrib.items()}
    values = [value for name, value in sorted(parts.items()) if name not in _NO_PLACE]
    if values:
        return " ".join([parts.get("type", ""), *values])
    bare = copy.deepcopy(device)
    bare.tail = None
    for own in bare.findall("address") + bare.findall("alias"):
        remove(own)
    return _BY_CONTENT + digest_of(quick_canonical_text(bare))


def places_to_be(root: Element, devices: Mapping[str, Element]) -> tuple[tuple[str, str], ...]:
    """Return the places of devices, by step, in a document that is about to be defined: by order where libvirt has
    not chosen an address yet.
    """
    held = {device: name for name, device in device_steps(root)}
    kept = {name: device for name, device in devices.items() if device.tag not in UNIQUE and device in held}
    found = {name: place_of(device) for name, device in kept.items()}
    order = {name: f"{_BY_ORDER}{number_of(held[devices[name]])}" for name in found}
    return tuple(sorted((name, place if _is_address(place) else order[name]) for name, place in found.items()))


def rendered_places(rendered: Rendered) -> tuple[tuple[str, str], ...]:
    """Return the places of the devices of a document that is all virtrbd's."""
    root = rendered.tree
    return places_to_be(root, dict(device_steps(root)))


def settled(definition: Definition, mark: DomainMark) -> DomainMark:
    """Return the mark with the places that its devices have in a definition."""
    own = own_devices(definition.tree, _devices(mark.stated), dict(mark.places))
    return replace(mark, places=_places(own))


def live_mark(
    live: LiveDocument, definition: Definition, stated: Sequence[ElementPath], seen: Mapping[str, str]
) -> DomainMark | None:
    """Return the mark of a running guest with these stated paths, without the devices that it no longer has.

    `seen`: where its devices were when it was observed, by step; empty for a device that was attached since.
    """
    mark = live.mark or definition.mark
    if mark is None:
        return None
    places = known_places(live, definition) | {name: place for name, place in seen.items() if place}
    for name, place in seen.items():
        if not place and device_at(live, name, places.get(name, "")) is None:
            places.pop(name, "")
    own = own_devices(live.tree, _devices(stated), places)
    return replace(mark, stated=_still_there(own, stated), places=_places(own))


def still_there(live: LiveDocument, definition: Definition, stated: Sequence[ElementPath]) -> tuple[ElementPath, ...]:
    """Return the stated paths without those into devices that the guest no longer has."""
    own = own_devices(live.tree, _devices(stated), known_places(live, definition))
    return _still_there(own, stated)


def _still_there(own: OwnDevices, stated: Sequence[ElementPath]) -> tuple[ElementPath, ...]:
    there = own.found.keys() | own.unclear
    return tuple(path for path in stated if not path.device or path.device in there)


def known_places(live: LiveDocument, definition: Definition) -> dict[str, str]:
    """Return where the devices of a running guest are, by step: by its own mark, else by the definition's.

    Its own may be of a device that was removed and added at another place before a run was interrupted.
    """
    seen = {(key_of(name), place_of(device)) for name, device in device_steps(live.tree)}
    held, defined = (dict(mark.places) if mark else {} for mark in (live.mark, definition.mark))
    there = [{name: at for name, at in places.items() if (key_of(name), at) in seen} for places in (defined, held)]
    return held | there[0] | there[1]


class OwnFirst(Struct, frozen=True, kw_only=True):
    """A tree with virtrbd's devices before others of their key, and their number by key."""

    root: Element
    own: Counter[str]


def own_first(document: Document) -> OwnFirst:
    """Return a document with virtrbd's devices, as its mark says, before others of their key.

    So a device keeps its step when others are added or removed.
    """
    root, mark = document.copy(), document.mark
    found = own_devices(root, _devices(mark.stated if mark else ()), dict(mark.places if mark else ())).found
    devices, own = root.find("devices"), set(found.values())
    if devices is not None:
        devices[:] = sorted(devices, key=lambda device: device not in own)
    return OwnFirst(root=root, own=Counter(map(key_of, found)))


def own_device(document: Definition | LiveDocument, device: str) -> Element | None:
    """Return virtrbd's device of a key in a definition or live XML, as its mark says; without a record the only one."""
    root, mark = document.tree, document.mark
    own = own_devices(root, _devices(mark.stated if mark else ()), dict(mark.places if mark else ()))
    if device in own.found:
        return own.found[device]
    alike = [each for name, each in device_steps(root) if key_of(name) == key_of(device)]
    return alike[0] if len(alike) == 1 else None


def device_at(live: LiveDocument, device: str, place: str) -> Element | None:
    """Return the device of a key at a place, or anywhere where no place is given."""
    alike = [each for name, each in device_steps(live.tree) if key_of(name) == key_of(device)]
    return next((each for each in alike if place in ("", place_of(each))), None)


def twins(definition: Definition) -> tuple[str, ...]:
    """Return the keys that several devices of a document have."""
    named = Counter(device_key(each) for each in devices_of(definition.tree) if each.tag not in UNIQUE)
    return tuple(sorted(key for key, count in named.items() if key and count > 1))


def _devices(stated: Sequence[ElementPath]) -> Mapping[str, Stated]:
    return read_stated([path for path in stated if path.device]).child("devices").children


def _places(own: OwnDevices) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, place_of(each)) for name, each in own.found.items() if each.tag not in UNIQUE))


def _is_chipsets_watchdog(device: Element) -> bool:
    return device.tag == "watchdog" and device.get("model") == "itco"


def _is_address(place: str) -> bool:
    return bool(place) and place[0] not in (_BY_CONTENT, _BY_ORDER)


def _says(element: Element, stated: Stated) -> bool:
    """Whether the element has everything that was stated of it, with any values."""
    have = dict(steps(element))
    return all(has_attribute(element, name) for name in stated.attributes) and all(
        name in have and _says(have[name], child) for name, child in stated.children.items()
    )
