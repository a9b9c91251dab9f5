"""The steps of older versions, to read the marks of these versions."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from virtrbd.domainxml.tree import Element, device_key, device_steps, former_key, key_of, quoted_step, steps
from virtrbd.model.element_path import ElementPath

# Attributes of the half of a failover pair that is a device of the host.
_PASSED_THROUGH = ("source/address/", "teaming/@persistent")
# Elements that had no key, and their parent.
_UNKEYED = frozenset({("cputune", "vcpupin"), ("cputune", "iothreadpin")})


def steps_now(root: Element, stated: Sequence[ElementPath]) -> Mapping[ElementPath, ElementPath]:
    """Return the devices' paths of today by those that a mark of an older version may have for the same devices.

    A step that a device has today means that device.
    """
    now = dict(device_steps(root))
    if all(former_key(device) == device_key(device) for device in now.values()):
        return {}
    parts = defaultdict[str, list[str]](list)
    for path in stated:
        parts[path.device].append(path.inside)
    found, seen = {}, Counter[str]()
    for name, device in now.items():
        former = quoted_step(former_key(device)) if former_key(device) else key_of(name)
        seen[former] += 1
        former = former if seen[former] == 1 else f"{former}#{seen[former]}"
        if former not in now and _may_be(device, parts.get(former, ())):
            found[ElementPath.of_device(former)] = ElementPath.of_device(name)
    return found


def keyed_now(root: Element, stated: Sequence[ElementPath]) -> Mapping[ElementPath, ElementPath]:
    """Return the paths of today by those that a mark has where elements had no key, but an order."""
    found: dict[ElementPath, ElementPath] = {}
    for parent in sorted({path.steps[0] for path in stated if _is_unkeyed(path)}):
        seen = Counter[str]()
        holder = root.find(parent)
        for name, child in steps(holder) if holder is not None else ():
            tag = str(child.tag)
            seen[tag] += 1
            former = tag if seen[tag] == 1 else f"{tag}#{seen[tag]}"
            found[ElementPath(parent) / former] = ElementPath(parent) / name
    return found


def path_now(path: ElementPath, now: Mapping[ElementPath, ElementPath]) -> ElementPath:
    """Return a path of an older version as it is today."""
    if not now:
        return path
    element = ElementPath("/".join(path.steps[:2]))
    return now[element] / path.below(element) if element in now else path


def _is_unkeyed(path: ElementPath) -> bool:
    return tuple(map(key_of, path.steps[:2])) in _UNKEYED


def _may_be(device: Element, parts: Sequence[str]) -> bool:
    """Whether it was this device of which the mark states these parts, if any, and not one that is gone."""
    return device.tag != "interface" or not parts or any(part.startswith(_PASSED_THROUGH) for part in parts)
