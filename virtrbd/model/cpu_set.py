"""Sets of CPUs or NUMA nodes of the host, in the form in which libvirt writes them: `0-3,^2` is `0-1,3`."""

import re

from virtrbd.printable import quoted

_PART = re.compile("(?P<without>\\^?)(?P<first>[0-9]{1,4})(-(?P<last>[0-9]{1,4}))?")
# libvirt keeps a bit for each (VIR_DOMAIN_CPUMASK_LEN).
_MOST = 1024


def members(text: str) -> frozenset[int]:
    """Return the numbers in a set as libvirt reads it. Raises ValueError where it is not one, or empty."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or (match["without"] and match["last"]):
            raise ValueError(f"{quoted(text)} is not a set of numbers; write it like 0-3,^2 or 1,5")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last >= _MOST:
            raise ValueError(f"{last} is more than libvirt takes; write numbers up to {_MOST - 1}")
        if first > last:
            raise ValueError(f"{first}-{last} ends before it begins; write {last}-{first}")
        if match["without"]:
            found.discard(first)
        else:
            found.update(range(first, last + 1))
    if not found:
        raise ValueError(f"{quoted(text)} leaves no number; write it like 0-3,^2 or 1,5")
    return frozenset(found)


def set_text(numbers: frozenset[int]) -> str:
    """Return a set as libvirt writes it."""
    parts: list[str] = []
    for number in sorted(numbers):
        if number - 1 in numbers:
            begin = parts.pop().partition("-")[0]
            parts.append(f"{begin}-{number}")
        else:
            parts.append(str(number))
    return ",".join(parts)
