"""The target that takes any text which is to be printed, or pasted into a shell."""

from __future__ import annotations

import shlex

from fuzzlib.target import Target, require
from virtrbd.printable import LINE_LENGTH, cut, escape_controls, first_unprintable, printable, quoted, shell_command

_NUL = "\0"


def try_printed(data: bytes) -> None:
    """A text with any bytes in it: those that are no UTF-8 are surrogates, as in the names of files."""
    text = data.decode("utf-8", "surrogateescape")
    line = printable(text)
    require(line.isprintable(), f"{line!r} is not printable")
    require(len(line) <= LINE_LENGTH + 100, "a line without an end")
    line.encode()
    require(printable(line) == line and printable(str(line)).isprintable(), "printed twice it is no longer printable")
    require(text.isprintable() or line != text, "what is not printable is left as it is")
    require(first_unprintable(line) == "", f"{line!r} has what cannot be seen")
    for short in (cut(text), quoted(text)):
        require(len(short) < 400, "cut, and too long")
    escape_controls(text).encode("utf-8", "replace")
    command = shell_command("virtrbd list", text)
    require(printable(command, len(command) + 1) == command, f"{command!r} is changed when it is printed")
    if command.isascii() and "$'" not in command and _NUL not in text:
        require(shlex.split(command)[-1] == text, f"{command!r} names something else than {text!r}")


TARGETS = (
    Target(
        name="printed",
        about="any text, on its way to a terminal or into a shell",
        run=try_printed,
        expected=(),
        words=("\x1b[2J", "\n", "\x9b", "\u202e", "\u200b", "\u0301", "\\x1b", "\\\\", "$(id)", "'", "-o"),
    ),
)
