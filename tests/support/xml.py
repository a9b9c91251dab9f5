"""What a test expects to be in a document."""

from typing import Protocol, TypeVar

from lxml import etree


class _Tree(Protocol):
    """An element of lxml's or of the standard library's."""

    def find(self: "_T", path: str, /) -> "_T | None": ...


_T = TypeVar("_T", bound=_Tree)


def at(root: _T, path: str) -> _T:
    """Return the first element at a path, which must be there."""
    found = root.find(path)
    assert found is not None, f"there is no {path}"
    return found


def parent_of(element: etree._Element) -> etree._Element:
    """Return what an element is in; it must not be the root."""
    parent = element.getparent()
    assert parent is not None
    return parent
