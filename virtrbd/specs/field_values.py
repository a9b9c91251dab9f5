"""Values of a domain's fields: what a short form means (`whole_`), and their own checks."""

import os
import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from virtrbd.printable import quoted
from virtrbd.specs.checked import short_for
from virtrbd.specs.machine_schema import CPU_MODES


def whole_cpu(value: object) -> object:
    if not isinstance(value, str):
        return value
    return {"mode": value} if value in CPU_MODES else {"mode": "custom", "model": value}


def whole_tpm(value: object) -> object:
    return {True: {}, False: None}.get(value, value) if isinstance(value, bool) else value


def whole_boot_menu(value: object) -> object:
    return {"enable": value} if isinstance(value, bool) else value


def each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is named twice; name it once")
    return names


def _channel(name: str) -> str:
    if word := _CHANNELS_OF_WORDS.get(name):
        raise ValueError(f"{name} has a word of its own; write {word}: true instead")
    return name


def whole_graphics(value: object) -> object:
    return None if value == "none" else short_for("type")(value)


def whole_hugepages(value: object) -> object:
    """True means the host's default size, 0; Bytes reads other values."""
    if isinstance(value, bool):
        return {True: 0, False: None}[value]
    if value == 0:
        raise ValueError("no size; write true for the host's default, or a size like 2M")
    return value


def whole_vsock(value: object) -> object:
    if value == 0 and not isinstance(value, bool):
        raise ValueError("vsock takes auto or a context id from 3; 0 to 2 are the host's")
    return 0 if value is True or value == "auto" else value


def whole_numatune(value: object) -> object:
    return {"nodeset": value} if isinstance(value, str | int) else value


def _zone(clock: str) -> str:
    folders = [folder for folder in zoneinfo.TZPATH if os.path.isdir(folder)]
    # os.path's test: Path's raises for a name that is too long.
    if "/" in clock and folders and not any(os.path.isfile(os.path.join(folder, clock)) for folder in folders):
        raise ValueError(f"{clock} is not a time zone; write utc, localtime, or a zone like Europe/Berlin")
    return clock


def supported_machine(machine: str | None) -> str | None:
    if machine and not re.fullmatch(r"pc|q35|pc-(i440fx|q35)-[0-9.a-z-]+|pc-[01]\.[0-9]+", machine):
        raise ValueError(f"{quoted(machine)} is not supported; write pc, q35, or one of their versions like pc-q35-9.0")
    return machine


Power = Literal["destroy", "restart"]


# The pattern comes first: the zone's file is looked for by this name.
Clock = Annotated[
    str,
    Field(pattern=r"^(utc|localtime|[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){1,2})$", max_length=100),
    AfterValidator(_zone),
]


_CHANNELS_OF_WORDS = {"org.qemu.guest_agent.0": "guest_agent", "com.redhat.spice.0": "spice_agent"}


# It ends the path of a socket, of which Linux takes 107 bytes; libvirt's folder for it has up to 69.
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=36), AfterValidator(_channel)]
