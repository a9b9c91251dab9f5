"""Ignored paths: virtrbd states nothing there, so it puts nothing back and removes nothing."""

from collections.abc import Sequence

from virtrbd.domainxml.document import Document, Rendered
from virtrbd.domainxml.tree import Element, has_attribute, remove, steps, to_text
from virtrbd.model.element_path import ElementPath


def is_ignored(path: ElementPath, ignored: Sequence[ElementPath]) -> bool:
    """Whether the path is one of these, or lies below one."""
    return any(path.is_within(mine) for mine in ignored)


def has_path(document: Document, path: ElementPath) -> bool:
    """Whether a document has an element or attribute at the path."""
    return _at(document.tree, path) is not None


def _at(root: Element, path: ElementPath) -> Element | None:
    """Return the element at the path, or the one that has the attribute; None where there is none."""
    element: Element | None = root
    for name in path.steps:
        element = dict(steps(element)).get(name) if element is not None else None
    is_there = element is not None and (not path.attribute or has_attribute(element, path.attribute))
    return element if is_there else None


def not_ignored(paths: Sequence[ElementPath], ignored: Sequence[ElementPath]) -> tuple[ElementPath, ...]:
    """Return the paths without those that are ignored."""
    return tuple(path for path in paths if not is_ignored(path, ignored))


def pruned(rendered: Rendered, ignored: Sequence[ElementPath]) -> Rendered:
    """Return a rendered document without what is ignored."""
    if not ignored:
        return rendered
    root = rendered.copy()
    prune(root, ignored)
    return Rendered(to_text(root))


def prune(root: Element, ignored: Sequence[ElementPath]) -> None:
    """Remove what is ignored from a tree."""
    for path in ignored:
        element = _at(root, path)
        if element is not None and path.attribute:
            del element.attrib[path.attribute]
        elif element is not None:
            remove(element)
