"""The steps of devices in older versions, to read the marks of these versions."""

from collections import Counter
from collections.abc import Mapping, Sequence

from virtrbd.domainxml.tree import Element, device_key, device_steps, former_key, quoted_step

# Attributes of the half of a failover pair that is a device of the host.
_PASSED_THROUGH = ("source/address/", "teaming/@persistent")


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


def path_now(path: str, now: Mapping[str, str]) -> str:
    """Return a path of an older version as it is today."""
    first, _, rest = path.partition("/")
    device, slash, below = rest.partition("/")
    return f"{first}/{now[device]}{slash}{below}" if first == "devices" and device in now else path


def _may_be(device: Element, former: str, stated: Sequence[str]) -> bool:
    """Whether it was this device that the mark means, where it says anything of it, and not one that is gone."""
    parts = [path.removeprefix(f"devices/{former}/") for path in stated if path.startswith(f"devices/{former}/")]
    is_stated = bool(parts) or f"devices/{former}" in stated
    return device.tag != "interface" or not is_stated or any(part.startswith(_PASSED_THROUGH) for part in parts)
