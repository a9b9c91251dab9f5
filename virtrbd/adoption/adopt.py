"""The spec for a definition, as a text, with `xml:` for what no field can express."""

from msgspec import Struct

from virtrbd.adoption.search import Search
from virtrbd.adoption.spec_values import spec_words
from virtrbd.adoption.trial import Circumstances, Trial, as_data, load_spec, try_spec
from virtrbd.adoption.unexpressed import Places, Unexpressed
from virtrbd.adoption.word import Words
from virtrbd.domainxml.monitors import with_own_monitors
from virtrbd.domainxml.own_devices import twins
from virtrbd.errors import SpecError
from virtrbd.model.live_actions import device_words
from virtrbd.model.record import replace
from virtrbd.specs.writing import spec_text


class Adopted(Struct, frozen=True, kw_only=True):
    """The spec of a domain, and what it states in its `xml:` or leaves to the definition.

    `refusals` say why such a spec is not possible.
    """

    spec: str = ""
    has_xml: bool = False
    unexpressed: tuple[Unexpressed, ...] = ()
    refusals: tuple[str, ...] = ()


def adopted(here: Circumstances) -> Adopted:
    """Return the spec by which a define changes nothing in the definition, and makes the same domain again."""
    if here.carries and (alike := twins(here.definition)):
        return Adopted(refusals=tuple(map(_unnamed, alike)))
    # Else the map would never reach a domain whose xml: holds old names of its monitors.
    here = replace(here, definition=with_own_monitors(here.definition, here.monitors, here.cluster.monitors))
    sizes = {ref: image.size_bytes for ref, image in here.images.items()}
    words = spec_words(here.definition, sizes, here.monitors)
    if words.refusals:
        return Adopted(refusals=words.refusals)
    search, best = _same_again(here, words) if here.carries else _searched(here, words)
    if best is None:
        return Adopted(refusals=search.refusals())
    unexpressed = tuple(replace(each, why=search.why.get(each.path, "")) for each in best.rest.unexpressed)
    if best.differences:
        changes = (f"{difference} can't be expressed" for difference in best.differences)
        return Adopted(unexpressed=unexpressed, refusals=tuple(changes))
    spec = _with_own_xml(best, here)
    try:
        # No trial had its XML in it: what that names belongs to the domain like what the fields name. Whether a spec
        # may have XML at all is the caller's question.
        load_spec(spec, replace(here, settings=replace(here.settings, trust_specs=True)))
    except SpecError as error:
        return Adopted(unexpressed=unexpressed, refusals=tuple(map(_invalid, error.problems)))
    text = spec_text(as_data(spec), () if here.carries else _comments(unexpressed))
    return Adopted(spec=text, has_xml=here.carries and bool(best.rest.xml), unexpressed=unexpressed)


def _with_own_xml(best: Trial, here: Circumstances) -> dict[str, object]:
    """Return the spec with its own XML; without any, where neither settings nor a profile would add XML."""
    if here.carries and best.rest.xml:
        return {**best.spec, "xml": best.rest.xml}
    bare = {word: value for word, value in best.spec.items() if word != "xml"}
    return bare if try_spec(bare, here).domain.xml is None else dict(best.spec)


def _searched(here: Circumstances, words: Words) -> tuple[Search, Trial | None]:
    search = Search(here, words)
    return search, search.run()


def _same_again(here: Circumstances, words: Words) -> tuple[Search, Trial | None]:
    """Return the spec that states the least of libvirt's choices and still makes the same guest, as libvirt says.

    Else it states all of them: to the guest a device at another address is another device.
    """
    is_like = here.made_of(here.definition)
    said = replace(here, places=Places.SAID)
    if is_like is None:
        return _searched(said, words)
    search, best = _searched(here, words)
    if best is None or here.made_of(best.document) == is_like:
        return search, best
    controllers = replace(here, places=Places.CONTROLLERS)
    if here.made_of(try_spec(best.spec, controllers).document) == is_like:
        # Now that they matter, a word may express them.
        search, best = _searched(controllers, words)
        if best is not None and here.made_of(best.document) == is_like:
            return search, best
    return _searched(said, words)


def _unnamed(key: str) -> str:
    """Return why `xml:` can't hold one of two devices of one key: it would be merged into the other."""
    return (
        f"it has several devices with the key {device_words(key)}, which a spec's xml: cannot distinguish; give each a "
        f"MAC, a name or a number of its own with virsh edit, or adopt with --no-xml, which leaves what the spec does "
        f"not say to libvirt's definition alone"
    )


def _invalid(problem: str) -> str:
    way_out = "change that with virsh edit, or adopt with --no-xml, which leaves it as it is"
    return f"its spec would be invalid: {problem}; {way_out}"


def _comments(unexpressed: tuple[Unexpressed, ...]) -> tuple[str, ...]:
    if not unexpressed:
        return ()
    holder = "What no field of a spec can express is only in libvirt's definition:"
    return (holder, *(f"  {each.path}" for each in unexpressed))
