"""Imports that wait until the verb runs: its help is quick, and needs neither libvirt nor Ceph.

They are on top of the verb's file, where people, linters and mypy see them. Python 3.15 has `lazy import` (PEP 810).
"""

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a module has under a name, in the place of which this is until it is imported."""

    module: str
    name: str


class _Module:
    """A module, as far as `from module import name` asks for it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Waiting:
        return Waiting(self._name, name)


@contextmanager
def lazily() -> Iterator[None]:
    """Note what the block imports by `from module import name`, and import none of it yet."""
    whole = builtins.__import__
    builtins.__import__ = _note  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.__import__ = whole


def _note(name: str, *_where: object) -> _Module:
    return _Module(name)


def import_waiting(names: dict[str, Any]) -> None:
    """Import what waits in a module, of which these are the global names."""
    for name, value in list(names.items()):
        if isinstance(value, Waiting):
            names[name] = getattr(import_module(value.module), value.name)
