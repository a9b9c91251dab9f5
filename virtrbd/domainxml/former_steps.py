"""The steps of older versions, to read the marks of these versions."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from virtrbd.domainxml.tree import Element, device_key, device_steps, former_key, quoted_step, steps

# Attributes of the half of a failover pair that is a device of the host.
_PASSED_THROUGH = ("source/address/", "teaming/@persistent")
# Where elements had no key.
_UNKEYED = re.compile("(cputune)/(vcpupin|iothreadpin)(#[0-9]+)?(?=/|$)")


def steps_now(root: Element, stated: Sequence[str]) -> Mapping[str, str]:
    """Return the steps of today by those that a mark of an older version may have for the same devices.

    A step that a device has today means that device.
    """
    now = dict(device_steps(root))
    if all(former_key(device) == device_key(device) for device in now.values()):
        return {}
    found, seen = {}, Counter[str]()
    for name, device in now.items():
        former = quoted_step(former_key(device)) if former_key(device) else name.partition("#")[0]
        seen[former] += 1
        former = former if seen[former] == 1 else f"{former}#{seen[former]}"
        if former not in now and _may_be(device, former, stated):
            found[former] = name
    return found


def keyed_now(root: Element, stated: Sequence[str]) -> Mapping[str, str]:
    """Return the paths of today by those that a mark has where elements had no key, but an order."""
    parents = {match[1] for path in stated if (match := _UNKEYED.match(path))}
    found: dict[str, str] = {}
    for parent in sorted(parents):
        seen = Counter[str]()
        holder = root.find(parent)
        for name, child in steps(holder) if holder is not None else ():
            tag = str(child.tag)
            seen[tag] += 1
            former = tag if seen[tag] == 1 else f"{tag}#{seen[tag]}"
            found[f"{parent}/{former}"] = f"{parent}/{name}"
    return found


def path_now(path: str, now: Mapping[str, str]) -> str:
    """Return a path of an older version as it is today."""
    if match := _UNKEYED.match(path):
        return now.get(match[0], match[0]) + path[match.end() :]
    first, _, rest = path.partition("/")
    device, slash, below = rest.partition("/")
    return f"{first}/{now[device]}{slash}{below}" if first == "devices" and device in now else path


def _may_be(device: Element, former: str, stated: Sequence[str]) -> bool:
    """Whether it was this device that the mark means, where it says anything of it, and not one that is gone."""
    parts = [path.removeprefix(f"devices/{former}/") for path in stated if path.startswith(f"devices/{former}/")]
    is_stated = bool(parts) or f"devices/{former}" in stated
    return device.tag != "interface" or not is_stated or any(part.startswith(_PASSED_THROUGH) for part in parts)
