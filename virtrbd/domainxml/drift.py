"""Changes by others in a definition, compared with the last one that virtrbd saw, element by element."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache

from virtrbd.domainxml.document import Definition, Edited, Rendered
from virtrbd.domainxml.ignoring import is_ignored
from virtrbd.domainxml.libvirt_defaults import is_chosen_profile
from virtrbd.domainxml.own_devices import own_first
from virtrbd.domainxml.passwords import shown
from virtrbd.domainxml.tree import MARK_TAG, Element, device_steps, key_of, number_of, steps
from virtrbd.model.digest import digest_of
from virtrbd.model.element_path import ROOT, ElementPath
from virtrbd.model.mark import ForeignChange
from virtrbd.model.record import replace

# For the whole definition, where the last one is lost: it is known that something changed, but not what.
UNKNOWN = ForeignChange(path=ROOT, was="what virtrbd defined", found="something else; the last definition is lost")

# Where others changed more than a mark may hold: libvirt sends no XML larger than 4 MiB.
TOO_MUCH = ForeignChange(
    path=ROOT, was=UNKNOWN.was, found="more than is kept of it; look with virsh dumpxml --inactive"
)
_MOST_CHANGES = 200
_LONGEST_PATH = 500
_LONGEST_TEXT = 200

# For an element without content.
_PRESENT = "present"
# Devices that libvirt never adds by itself.
_THEIRS = frozenset({"disk", "interface", "hostdev", "filesystem", "redirdev", "shmem", "smartcard"})
# libvirt's own: it adds them where they are missing.
_LIBVIRTS_OWN = frozenset({"address", "alias"})


def foreign_changes(
    last: Definition | Rendered | None,
    definition: Definition,
    edited: Edited,
    known: Sequence[ForeignChange],
    *,
    stated: Collection[ElementPath],
    ignored: Sequence[ElementPath],
    is_upgraded: bool = False,
) -> tuple[ForeignChange, ...]:
    """Return the changes by others: the known earlier ones and those since `last`, as far as they stay.

    `edited` is the definition as it will be. What the spec states (`stated`, by path) is put back, so it is not
    among them, nor is what belongs to it. With `last` None only that something changed is known. `is_upgraded`: `last`
    is another libvirt's, and what the new libvirt adds by itself is not a change.
    """
    before = own_first(definition)
    news = (UNKNOWN,) if last is None else tuple(_changes(own_first(last).root, before.root, ""))
    if is_upgraded:
        news = tuple(change for change in news if change.was or _is_theirs(change.path))
    found = {change.path: change for change in known}
    for change in news:
        earlier = found.get(change.path)
        was = earlier.was if earlier else change.was
        found[change.path] = ForeignChange(path=change.path, was=was, found=change.found)
    if not found:
        return ()
    after = own_first(edited)
    held = {name for name, _ in device_steps(before.root)}
    paths = {path: _moved(path, before.own, after.own) if path.device in held else path for path in found}
    found = {now: replace(found[path], path=now) for path, now in paths.items() if now}
    # Many changes ask for the same children.
    children = cache(lambda element: dict(_children(element)))
    return _bounded(
        change
        for path, change in sorted(found.items())
        if change.was != change.found
        and not is_ignored(path, ignored)
        # What the spec states is virtrbd's, with any content.
        and path not in stated
        and _holds(after.root, change, children)
    )


def _is_theirs(path: ElementPath) -> bool:
    return path.is_device and path.kind in _THEIRS


def _moved(path: ElementPath, before: Counter[str], after: Counter[str]) -> ElementPath | None:
    """Return a path into a device before which there are now fewer or more of virtrbd's; None for a removed device."""
    key, number = key_of(path.device), number_of(path.device)
    if number > before[key]:
        number += after[key] - before[key]
    elif number > after[key]:
        return None
    return path.into(key if number == 1 else f"{key}#{number}")


def _bounded(changes: Iterable[ForeignChange]) -> tuple[ForeignChange, ...]:
    """Return the changes as far as a mark may hold them, and that there were more."""
    general: list[ForeignChange] = []
    kept: list[ForeignChange] = []
    for change in changes:
        if change.path == TOO_MUCH.path:
            general = [change]
        elif len(kept) == _MOST_CHANGES or len(str(change.path)) > _LONGEST_PATH:
            return TOO_MUCH, *kept
        else:
            kept.append(change)
    return *general, *kept


def _holds(root: Element, change: ForeignChange, children: Callable[[Element], Mapping[str, Element]]) -> bool:
    """Whether a definition has what a change made of it. It is unknown whether an unknown change went."""
    if change.path == UNKNOWN.path:
        return True
    element: Element | None = root
    for name in change.path.steps:
        element = children(element).get(name) if element is not None else None
    if element is None:
        return not change.found
    if change.path.attribute:
        return shortened(_attributes(element).get(change.path.attribute, "")) == shortened(change.found)
    if not change.found:
        return False
    # An added element is still there when its parts changed: those are separate changes.
    return not change.was or (_text(element) or _PRESENT) == shortened(change.found)


def _changes(before: Element, after: Element, path: str) -> Iterator[ForeignChange]:
    """Yield the changes from one tree to the other; what came or went whole is one.

    `path` is a text, as most elements have not changed: an ElementPath of each takes half of the time.
    """
    yield from _values(before, after, path)
    old, new = dict(_children(before)), dict(_children(after))
    for name in sorted(old.keys() | new.keys()):
        here = f"{path}/{name}"
        if name not in new:
            yield ForeignChange(path=ElementPath(here), was=brief_element(old[name]), found="")
        elif name not in old:
            if not _is_implied(new[name]):
                yield ForeignChange(path=ElementPath(here), was="", found=brief_element(new[name]))
        else:
            yield from _changes(old[name], new[name], here)


def _values(before: Element, after: Element, path: str) -> Iterator[ForeignChange]:
    old_text, new_text = _text(before), _text(after)
    if old_text != new_text and path:
        # An empty element exists: if it counted as absent, the addition would no longer be reported.
        yield ForeignChange(path=ElementPath(path), was=old_text or _PRESENT, found=new_text or _PRESENT)
    old, new = _attributes(before), _attributes(after)
    for name in sorted(old.keys() | new.keys()):
        was, found = old.get(name, ""), new.get(name, "")
        if was != found:
            yield ForeignChange(path=ElementPath(f"{path}/@{name}"), was=shortened(was), found=shortened(found))


def _attributes(element: Element) -> dict[str, str]:
    return {str(name): shown(str(name), str(value)) for name, value in element.attrib.items()}


def _children(element: Element) -> Iterator[tuple[str, Element]]:
    # In a <source> it is which device of the host is meant.
    skipped = frozenset() if element.tag == "source" else _LIBVIRTS_OWN
    return ((name, child) for name, child in steps(element) if child.tag != MARK_TAG and child.tag not in skipped)


def _is_implied(element: Element) -> bool:
    """Whether libvirt added it by itself: a bus for a device that others added, which is reported anyway, and the
    profile that swtpm took at a TPM's first start.
    """
    return (element.tag == "controller" and element.find("driver") is None) or is_chosen_profile(element)


def brief_element(element: Element) -> str:
    """Return a short text for an element."""
    return (
        _text(element)
        or shortened(" ".join(f"{key}={value}" for key, value in _attributes(element).items()))
        or _PRESENT
    )


def _text(element: Element) -> str:
    return shortened((element.text or "").strip())


def shortened(text: str) -> str:
    """Return a text of others for a mark: a long text is cut, with a digest of the whole."""
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[: _LONGEST_TEXT // 2]}… ({len(text)} characters, digest {digest_of(text)})"
