"""Pairs of wanted devices and the devices of a document."""

from collections.abc import Callable, Sequence

from msgspec import Struct, field

from virtrbd.domainxml.own_devices import UNIQUE, OwnDevices
from virtrbd.domainxml.tree import Element, device_key, steps

# A domain has one of each of these: a stated one is merged into it, not added beside it, even if others made it.
_SINGLE = frozenset({"graphics", "video", "tpm", "watchdog", "vsock", "memballoon", "iommu", "nvram", "rng", "panic"})
# In a domain that is virtrbd's already, one beside those of others.
_BESIDE = frozenset({"rng", "panic"})


class DevicePairs(Struct):
    """The held device of each wanted device, where there is one, by the wanted device's step.

    `unclear`: the wanted devices that may be any of several, none of which has everything that is wanted.
    """

    held: dict[str, Element] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)


def pair_devices(
    devices: Element, wanted: Element, own: OwnDevices, holds: Callable[[Element, Element], bool], *, is_marked: bool
) -> DevicePairs:
    """Return the pairs: with virtrbd's own by key or content, with others' only where none of its own fits.

    `holds`: whether a held device has everything that is wanted. `is_marked`: virtrbd owns the document already,
    so devices that its mark does not record are others'.
    """
    matching = _Matching(devices, own, holds, is_marked=is_marked)
    wants = list(steps(wanted))
    for name, device in wants:
        if device_key(device):
            matching.by_key(name, device)
    open_ends = [(name, device) for name, device in wants if not device_key(device)]
    # Devices that need no change go first, so that no other device takes their place.
    open_ends = [(name, device) for name, device in open_ends if not matching.as_it_is(name, device)]
    for name, device in open_ends:
        matching.by_kind(name, device)
    return matching.pairs


class _Matching:
    def __init__(
        self, devices: Element, own: OwnDevices, holds: Callable[[Element, Element], bool], *, is_marked: bool
    ) -> None:
        self.pairs = DevicePairs()
        self._held = dict(steps(devices))
        self._mine = {name: device for name, device in own.found.items() if device.getparent() is devices}
        ours = set(self._mine.values())
        self._theirs = [device for device in self._held.values() if device not in ours]
        self._holds, self._is_marked = holds, is_marked

    def by_key(self, name: str, wanted: Element) -> None:
        """Pair a device that has a key: with virtrbd's own, else with the only one of the key."""
        if name in self._mine:
            self._take(name, self._mine[name])
        elif wanted.tag in UNIQUE:
            if name in self._held:
                self._take(name, self._held[name])
        else:
            alike = [each for each in self._theirs if device_key(each) == device_key(wanted)]
            same = next((each for each in alike if self._holds(each, wanted)), None)
            self._take_only(name, alike if same is None else [same])

    def as_it_is(self, name: str, wanted: Element) -> bool:
        """Pair a device without a key with one of virtrbd's own that has all of it already."""
        same = [each for each in self._own(wanted) if self._holds(each, wanted)]
        if same:
            self._take(name, same[0])
        return bool(same)

    def by_kind(self, name: str, wanted: Element) -> None:
        """Pair a device without a key with one of its kind."""
        own = self._own(wanted)
        others = [each for each in self._theirs if each.tag == wanted.tag]
        same = [each for each in others if self._holds(each, wanted)]
        # A device of the host can't be in a guest twice: an existing one is the wanted one.
        for found in (*own, *same) if wanted.tag in _SINGLE else (*same, *own):
            self._take(name, found)
            return
        if wanted.tag in _SINGLE:
            self._take_only(name, self._laid_over(others, wanted))

    def _laid_over(self, others: Sequence[Element], wanted: Element) -> Sequence[Element]:
        if not self._is_marked:
            return others[:1]
        if wanted.tag in _BESIDE:
            return ()
        return [each for each in others if wanted.tag != "graphics" or each.get("type") == wanted.get("type")]

    def _own(self, wanted: Element) -> list[Element]:
        return [each for each in self._mine.values() if each.tag == wanted.tag]

    def _take_only(self, name: str, found: Sequence[Element]) -> None:
        if len(found) > 1:
            self.pairs.unclear.append(name)
        for only in found if len(found) == 1 else ():
            self._take(name, only)

    def _take(self, name: str, found: Element) -> None:
        self.pairs.held[name] = found
        self._mine = {own: device for own, device in self._mine.items() if device is not found}
        self._theirs = [device for device in self._theirs if device is not found]
