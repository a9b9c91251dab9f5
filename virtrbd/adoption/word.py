"""Words: values for places in a spec, and how they are read from a definition."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from virtrbd.domainxml.libvirt_defaults import is_own
from virtrbd.domainxml.tree import Element, whole_number
from virtrbd.model.attributes import BOOLEANS, Attribute, Form
from virtrbd.model.element_path import ElementPath
from virtrbd.model.size import exact_size

Path = tuple[str, ...]
Value = object


class Word(Struct, frozen=True, kw_only=True):
    """A value for a place in a spec, or without a place several values that belong together.

    `device` names the device that it makes known to the spec.
    """

    path: Path
    value: Value
    device: ElementPath | None = None


class Unknown(Struct, frozen=True, kw_only=True):
    """A device that a spec cannot express, and why."""

    path: ElementPath
    why: str


class Words(Struct, frozen=True, kw_only=True):
    """All candidate values of a definition: `base` is always stated, each of `more` where it helps.

    `refusals` say why no spec is possible."""

    base: Mapping[str, Value]
    more: tuple[Word, ...]
    unknown: tuple[Unknown, ...] = ()
    refusals: tuple[str, ...] = ()


def read_rows(device: Element, rows: Iterable[Attribute]) -> Iterator[tuple[str, Value]]:
    """Yield the spec's words for what the rows have a place for, with what the definition has there."""
    for row in rows:
        if not row.place:
            continue
        found = device.find(row.element)
        if row.form is Form.FLAG:
            yield row.spec_word, True if found is not None else None
            continue
        text = "" if found is None else found.get(row.name) if row.name else found.text
        if row.form in BOOLEANS:
            yield row.spec_word, text == BOOLEANS[row.form][True] if text else None
        else:
            yield row.spec_word, number(text) if row.form is Form.NUMBER else text


def read_records(root: Element, path: str, rows: Iterable[Attribute]) -> list[dict[str, Value]]:
    """Return what the rows say of each of the elements, without those that libvirt adds by itself."""
    elements = [element for element in root.iterfind(path) if not is_own(element)]
    return [
        {word: value for word, value in read_rows(element, rows) if value not in ("", None)} for element in elements
    ]


def number(text: str | None) -> int | None:
    """Return the number that the text is, None for another text."""
    return int(text) if text and text.isdecimal() else None


def kib(text: str | None) -> str:
    """Return libvirt's KiB as a size for a spec."""
    return exact_size(whole_number(text, 0) * 1024)
