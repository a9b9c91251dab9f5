"""A desired tree merged into libvirt's own: what it states is set, what only the last one stated is removed."""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from virtrbd.domainxml.device_pairs import DevicePairs, pair_devices
from virtrbd.domainxml.drift import brief_element
from virtrbd.domainxml.forms import absence_of, form_of, says_otherwise, take_form
from virtrbd.domainxml.libvirt_defaults import is_own
from virtrbd.domainxml.managed_paths import LISTS, NOTHING, Stated, argument_groups
from virtrbd.domainxml.monitors import monitor_key
from virtrbd.domainxml.own_devices import UNIQUE, OwnDevices
from virtrbd.domainxml.passwords import shown
from virtrbd.domainxml.tree import Element, children, device_key, has_attribute, key_name, key_of, remove, steps, word
from virtrbd.domainxml.type_changes import is_other_kind, switch_kind
from virtrbd.model.difference import Difference
from virtrbd.model.element_path import ROOT, ElementPath

# When a spec no longer states these, libvirt's additions are removed too: a CPU without a mode is invalid.
_WHOLE = frozenset({"cpu", "topology", "cell", "source", *LISTS})
# The spec names a target and an index; libvirt adds the others by itself, each in its own way.
_STATED_BY_KEY = frozenset({*UNIQUE, "video", "console", "memballoon", "input", "audio", "emulator"})
# Defaults that need no statement: a disk ignores discards, and UEFI from a flash keeps its variables.
_TAKEN_FOR_GRANTED = frozenset({("driver", "discard", "ignore"), ("loader", "stateless", "no")})
# What libvirt writes into an element by itself: it is not a reason to keep an element that is no longer stated.
_LIBVIRTS_OWN = {"hyperv": frozenset({"mode"})}


class Merger(Struct):
    """Merges one tree into another, and records what it changed."""

    own: OwnDevices = field(default_factory=OwnDevices)
    at: Mapping[Element, str] = field(default_factory=dict)
    is_marked: bool = False
    known: frozenset[str] = frozenset()
    forms: set[str] = field(default_factory=set)
    left_out: list[ElementPath] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    # The devices that are wanted, by step, and where those that are wanted or went were.
    devices: dict[str, Element] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    def merge(self, found: Element, wanted: Element, old: Stated, path: ElementPath) -> None:
        """Make `found` hold what `wanted` states; remove what only `old` stated."""
        listed = LISTS.get(str(wanted.tag), "")
        is_kind = is_other_kind(found, wanted)
        is_other = is_kind or says_otherwise(wanted, found, listed)
        form = form_of(path, wanted, found, listed, whole=is_kind) if is_other else ""
        if form in self.known:
            self.forms.add(form)
            left_out = take_form(wanted, found, listed, whole=is_kind)
            self.left_out += [path / f"@{name}" for name in left_out]
        else:
            before = len(self.differences)
            self._merge_itself(found, wanted, old, path)
            if form and len(self.differences) > before:
                self.forms.add(form)
        if wanted.tag == "devices":
            self._merge_devices(found, wanted, old, path)
        else:
            self._merge_children(found, wanted, old, path)

    def _merge_itself(self, found: Element, wanted: Element, old: Stated, path: ElementPath) -> None:
        switch_kind(found, wanted)
        self._merge_attributes(found, wanted, old, path)
        text, held = (wanted.text or "").strip(), (found.text or "").strip()
        if text and text != held:
            self._note(path, text, held)
            found.text = text
        if wanted.tag in LISTS:
            self._merge_list(found, wanted, LISTS[str(wanted.tag)], path)
        if word(wanted) == "qemu:commandline":
            self._merge_arguments(found, wanted, old, path)

    def _note(self, path: ElementPath, wanted: str, found: str) -> None:
        name = path.attribute
        self.differences.append(Difference(path=path, wanted=shown(name, wanted), found=shown(name, found)))

    def _merge_attributes(self, found: Element, wanted: Element, old: Stated, path: ElementPath) -> None:
        want = {str(name): str(value) for name, value in wanted.attrib.items()}
        for name in sorted(old.attributes - want.keys()):
            self._withdraw_attribute(found, name, path)
        for name, value in want.items():
            held = found.get(name, "")
            if not _same(wanted, name, value, held):
                self._note(path / f"@{name}", value, held)
                found.set(name, value)

    def _merge_list(self, found: Element, wanted: Element, tag: str, path: ElementPath) -> None:
        """The monitors are one value: a moved cluster has others, and stale ones only delay a start."""
        if _items(wanted, tag) == _items(found, tag):
            return
        self._note(path / tag, _listed(wanted, tag), _listed(found, tag))
        for item in found.findall(tag):
            found.remove(item)
        for index, item in enumerate(wanted.findall(tag)):
            found.insert(index, copy.deepcopy(item))

    def _merge_arguments(self, found: Element, wanted: Element, old: Stated, path: ElementPath) -> None:
        """Options beside those of others: virtrbd's are recognised by their content."""
        have, want = argument_groups(found), argument_groups(wanted)
        for name in sorted(old.children.keys() & have.keys() - want.keys()):
            self._note(path, "", _values(have[name]))
            for argument in have[name]:
                found.remove(argument)
        for name in want.keys() - have.keys():
            self._note(path, _values(want[name]), "")
        for name, group in want.items():
            if name not in have:
                found.extend(copy.deepcopy(group))

    def _merge_children(self, found: Element, wanted: Element, old: Stated, path: ElementPath) -> None:
        listed = LISTS.get(str(wanted.tag))
        have = dict(steps(found))
        whole = dict(steps(wanted))
        for name in sorted(old.children.keys() & have.keys() - whole.keys()):
            self._withdraw(have[name], old.child(name), path / name)
        want = {name: child for name, child in whole.items() if child.tag != listed and word(child) != "qemu:arg"}
        following = [have[name] for name in want if name in have]
        absent = {name: absence_of(path / name, child, found) for name, child in want.items() if name not in have}
        before: Element | None = None
        for name, child in want.items():
            if name in have:
                before = following.pop(0)
                self.merge(before, child, old.child(name), path / name)
            elif not self._is_left_out(absent[name], path / name):
                before = _put(found, child, before, following)
                self._note(path / name, brief_element(child), "")

    def _is_left_out(self, form: str, path: ElementPath) -> bool:
        """Whether libvirt left out what is wanted at a path when it was given it."""
        if form:
            self.forms.add(form)
        if form in self.known:
            self.left_out.append(path)
        return form in self.known

    def _merge_devices(self, found: Element, wanted: Element, old: Stated, path: ElementPath) -> None:
        pairs = pair_devices(found, wanted, self.own, _holds, is_marked=self.is_marked)
        absent = {
            name: absence_of(path / name, device, found)
            for name, device in steps(wanted)
            if name not in pairs.held and name not in pairs.unclear
        }
        self.held |= {name: self.at[device] for name, device in pairs.held.items() if device in self.at}
        self._withdraw_devices(found, pairs, path)
        recorded = {device: name for name, device in self.own.found.items()}
        for name, device in steps(wanted):
            held = pairs.held.get(name)
            if held is not None:
                known, is_theirs = len(self.differences), self._is_theirs(name, held)
                self.merge(held, device, old.child(recorded.get(held, name)), path / name)
                self.devices[name] = held
                if is_theirs and len(self.differences) > known:
                    self.taken.add(name)
            elif name in absent and not self._is_left_out(absent[name], path / name):
                ours = [each for each in self.own.found.values() if each.getparent() is found]
                self.devices[name] = _insert(found, device, [*ours, *self.devices.values()])
                self._note(path / name, "present", "")

    def _is_theirs(self, name: str, device: Element) -> bool:
        """Whether others gave the device to virtrbd's domain, as far as its mark knows."""
        if not self.is_marked or device in self.own.found.values() or name in self.own.unclear:
            return False
        return device.tag not in _STATED_BY_KEY and not is_own(device)

    def _withdraw_devices(self, found: Element, pairs: DevicePairs, path: ElementPath) -> None:
        """Remove the devices that are no longer stated, as far as it is known which they are."""
        taken, own = set(pairs.held.values()), set(self.own.found.values())
        for name, device in sorted(self.own.found.items()):
            if device.getparent() is found and device not in taken and not _may_carry(device):
                self.held |= {name: self.at[device]} if device in self.at else {}
                found.remove(device)
                self._note(path / name, "", "present")
        # Devices that were not found count as gone where as many wanted ones are paired with others of their key.
        others = Counter(key_of(name) for name, device in pairs.held.items() if device not in own)
        for names, doubts in ((self.own.unclear, self.unclear), (self.own.lost, self.left)):
            for name in sorted(names):
                others[key_of(name)] -= 1
                if others[key_of(name)] < 0:
                    doubts.add(name)
        self.unclear.update(pairs.unclear)

    def _withdraw(self, element: Element, old: Stated, path: ElementPath) -> None:
        """Remove what was stated of an element that is no longer stated, and the element when nothing is left."""
        key = key_name(element)
        if element.tag in _WHOLE or (old.itself and not key):
            self._note(path, "", brief_element(element))
            remove(element)
            return
        for name in sorted(old.attributes):
            self._withdraw_attribute(element, name, path)
        if word(element) == "qemu:commandline":
            self._merge_arguments(element, element.makeelement(element.tag), old, path)
        have = dict(steps(element))
        for name in sorted(old.children.keys() & have.keys()):
            self._withdraw(have[name], old.child(name), path / name)
        left = {str(name) for name in element.attrib} - {key} - _LIBVIRTS_OWN.get(str(element.tag), frozenset())
        says_nothing = old.itself or not (element.text or "").strip()
        if not left and next(children(element), None) is None and says_nothing:
            if old.itself:
                self._note(path, "", "present")
            remove(element)

    def _withdraw_attribute(self, element: Element, name: str, path: ElementPath) -> None:
        if has_attribute(element, name):
            self._note(path / f"@{name}", "", str(element.attrib.pop(name)))


def boots_of_others(root: Element, wanted: Element, own: OwnDevices, *, is_marked: bool) -> Iterator[str]:
    """Yield the devices with a boot order that are not virtrbd's, where it states kinds of devices to boot from."""
    held, devices = root.find("devices"), wanted.find("devices")
    if held is None or devices is None or wanted.find("os/boot") is None:
        return
    mine = {*pair_devices(held, devices, own, _holds, is_marked=is_marked).held.values(), *own.found.values()}
    yield from (name for name, device in steps(held) if device.find("boot") is not None and device not in mine)


def _may_carry(device: Element) -> bool:
    """Whether devices of others may be on it: a controller, which does no harm where it is idle. `none` forbids all."""
    return device.tag == "controller" and device.get("model") != "none"


def _holds(found: Element, wanted: Element) -> bool:
    """Whether the found device has everything that is wanted already."""
    trial = Merger()
    trial.merge(copy.deepcopy(found), wanted, NOTHING, ROOT)
    return not trial.differences


def _insert(devices: Element, device: Element, ours: list[Element]) -> Element:
    """Put a device without a key behind virtrbd's of its kind and before those of others: libvirt keeps that order.

    A serial port's console comes before all others: libvirt accepts it only as the first console.
    """
    made, key = copy.deepcopy(device), device_key(device)
    alike = [found for found in devices.findall(str(device.tag)) if not device_key(found)]
    last = [found for found in alike if found in ours]
    if not alike or (key and device.tag != "console"):
        devices.append(made)
    elif last and not key:
        last[-1].addnext(made)
    else:
        alike[0].addprevious(made)
    return made


def _put(parent: Element, child: Element, before: Element | None, following: list[Element]) -> Element:
    """Put an element in where it is wanted: behind the one before it, else in front of the one that follows.

    libvirt's schema takes any order in words, but libxml2 wants each of its inner groups together: an iotune's read and
    write limits of one kind with another between them are refused.
    """
    made = copy.deepcopy(child)
    if before is not None:
        before.addnext(made)
    elif following:
        following[0].addprevious(made)
    else:
        parent.append(made)
    return made


def _same(wanted: Element, name: str, value: str, held: str) -> bool:
    # libvirt writes the version it chose for an alias; that choice stays: `pc` is pc-i440fx-*, `q35` is pc-q35-*.
    if wanted.tag == "type" and name == "machine":
        family = {"pc": "pc-i440fx-", "q35": "pc-q35-"}.get(value)
        return held == value or (family is not None and held.startswith(family))
    parent = wanted.getparent()
    if name == "port" and held and parent is not None and parent.tag == "console":
        # libvirt chooses its number among the consoles.
        return True
    return held == value or (not held and (wanted.tag, name, value) in _TAKEN_FOR_GRANTED)


def _items(element: Element, tag: str) -> set[tuple[tuple[str, str], ...]]:
    return {
        monitor_key(item) if tag == "host" else tuple(sorted((str(name), str(value)) for name, value in item.items()))
        for item in element.findall(tag)
    }


def _listed(element: Element, tag: str) -> str:
    return " ".join(sorted(":".join(map(str, item.attrib.values())) for item in element.findall(tag)))


def _values(arguments: list[Element]) -> str:
    return " ".join(argument.get("value", "") for argument in arguments)
