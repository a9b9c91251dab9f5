"""The only way out of virtrbd for text: nothing else writes to standard output or standard error.

Except what belongs to others: help by click, bars by rich (whose titles go through `printable`), and `virsh console`.
"""

import io
import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from virtrbd.commands.output.colour import coloured, wants_colour
from virtrbd.printable import escape_controls, printable


class OutputError(OSError):
    """Standard output or standard error, by `filename`, did not take everything: a full disk, a limit, a dead disk."""


def prepare_streams() -> None:
    """Let no character fail: an encoding that is not UTF-8 has few."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def draws_lines() -> bool:
    """Whether the output goes to a terminal that has the characters of lines."""
    stream = sys.stdout
    return bool(stream and stream.isatty() and stream.encoding.lower().replace("-", "") == "utf8")


def print_lines(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Print each as one line, with any content; on a terminal with colour."""
    dress = coloured if wants_colour(sys.stderr if to_stderr else sys.stdout) else str
    for line in lines:
        _echo(dress(printable(line)), to_stderr=to_stderr)


def print_json(data: dict[str, Any], *, indent: int | None = None, to_stderr: bool = False) -> None:
    """Print a JSON document: whole, and in ASCII, so that nothing in it needs escaping for a terminal."""
    _echo(json.dumps(data, indent=indent, default=str), to_stderr=to_stderr)


def print_document(text: str) -> None:
    """Print what is the answer itself: XML, YAML. A file or a pipe gets it as it is, in UTF-8."""
    # There is none where the caller closed it.
    if sys.stdout and sys.stdout.isatty():
        _echo(escape_controls(text))
    else:
        _echo(text.encode("utf-8", "backslashreplace"))


def _echo(text: str | bytes, *, to_stderr: bool = False) -> None:
    """Write a text. Raises BrokenPipeError where the reader is gone, else OutputError."""
    try:
        click.echo(text, err=to_stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "standard error" if to_stderr else "standard output"
        raise OutputError(error.errno, error.strerror, where) from None
