"""What others changed in a definition: found against the last one that virtrbd saw, element by element."""

import re
from collections.abc import Collection, Iterator, Sequence

from virtrbd.domainxml.ignoring import is_ignored
from virtrbd.domainxml.tree import MARK_TAG, Element, parse_tree, steps
from virtrbd.model.domain import ForeignChange

# Of a definition as a whole, where the last one is lost: that something changed is known, what it was is not.
UNKNOWN = ForeignChange(path="/", was="what virtrbd defined", found="something else; the last definition is lost")

# Of an element that says nothing but that it is there.
_PRESENT = "present"
# What no libvirt adds by itself.
_THEIRS = re.compile(r"/devices/(disk|interface|hostdev|filesystem|redirdev|shmem|smartcard)(:[^/]*|#\d+)?")
# libvirt's own: it gives them to whatever has none.
_LIBVIRTS_OWN = frozenset({"address", "alias"})


def foreign_changes(
    last: str | None,
    definition: str,
    edited: str,
    known: Sequence[ForeignChange],
    *,
    stated: Collection[str],
    ignored: Sequence[str],
    is_upgraded: bool = False,
) -> tuple[ForeignChange, ...]:
    """Return what others changed: what is known of earlier and what came since `last`, as far as it stays.

    `edited` is the definition as it will be. What the spec states (`stated`, by path) is put back, so it is none of
    this, nor is what goes with it. With `last` None only that something changed is known. `is_upgraded`: `last` is
    another libvirt's, and what the new one adds by itself is nobody's change.
    """
    news = (UNKNOWN,) if last is None else tuple(_changes(parse_tree(last), parse_tree(definition), ""))
    if is_upgraded:
        news = tuple(change for change in news if change.was or _THEIRS.fullmatch(change.path))
    found = {change.path: change for change in known}
    for change in news:
        earlier = found.get(change.path)
        was = earlier.was if earlier else change.was
        found[change.path] = ForeignChange(path=change.path, was=was, found=change.found)
    root = parse_tree(edited)
    return tuple(
        change
        for path, change in sorted(found.items())
        if change.was != change.found
        and not is_ignored(path, ignored)
        and not _is_stated(path, stated)
        and _holds(root, change)
    )


def _holds(root: Element, change: ForeignChange) -> bool:
    """Whether a definition has what a change made of it. Of an unknown one nobody can tell that it went."""
    if change == UNKNOWN:
        return True
    path, _, attribute = change.path.partition("/@")
    element: Element | None = root
    for name in path.strip("/").split("/"):
        element = dict(_children(element)).get(name) if element is not None else None
    if element is None:
        return not change.found
    if attribute:
        return element.get(attribute, "") == change.found
    if not change.found:
        return False
    # What was added is there, whatever became of its parts: those are changes of their own.
    return not change.was or (_text(element) or _PRESENT) == change.found


def _is_stated(path: str, stated: Collection[str]) -> bool:
    """Whether the spec states the path itself: then it is ours, whatever it holds."""
    return path.strip("/") in stated


def _changes(before: Element, after: Element, path: str) -> Iterator[ForeignChange]:
    """Yield the changes from one tree to the other; what came or went whole is one."""
    yield from _values(before, after, path)
    old, new = dict(_children(before)), dict(_children(after))
    for name in sorted(old.keys() | new.keys()):
        here = f"{path}/{name}"
        if name not in new:
            yield ForeignChange(path=here, was=brief(old[name]), found="")
        elif name not in old:
            if not _is_implied(new[name]):
                yield ForeignChange(path=here, was="", found=brief(new[name]))
        else:
            yield from _changes(old[name], new[name], here)


def _values(before: Element, after: Element, path: str) -> Iterator[ForeignChange]:
    old_text, new_text = _text(before), _text(after)
    if old_text != new_text:
        # An empty one is there all the same: taken for absent, what was added would be told of no more.
        yield ForeignChange(path=path, was=old_text or _PRESENT, found=new_text or _PRESENT)
    for name in sorted({str(key) for key in (*before.attrib, *after.attrib)}):
        was, found = before.get(name, ""), after.get(name, "")
        if was != found:
            yield ForeignChange(path=f"{path}/@{name}", was=was, found=found)


def _children(element: Element) -> Iterator[tuple[str, Element]]:
    # In a <source> it is which device of the host is meant.
    skipped = frozenset() if element.tag == "source" else _LIBVIRTS_OWN
    return ((name, child) for name, child in steps(element) if child.tag != MARK_TAG and child.tag not in skipped)


def _is_implied(device: Element) -> bool:
    """Whether libvirt added it by itself: a bus for a device that somebody added, which is told of anyway."""
    return device.tag == "controller" and device.find("driver") is None


def brief(element: Element) -> str:
    """Return an element in a few words."""
    return _text(element) or " ".join(f"{key!s}={value!s}" for key, value in element.attrib.items()) or _PRESENT


def _text(element: Element) -> str:
    return (element.text or "").strip()
