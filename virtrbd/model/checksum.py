"""Checksums of files, as users write them and as distributions publish them."""

import re

from msgspec import Struct

from virtrbd.printable import quoted

# An attacker can make two files with one MD5 or SHA-1.
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_BY_DIGITS = {digits: name for name, digits in _DIGITS.items()}
_EXAMPLE = "write sha256: and its 64 hexadecimal digits, or the URL of a list like SHA256SUMS"
# GNU's `HEX  NAME` (`*` for binary), and BSD's `SHA256 (NAME) = HEX`, which Fedora's CHECKSUM files have.
_GNU = re.compile(r"([0-9A-Fa-f]{32,128})(?:[ \t]+\*?(\S.*))?")
_BSD = re.compile(r"(SHA2?-?(?:256|384|512)|MD5|SHA1) ?\((.+)\) ?= ?([0-9A-Fa-f]{32,128})")


class Checksum(Struct, frozen=True, kw_only=True):
    """The digest that a file must have: `algorithm` as hashlib names it, `digest` in small hexadecimal digits."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


def is_checksum(text: str) -> bool:
    """Whether the text is a checksum itself, not where one is written."""
    return ":" in text and "://" not in text and "/" not in text


def parse_checksum(text: str) -> Checksum:
    """Return the checksum. Raises ValueError."""
    algorithm, _, digest = text.partition(":")
    algorithm, digits = algorithm.lower(), _DIGITS.get(algorithm.lower())
    if algorithm in ("md5", "sha1"):
        raise ValueError(f"{algorithm} proves nothing: an attacker can make two files that share it; {_EXAMPLE}")
    if digits is None:
        raise ValueError(f"{quoted(text)} is not a checksum; {_EXAMPLE}")
    if not re.fullmatch(f"[0-9A-Fa-f]{{{digits}}}", digest):
        raise ValueError(f"{quoted(text)} is not a checksum: {algorithm} has {digits} hexadecimal digits")
    return Checksum(algorithm=algorithm, digest=digest.lower())


def find_checksum(listing: str, name: str) -> Checksum:
    """Return the checksum of a file in a list of checksums; the strongest where it has several.

    Raises ValueError where the list has none, only weak ones, or two different ones.
    """
    lines = list(filter(None, map(str.strip, listing.splitlines())))
    found = {digest for line in lines if (digest := _of_line(line, name, is_alone=len(lines) == 1))}
    strong = sorted((len(digest), digest) for digest in found if len(digest) in _BY_DIGITS)
    if not strong:
        fact = "only MD5 or SHA-1, which prove nothing," if found else "no checksum"
        raise ValueError(f"holds {fact} for {quoted(name)}; name another list, or write the checksum itself")
    most, digest = strong[-1]
    if sum(length == most for length, _ in strong) > 1:
        raise ValueError(f"holds two different checksums for {quoted(name)}; write the right one itself")
    return Checksum(algorithm=_BY_DIGITS[most], digest=digest)


def _of_line(line: str, name: str, *, is_alone: bool) -> str:
    """Return the digest that a line has for this file, "" for none; a digest without a name is the whole list."""
    if bsd := _BSD.fullmatch(line):
        return bsd[3].lower() if _last_part(bsd[2]) == name else ""
    if gnu := _GNU.fullmatch(line):
        return gnu[1].lower() if (is_alone if gnu[2] is None else _last_part(gnu[2]) == name) else ""
    return ""


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]
