"""A redefinition is an edit of what libvirt holds, never a replacement.

Defining the rendered XML itself would move every PCI device to a new slot, bump an old machine version to today's
and drop what others added. So the desired tree is merged into libvirt's own: what it states is set there, what only
the last tree stated is removed, and everything else stays.
"""

import copy
from collections.abc import Mapping

from msgspec import Struct, field

from virtrbd.domainxml.canonical import make_canonical
from virtrbd.domainxml.coupled import couple
from virtrbd.domainxml.document import Definition, Document, Edited, Rendered
from virtrbd.domainxml.ignoring import not_ignored, prune
from virtrbd.domainxml.managed_paths import read_stated
from virtrbd.domainxml.mark import drop_mark, set_mark
from virtrbd.domainxml.merge import Merger, boots_of_others
from virtrbd.domainxml.own_devices import UNIQUE, own_devices, place_of, places_to_be
from virtrbd.domainxml.parsing import shows_scars
from virtrbd.domainxml.tree import (
    Element,
    devices_of,
    remove,
    to_text,
)
from virtrbd.domainxml.type_changes import (
    drop_implied_watchdog,
    drop_orphans,
    switch_domain,
)
from virtrbd.errors import DocumentError
from virtrbd.model.difference import Difference
from virtrbd.model.element_path import ROOT, ElementPath
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace


class Edit(Struct, frozen=True, kw_only=True):
    """A definition edited: the document to define and every difference that was mended in it.

    `loss`: what libvirt holds in it and would not accept again, so that the edit would differ; empty for none.
    `unclear`: the devices, by step, that may be any of several, so that none of them was changed. `left`: the devices
    that are no longer stated and were not found where the mark saw them, while others of their key stayed. `taken`:
    devices that others gave to virtrbd's domain, and that were changed. `boots`: devices of others with a boot order,
    beside which libvirt takes no <os><boot>: what was to be there was left out. `held`: where the devices that are
    wanted, or were removed, were in the definition, by step. `places`: where the wanted devices are in it, for a mark.
    `forms`: what libvirt has in another form than it is stated, whether the mark knew it or not;
    `normal`: the desired document in the forms that it knew; `left_out`: the paths in it that libvirt left out.
    """

    document: Edited
    normal: Rendered
    differences: tuple[Difference, ...]
    loss: str = ""
    unclear: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    boots: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    places: tuple[tuple[str, str], ...] = ()
    forms: tuple[str, ...] = ()
    left_out: tuple[ElementPath, ...] = ()


def edit_definition(definition: Definition, desired: Rendered, mark: DomainMark | None, new_mark: DomainMark) -> Edit:
    """Return the definition with everything that `desired` states, and without what only `mark` says was stated.

    Raises DocumentError where the definition cannot be read, or is not a domain's.
    """
    # Comments that others wrote into metadata stay.
    held = definition.with_comments()
    edit = edit_tree(held.root, desired.copy(), mark, new_mark)
    loss = held.dropped or (held.flaw if held.flaw and shows_scars(_without_mark(held.root)) else "")
    return replace(edit, loss=loss)


def edit_tree(root: Element, wanted: Element, mark: DomainMark | None, new_mark: DomainMark) -> Edit:
    """Edit a tree so that it has all that `wanted` states, which is made canonical, and return what that took.

    Raises DocumentError where the root is not that of a domain.
    """
    # A default namespace would become that of everything that is merged in: lxml writes no xmlns="" against it.
    if root.tag != "domain":
        raise DocumentError(f"its root element is {root.tag}, not domain; libvirt does not write such a definition")
    make_canonical(wanted)
    ignored = new_mark.ignored
    prune(wanted, ignored)
    old = read_stated(not_ignored(mark.stated if mark else (), ignored))
    # Before another chipset removes their addresses.
    own = own_devices(root, old.child("devices").children, dict(mark.places if mark else ()))
    at = {device: place_of(device) for device in devices_of(root) if device.tag not in UNIQUE}
    merger = Merger(own, at, is_marked=mark is not None, known=frozenset(mark.forms if mark else ()))
    boots = tuple(boots_of_others(root, wanted, own, is_marked=mark is not None))
    for element in wanted.findall("os/boot") if boots else ():
        remove(element)
    drop_implied_watchdog(root, wanted, own.found.values())
    switch_domain(root, wanted, is_uefi_ours="firmware" in old.child("os").attributes)
    merger.merge(root, wanted, old, ROOT)
    drop_orphans(root)
    coupled = tuple(couple(root, wanted, ignored, merger.differences))
    places = places_to_be(root, merger.devices)
    set_mark(root, replace(new_mark, places=places))
    return Edit(
        document=Edited(to_text(root)),
        differences=(*merger.differences, *coupled),
        unclear=tuple(sorted(merger.unclear)),
        left=tuple(sorted(merger.left)),
        taken=tuple(sorted(merger.taken)),
        boots=boots,
        held=merger.held,
        places=places,
        forms=tuple(sorted(merger.forms)),
        normal=Rendered(to_text(wanted)),
        # The last first: `rng#2` becomes `rng` when the one before it is removed.
        left_out=tuple(reversed(merger.left_out)),
    )


def _without_mark(root: Element) -> str:
    """Return the text without the mark, which quotes what others wrote."""
    bare = copy.deepcopy(root)
    drop_mark(bare)
    return to_text(bare)


def with_mark(document: Document, mark: DomainMark) -> Edited:
    """Return a document to define with the mark, instead of an older mark."""
    root = document.with_comments().root
    set_mark(root, mark)
    return Edited(to_text(root))
