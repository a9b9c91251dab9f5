"""Merge duplicate elements of a rendered document, so that a template can extend what virtrbd renders.

So a template adds to what virtrbd renders without repeating it: a <clock> with a timer, a <disk> of a known
target with its block size.
"""

import copy
from collections import Counter

from virtrbd.domainxml.managed_paths import LISTS, argument_groups
from virtrbd.domainxml.tree import Element, children, device_key, devices_of, remove, step, word

# Elements that are one thing by their kind: parts of two must not be mixed.
_WHOLE = "auth"


Merged = list[tuple[Element, Element]]


def lay_parts(root: Element) -> Merged:
    """Merge the elements of a rendered document that belong together; return which was merged into which."""
    merged: Merged = []
    first: dict[str, Element] = {}
    for child in list(children(root)):
        _lay_or_keep(first, step(child), child, merged)
    first.clear()
    for devices in root.findall("devices"):
        for device in devices_of(root) if devices.getparent() is root else ():
            if device_key(device):
                _lay_or_keep(first, _device_step(device), device, merged)
    return merged


def _lay_or_keep(first: dict[str, Element], name: str, element: Element, merged: Merged) -> None:
    base = first.setdefault(name, element)
    if base is not element:
        _lay(base, element, merged)
        remove(element)


def _device_step(device: Element) -> str:
    # A USB 2 controller is several functions of one index.
    model = device.get("model", "") if device.get("type") == "usb" else ""
    return f"{step(device)} {model}"


def _lay(base: Element, part: Element, merged: Merged) -> None:
    merged.append((base, part))
    base.attrib.update({str(name): str(value) for name, value in part.attrib.items()})
    if (part.text or "").strip():
        base.text = part.text
    if word(base) == "qemu:commandline":
        _lay_arguments(base, part)
    listed = LISTS.get(str(base.tag))
    if listed and part.find(listed) is not None:
        for item in base.findall(listed):
            base.remove(item)
    have, more = (Counter(map(step, children(element))) for element in (base, part))
    for child in list(children(part)):
        name = step(child)
        if word(child) == "qemu:arg":
            continue
        if child.tag == listed or base.tag == "devices" or (have[name], more[name]) != (1, 1):
            base.append(child)
        else:
            _lay_child(base, next(each for each in children(base) if step(each) == name), child, merged)


def _lay_child(base: Element, held: Element, child: Element, merged: Merged) -> None:
    if child.tag == _WHOLE:
        base.replace(held, child)
    else:
        _lay(held, child, merged)


def _lay_arguments(base: Element, part: Element) -> None:
    have = argument_groups(base)
    for name, group in argument_groups(part).items():
        if name not in have:
            base.extend(copy.deepcopy(group))
