"""Types of words on the command line: files, seconds, and what the model's own parsers read."""

import math
from collections.abc import Callable
from typing import Any

import click

from virtrbd.model.duration import parse_duration
from virtrbd.model.size import parse_size
from virtrbd.printable import quoted


class SecondsRange(click.FloatRange):
    """A number of seconds: without nan, which click's own range accepts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{quoted(value)} is not a number of seconds; write a number like 30", param, ctx)
        return seconds


class Parsed(click.ParamType[object]):
    """A parameter that one of the model's own parsers reads."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


# A name that is not UTF-8 cannot be a name in libvirt or Ceph; a file's name may have any bytes.
FILE_TYPE = click.Path(readable=False)
SIZE_TYPE = Parsed("size", parse_size)
DURATION_TYPE = Parsed("duration", parse_duration)
