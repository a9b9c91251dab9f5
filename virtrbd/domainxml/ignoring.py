"""Ignored paths: virtrbd states nothing there, so it puts nothing back and removes nothing."""

from collections.abc import Sequence

from virtrbd.domainxml.document import Document, Rendered
from virtrbd.domainxml.tree import Element, has_attribute, remove, steps, to_text


def is_ignored(path: str, ignored: Sequence[str]) -> bool:
    """Whether the path is one of these, or lies below one."""
    bare = path.strip("/")
    return any(bare == mine or bare.startswith(f"{mine}/") for mine in ignored)


def has_path(document: Document, path: str) -> bool:
    """Whether a document has an element or attribute at the path."""
    element = document.tree
    *names, last = path.split("/")
    for name in names if last.startswith("@") else (*names, last):
        child = dict(steps(element)).get(name)
        if child is None:
            return False
        element = child
    return not last.startswith("@") or has_attribute(element, last[1:])


def not_ignored(paths: Sequence[str], ignored: Sequence[str]) -> tuple[str, ...]:
    """Return the paths without those that are ignored."""
    return tuple(path for path in paths if not is_ignored(path, ignored))


def pruned(rendered: Rendered, ignored: Sequence[str]) -> Rendered:
    """Return a rendered document without what is ignored."""
    if not ignored:
        return rendered
    root = rendered.copy()
    prune(root, ignored)
    return Rendered(to_text(root))


def prune(root: Element, ignored: Sequence[str]) -> None:
    """Remove what is ignored from a tree."""
    for path in ignored:
        _prune(root, path.split("/"))


def _prune(element: Element, names: Sequence[str]) -> None:
    first, *rest = names
    if first.startswith("@"):
        if has_attribute(element, first[1:]):
            del element.attrib[first[1:]]
        return
    child = dict(steps(element)).get(first)
    if child is None:
        return
    if rest:
        _prune(child, rest)
    else:
        remove(child)
