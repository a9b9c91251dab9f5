"""Errors in the text of a ceph.conf or a keyring: Ceph's library refuses it without naming the line."""

import re
from collections.abc import Callable

from msgspec import Struct

from virtrbd.errors import ConfigError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# ASCII, then letters of any kind in a quoted value, then in a comment.
_TAKEN = re.compile(rb"""[\x00-\x7f]*(?:=[ \t]*(?:"[^"]*"|'[^']*')[ \t]*)?(?:(?<!\\)[#;].*)?""", re.DOTALL)
# What the header of a keyring's section may be, and its lines (src/auth/KeyRing.cc).
_ENTITY = re.compile(rb"\[(?:global|(?:auth|mon|osd|mds|mgr|client)\.[^\]]+)\]")
_KEYRING_WORD = re.compile(rb"key|auid|caps[\s_]+\w+")


class LineFlaw(Struct, frozen=True, kw_only=True):
    """A line, counted from 1, that Ceph does not take, and why; never the line itself, which may be a key."""

    line: int
    why: str


def unreadable(file: str, flaw: LineFlaw) -> ConfigError:
    """Return the error that says why Ceph cannot read a file; never with the line itself, which may be a key."""
    return ConfigError(f"{file}: Ceph cannot read it: line {flaw.line} {flaw.why}")


def unsafe_line(text: bytes) -> LineFlaw | None:
    """Return the first line that must not reach Ceph's library, and why; None where there is none.

    Its parser ends the whole program at a letter beyond ASCII outside of quotes and comments (an assertion of
    boost::spirit, measured with Ceph 16.2).
    """
    for number, line in enumerate(text.split(b"\n"), 1):
        if number == 1 and line.startswith(_BYTE_ORDER_MARK):
            why = "begins with a byte order mark, at which Ceph's library ends the program; remove the mark"
            return LineFlaw(line=1, why=why)
        if line.isascii():
            continue
        try:
            line.decode()
        except UnicodeDecodeError:
            return LineFlaw(line=number, why="is not UTF-8; write it in UTF-8")
        if not _TAKEN.fullmatch(line):
            why = "has letters beyond ASCII, at which Ceph's library ends the program; quote the value"
            return LineFlaw(line=number, why=why)
    return None


def refused_line(text: bytes, refuses: Callable[[bytes], bool]) -> LineFlaw:
    """Return the first line for which Ceph refuses the text, and why, as far as is known."""
    lines = text.split(b"\n")
    if not refuses(text + b"\n"):
        return LineFlaw(line=len(lines), why="has no line break at its end; add one")
    taken, refused = 0, len(lines)
    while refused - taken > 1:
        middle = (taken + refused) // 2
        # Two line breaks: the first may be what a backslash continues the line over.
        if refuses(b"\n".join(lines[:middle]) + b"\n\n"):
            refused = middle
        else:
            taken = middle
    why = "is neither `option = value` nor a `[section]` from the first column; mend it"
    return LineFlaw(line=refused, why=why)


# What Ceph takes for a comment.
_OF_VALUE = re.compile(rb"[;#]")


def keys_in(keyring: bytes) -> list[str]:
    """Return the keys of all users in a keyring, as they are written."""
    pairs = (line.partition(b"=") for line in keyring.split(b"\n"))
    return [
        _OF_VALUE.split(value)[0].decode("ascii", "replace").strip().strip("\"'")
        for name, is_option, value in pairs
        if is_option and name.strip() == b"key"
    ]


def foreign_line(keyring: bytes) -> LineFlaw | None:
    """Return the first line of a keyring that is right for a ceph.conf only: for one Ceph refuses the whole keyring."""
    for number, line in enumerate(keyring.split(b"\n"), 1):
        said = line.strip()
        if said.startswith(b"[") and not _ENTITY.match(said):
            return LineFlaw(line=number, why="is not the name of a Ceph user; write it like [client.virtrbd]")
        name, is_option, _ = said.partition(b"=")
        if is_option and said[:1] not in b"#;[" and not _KEYRING_WORD.fullmatch(name.strip()):
            why = "is neither a `key` nor `caps`, which are all that a keyring holds; remove it"
            return LineFlaw(line=number, why=why)
    return None
