"""The merge of defaults and profiles into a spec.

The rules: the nearest wins (spec, profiles from the last `uses` to the first, defaults of the spec's
folder, defaults of the settings); mappings merge key by key; lists and values replace; null takes a value back to
virtrbd's own default; `disk`, `cdrom` and `interface` of a fragment apply to every item of the spec's lists.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from virtrbd.specs.document import Path, Place, YamlDocument
from virtrbd.specs.limits import Budget

# Mappings of a fragment that apply to every item of a list.
ITEMS = {"disk": "disks", "cdrom": "cdroms", "interface": "interfaces"}


class Fragment(Struct, frozen=True, kw_only=True):
    """A part of a spec, to be merged under others; `layer` is its name for messages: `profile small`."""

    layer: str
    document: YamlDocument


class _Placed(Struct, frozen=True, kw_only=True):
    """A value with its place; the members of lists and mappings have their own places."""

    value: object
    place: Place


def lay_under(spec: YamlDocument, fragments: Sequence[Fragment], budget: Budget) -> YamlDocument:
    """Return the spec completed by the fragments; the weakest fragment comes first.

    The merged values are counted on the budget. Raises TooMuchError.
    """
    base = _Placed(value={}, place=Place(file=spec.file, line=1))
    for fragment in fragments:
        base = _lay(base, _placed(fragment.document, fragment.layer, budget), budget)
    members = _mapping(base)
    items = {ITEMS[key]: members[key] for key in ITEMS if key in members}
    merged = _lay(_without(base, ITEMS), _placed(spec, "", budget), budget)
    merged = _with_items(merged, items, budget)
    places = dict(_places(merged, (), budget))
    return YamlDocument(
        file=spec.file,
        data=_plain(merged),
        lines={path: place.line for path, place in places.items() if not place.layer},
        elsewhere={path: place for path, place in places.items() if place.layer},
    )


def _placed(document: YamlDocument, layer: str, budget: Budget) -> _Placed:
    def build(value: object, path: Path) -> _Placed:
        budget.spend(1)
        place = Place(file=document.file, line=document.place(path).line, layer=layer)
        if isinstance(value, dict):
            return _Placed(value={key: build(member, (*path, key)) for key, member in value.items()}, place=place)
        if isinstance(value, list):
            return _Placed(value=[build(member, (*path, index)) for index, member in enumerate(value)], place=place)
        return _Placed(value=value, place=place)

    return build(document.data, ())


def _lay(under: _Placed, over: _Placed, budget: Budget) -> _Placed:
    if not (isinstance(under.value, dict) and isinstance(over.value, dict)):
        return over
    budget.spend(len(under.value))
    merged = dict(under.value)
    for key, member in over.value.items():
        merged[key] = _lay(merged[key], member, budget) if key in merged else member
    return _Placed(value=merged, place=over.place)


def _with_items(spec: _Placed, defaults: Mapping[str, _Placed], budget: Budget) -> _Placed:
    merged = dict(_mapping(spec))
    for key, default in defaults.items():
        held = merged.get(key)
        if held is not None and isinstance(held.value, list):
            merged[key] = _Placed(value=[_lay(default, item, budget) for item in held.value], place=held.place)
    return _Placed(value=merged, place=spec.place) if isinstance(spec.value, dict) else spec


def _without(placed: _Placed, keys: Mapping[str, str]) -> _Placed:
    return _Placed(value={key: m for key, m in _mapping(placed).items() if key not in keys}, place=placed.place)


def _mapping(placed: _Placed) -> dict[str, _Placed]:
    return placed.value if isinstance(placed.value, dict) else {}


def _plain(placed: _Placed) -> object:
    if isinstance(placed.value, dict):
        return {key: _plain(member) for key, member in placed.value.items()}
    if isinstance(placed.value, list):
        return [_plain(member) for member in placed.value]
    return placed.value


def _places(placed: _Placed, path: Path, budget: Budget) -> Iterator[tuple[Path, Place]]:
    budget.spend(1)
    yield path, placed.place
    if isinstance(placed.value, dict):
        for key, member in placed.value.items():
            yield from _places(member, (*path, key), budget)
    elif isinstance(placed.value, list):
        for index, member in enumerate(placed.value):
            yield from _places(member, (*path, index), budget)
