"""Sizes: parsed from the form that users write, and formatted; in bytes. Counts, formatted."""

import re

from virtrbd.printable import quoted

_FACTORS = {unit: 1024**power for power, unit in enumerate(("", "K", "M", "G", "T", "P"))}
# A file's offset, and an image's, is a signed number of 64 bits.
_LARGEST = 2**63 - 1
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:iB)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that `20G`, `512 MiB` or `1.5T` means; units are powers of 1024.

    Raises ValueError for anything else, decimal units (`20GB`) and a plain number included:
    different tools read both differently, and a disk must not get its size from a guess.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None or (match[2] == "" and match[1] != "0"):
        raise ValueError(f"{quoted(text)} is not a size; write a number with K, M, G or T (powers of 1024), like 20G")
    size_bytes = float(match[1]) * _FACTORS[match[2].upper()]
    if not size_bytes.is_integer() or size_bytes <= 0:
        raise ValueError(f"{quoted(text)} is not a whole, positive number of bytes")
    if size_bytes > _LARGEST:
        raise ValueError(f"{quoted(text)} is larger than the largest possible image")
    return int(size_bytes)


def format_size(size_bytes: int) -> str:
    """Return the size for messages, exact when a unit divides it: `20 GiB`, else `1.5 GiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if value < 1024 or unit == "PiB":
            break
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def exact_size(size_bytes: int) -> str:
    """Return the size for a spec, `20G`: in the largest unit that divides it, empty where none does."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return ""


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: `1 object`, `2 objects`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
