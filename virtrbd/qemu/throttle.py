"""I/O limits: libvirt's names in QEMU's words."""

import json

from virtrbd.model.capabilities import Version
from virtrbd.model.disk import Disk

_BASE = {
    "total_bytes_sec": "bps-total",
    "read_bytes_sec": "bps-read",
    "write_bytes_sec": "bps-write",
    "total_iops_sec": "iops-total",
    "read_iops_sec": "iops-read",
    "write_iops_sec": "iops-write",
}
_DRIVE = {"bps-total": "bps", "bps-read": "bps_rd", "bps-write": "bps_wr"}
_DRIVE |= {name.replace("bps", "iops"): option.replace("bps", "iops") for name, option in _DRIVE.items()}
_SUFFIXES = {"": (1, 1, 0), "_max": (1, 7, 0), "_max_length": (2, 6, 0)}
# libvirt's name: QEMU's name as a limit, as an option of -drive, and the first QEMU that has it.
_NAMES: dict[str, tuple[str, str, Version]] = {"size_iops_sec": ("iops-size", "iops_size", (1, 7, 0))}
for _ours, _limit in _BASE.items():
    for _suffix, _since in _SUFFIXES.items():
        _full = _limit + _suffix.replace("_", "-")
        # blockdev.c has short names for all but the lengths, which came last.
        _option = f"throttling.{_full}" if _suffix == "_max_length" else _DRIVE[_limit] + _suffix
        _NAMES[_ours + _suffix] = (_full, _option, _since)
_GROUPS: Version = (2, 4, 0)


def group_of(disk: Disk) -> str:
    """Return the id of the disk's throttle group; disks with the same group share their limits."""
    # A prefix, since an id must begin with a letter and must not be a disk's.
    return f"limits-{disk.iotune.get('group_name') or disk.target}"


def drive_options(disk: Disk, qemu: Version) -> list[tuple[str, str]]:
    """Return the limits as options of -drive, as far as that QEMU has them."""
    options = [
        (option, str(disk.iotune[name]))
        for name, (_, option, since) in _NAMES.items()
        if name in disk.iotune and qemu >= since
    ]
    if "group_name" in disk.iotune and qemu >= _GROUPS:
        options.append(("group", group_of(disk)))
    return options


def group_object(disk: Disk, qemu: Version) -> str:
    """Return the throttle group as a value of -object, for the -blockdev era."""
    limits = {limit: int(disk.iotune[name]) for name, (limit, _, _) in _NAMES.items() if name in disk.iotune}
    if qemu >= (6, 0, 0):  # -object takes JSON, and with it `limits`
        return json.dumps({"qom-type": "throttle-group", "id": group_of(disk), "limits": limits})
    return ",".join(
        ["throttle-group", f"id={group_of(disk)}", *(f"x-{name}={value}" for name, value in limits.items())]
    )


def missing_limits(disk: Disk, qemu: Version) -> list[str]:
    """Return the limits, in libvirt's names, that this QEMU doesn't have."""
    names = [name for name, (_, _, since) in _NAMES.items() if name in disk.iotune and qemu < since]
    return names + (["group_name"] if "group_name" in disk.iotune and qemu < _GROUPS else [])
