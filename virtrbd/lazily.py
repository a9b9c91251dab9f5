"""Imports that wait until they are needed, on top of their file, where people, linters and mypy see them.

Those of a verb wait until it runs (`import_waiting`): its help is quick, and needs neither libvirt nor Ceph. In other
rooms a function waits until it is called: a run that finds all in order parses no XML. For both Python 3.15 has
`lazy import` (PEP 810).
"""

import builtins
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from msgspec import Struct

# One block at a time: what it replaces is the whole process's.
_lock = threading.Lock()


class Waiting(Struct, frozen=True):
    """What a module has under a name, in the place of which this is until it is imported."""

    module: str
    name: str

    def now(self) -> Any:
        """Import it, and return it."""
        return getattr(import_module(self.module), self.name)

    def __call__(self, *words: Any, **named: Any) -> Any:
        return self.now()(*words, **named)


class _Module:
    """A module, as far as `from module import name` asks for it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Waiting:
        return Waiting(self._name, name)


@contextmanager
def lazily() -> Iterator[None]:
    """Note what the block imports by `from module import name`, and import none of it yet."""
    with _lock:
        whole, here = builtins.__import__, threading.get_ident()

        def note(name: str, *more: Any) -> Any:
            return _Module(name) if threading.get_ident() == here else whole(name, *more)

        try:
            builtins.__import__ = note  # type: ignore[assignment]
            yield
        finally:
            builtins.__import__ = whole


def import_waiting(names: dict[str, Any]) -> None:
    """Import what waits in a module, of which these are the global names."""
    for name, value in list(names.items()):
        if isinstance(value, Waiting):
            names[name] = value.now()
