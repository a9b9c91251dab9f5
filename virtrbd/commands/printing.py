"""The one way out of virtrbd for text: nothing else writes to standard output or standard error.

Except what belongs to others: help by click, bars by rich (whose titles go through `printable`), and `virsh console`.
"""

import io
import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from virtrbd.printable import escape_controls, printable


def prepare_streams() -> None:
    """Let no character fail: an encoding that is not UTF-8 has few."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_lines(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Print each as one line, whatever is in it."""
    for line in lines:
        click.echo(printable(line), err=to_stderr)


def print_json(data: dict[str, Any], *, indent: int | None = None, to_stderr: bool = False) -> None:
    """Print a JSON document: whole, and in ASCII, so that nothing in it needs escaping for a terminal."""
    click.echo(json.dumps(data, indent=indent, default=str), err=to_stderr)


def print_document(text: str) -> None:
    """Print what is the answer itself: XML, YAML. A file or a pipe gets it as it is, in UTF-8."""
    # There is none where whoever started the run closed it.
    if sys.stdout and sys.stdout.isatty():
        click.echo(escape_controls(text))
    else:
        click.echo(text.encode("utf-8", "backslashreplace"))
