"""A target: one place where bytes that virtrbd does not trust come in."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from virtrbd.errors import DefectError, VirtrbdError

# Given an input and a source of chance, another input of the same form.
Mutate = Callable[[bytes, random.Random], bytes]


class BrokenLawError(AssertionError):
    """virtrbd raised nothing, and did what it must not do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`run` raises nothing for any input but what `expected` names: VirtrbdError, or what a pure parser documents.

    `words` are what random bytes would not find by chance. `mutate` keeps an input well-formed; None where bytes
    are as good as anything. `seeds`: folders of tests/ whose files it begins from, its own of tests/corpus where empty.
    """

    name: str
    about: str
    run: Callable[[bytes], None]
    expected: tuple[type[Exception], ...] = (VirtrbdError,)
    words: tuple[str, ...] = ()
    mutate: Mutate | None = field(default=None)
    largest: int = 4096
    seeds: tuple[str, ...] = ()


def finding(target: Target, data: bytes) -> Exception | None:
    """Return what the input brought up that it must not, None where all is well.

    A DefectError is one too: the run went on, but nobody foresaw the input.
    """
    try:
        target.run(data)
    except DefectError as error:
        return error
    except target.expected:
        return None
    except Exception as error:
        return error
    return None


def text_of(data: bytes) -> str:
    """Return the text that the bindings of libvirt and Ceph hand on: always decoded."""
    return data.decode("utf-8", "replace")


def require(holds: bool, law: str) -> None:
    """Raise BrokenLawError unless it holds; `assert` may be compiled away."""
    if not holds:
        raise BrokenLawError(law)
