"""The RBD images that a QEMU argument names. Pure.

Sources: QEMU's block/rbd.c (`qemu_rbd_parse_filename`: names after `rbd:`, a backslash keeps the next character),
docs/system/invocation (`,,` is a comma within a value).
"""

import json
import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from virtrbd.model.image import ImageRef

_FILENAME = "rbd:"
_JSON = "json:"
_PAIR = re.compile(r"((?:[^,]|,,)+)(?:,|$)")


class ArgumentImages(Struct, frozen=True, kw_only=True):
    """The images that an argument names; `is_read`: whether all of its RBD parts were understood."""

    images: tuple[ImageRef, ...]
    is_read: bool


def images_in_argument(argument: str) -> ArgumentImages:
    """Return the images that the argument names.

    Files that QEMU reads (`-readconfig FILE`, `@FILE`) are not read: the caller knows the option.
    """
    found = tuple(dict.fromkeys(_images(argument)))
    return ArgumentImages(images=found, is_read=bool(found) or "rbd" not in argument.lower())


def _images(argument: str) -> Iterator[ImageRef]:
    text = argument.strip()
    if text.startswith(("{", _JSON)):
        yield from _in_json(text.removeprefix(_JSON))
        return
    if text.startswith(_FILENAME):
        yield from _of_filename(text)
        return
    pairs = _pairs(text)
    yield from _in_mapping(pairs)
    for value in pairs.values():
        if value.startswith((_JSON, _FILENAME)):
            yield from _images(value)


def _pairs(text: str) -> dict[str, str]:
    """Return `key=value,key=value` as a mapping; a value without a key has its own text as its key."""
    pairs: dict[str, str] = {}
    for part in _PAIR.findall(text):
        key, is_pair, value = part.replace(",,", ",").partition("=")
        pairs[key] = value if is_pair else key
    return pairs


def _in_mapping(pairs: Mapping[str, str]) -> Iterator[ImageRef]:
    """Yield the images of `driver=rbd,pool=P,image=I`, whatever the keys' common prefix (`file.driver=rbd`)."""
    for key, value in pairs.items():
        prefix, _, last = key.rpartition("driver")
        if last or value != "rbd" or (prefix and not prefix.endswith(".")):
            continue
        pool, name = pairs.get(f"{prefix}pool", ""), pairs.get(f"{prefix}image", "")
        if pool and name:
            yield ImageRef(
                pool=pool,
                namespace=pairs.get(f"{prefix}namespace", ""),
                name=name,
                snapshot=pairs.get(f"{prefix}snapshot", ""),
            )


def _in_json(text: str) -> Iterator[ImageRef]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return
    pending = [data]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            pending += each.values()
            yield from _in_mapping({str(key): value for key, value in each.items() if isinstance(value, str)})
        elif isinstance(each, list):
            pending += each
        elif isinstance(each, str) and each.startswith((_FILENAME, _JSON)):
            yield from _images(each)


def _of_filename(text: str) -> Iterator[ImageRef]:
    """Yield the image of `rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:OPTION=VALUE…]`."""
    pool, rest = _cut(text.removeprefix(_FILENAME), "/")
    image, _ = _cut(rest, ":")
    path, snapshot = _cut(image, "@")
    first, second = _cut(path, "/")
    namespace, name = (first, second) if second else ("", first)
    if pool and name:
        words = (pool, namespace, name, snapshot)
        pool, namespace, name, snapshot = (re.sub(r"\\(.)", r"\1", word) for word in words)
        yield ImageRef(pool=pool, namespace=namespace, name=name, snapshot=snapshot)


def _cut(text: str, border: str) -> tuple[str, str]:
    """Return what is before the border and what is behind it; a backslash escapes a border."""
    found = re.match(rf"((?:\\.|[^\\{border}])*){border}?(.*)", text, re.DOTALL)
    return (found[1], found[2]) if found else (text, "")
