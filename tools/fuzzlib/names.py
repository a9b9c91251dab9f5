"""Targets that take short texts: names, sizes, spans of time."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzzlib.target import Target, require, text_of
from virtrbd.errors import VirtrbdError
from virtrbd.local.state_dir import StateDir
from virtrbd.model.duration import format_duration, parse_duration
from virtrbd.model.image import ImageRef
from virtrbd.model.names import check_domain_name
from virtrbd.model.size import format_size, parse_size


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs")


def try_image(data: bytes) -> None:
    """A name of an image."""
    text = text_of(data)
    ref = ImageRef.parse(text)
    require(str(ref) == text, f"{text!r} is read as {ref}")
    require(not any(map(_is_control, text)), f"{text!r} is another name in libvirt's XML")
    require(len(text.encode()) <= 10_000, "longer than anything that RBD takes")
    ImageRef.parse_new(text)
    require((ref.snapshot or ref.name).isprintable(), f"{text!r} can forge a line")


def try_size(data: bytes) -> None:
    """A size."""
    size_bytes = parse_size(text_of(data))
    require(0 < size_bytes < 2**63, f"{size_bytes} bytes")
    format_size(size_bytes)


def try_duration(data: bytes) -> None:
    """A span of time."""
    format_duration(parse_duration(text_of(data)))


def try_domain_name(data: bytes) -> None:
    """A domain's name, and its files: a lock, the intent of its image."""
    text = text_of(data)
    check_domain_name(text)
    require(text.isprintable(), f"{text!r} can forge a line")
    require(text not in (".", "..") and "/" not in text, f"{text!r} is a path")


def try_lock(data: bytes) -> None:
    """A name that a lock is taken for, whoever made it."""
    name = text_of(data)
    with TemporaryDirectory(prefix="virtrbd-fuzz-") as folder:
        state = StateDir(f"{folder}/state")
        with state.locked([name], "fuzz"):
            files = {file.relative_to(folder).parts[:2] for file in Path(folder).rglob("*") if file.is_file()}
        require(files <= {("state", "locks")}, f"{name!r} makes a file elsewhere: {files}")


_PURE = (VirtrbdError, ValueError)

TARGETS = (
    Target(
        name="image-name",
        about="the name of an image",
        run=try_image,
        expected=_PURE,
        words=("pool/", "@", ":", "\u202e", "\u200b", "\x1b[2J"),
    ),
    Target(name="size", about="a size", run=try_size, expected=_PURE, words=("GiB", "P", ".", "\u0661", "\uff11")),
    Target(name="duration", about="a span of time", run=try_duration, expected=_PURE, words=("w", "d", "\u0661")),
    Target(
        name="domain-name",
        about="the name of a domain",
        run=try_domain_name,
        expected=_PURE,
        words=("..", "\u202e", "%2F"),
    ),
    Target(name="lock-name", about="a name that a lock is taken for", run=try_lock, words=("../", "%2F", "\0")),
)
