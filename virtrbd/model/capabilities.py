"""The capabilities of this host's hypervisor: the facts that a rendering depends on."""

from collections.abc import Mapping

from msgspec import Struct, field

from virtrbd.printable import quoted

Version = tuple[int, int, int]


class Capabilities(Struct, frozen=True, kw_only=True):
    """One emulator with one machine type under one libvirt.

    `machine` is the canonical name (`pc-q35-7.2` for `q35`). `offers` holds what domcapabilities lists, by
    `element.enum` (`disk.bus`, `os.firmware`, `video.modelType`); what it does not mention is unknown, not refused.
    An element that is not supported at all is listed by its own name (`tpm`), with no values.
    """

    libvirt: Version
    qemu: Version
    machine: str
    offers: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def offers_value(self, enum: str, value: str) -> bool:
        """Whether the value may be used, as far as is known."""
        if enum in self.offers:
            return value in self.offers[enum]
        parts = enum.split(".")
        return not any(".".join(parts[:length]) in self.offers for length in range(1, len(parts)))

    @property
    def machine_version(self) -> Version | None:
        """The version in the machine's name, None where it has none (`isapc`, `microvm`)."""
        tail = self.machine.rpartition("-")[2].split(".")
        if not all(part.isdecimal() for part in tail):
            return None
        numbers = [int(part) for part in tail]
        return (numbers[0], numbers[1] if len(numbers) > 1 else 0, 0)


def parse_version(text: str) -> Version:
    """Return the version of `11.6` or `7.2.22`. Raises ValueError."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 3 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"{quoted(text)} is not a version; write it like 11.6")
    major, minor, micro = (*map(int, parts), 0, 0)[:3]
    return (major, minor, micro)


def version_text(version: Version) -> str:
    """Return the version for messages, without a trailing zero micro."""
    return ".".join(map(str, version if version[2] else version[:2]))
