"""The spec for a definition, and the template for what no spec has a word for, as texts."""

from dataclasses import dataclass, replace

from virtrbd.adoption.carrier import template_text
from virtrbd.adoption.search import Search
from virtrbd.adoption.trial import Circumstances, as_data
from virtrbd.domainxml.leftover import Unexpressed
from virtrbd.domainxml.own_devices import twins
from virtrbd.domainxml.words import spec_words
from virtrbd.model.live_actions import device_words
from virtrbd.spec.writing import spec_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The files of a domain; no template where the spec says it all. `refusals` say why there can be no such spec."""

    spec: str = ""
    template: str = ""
    unexpressed: tuple[Unexpressed, ...] = ()
    refusals: tuple[str, ...] = ()


def adopted(here: Circumstances, template: str) -> Adopted:
    """Return the spec by which a define changes nothing in the definition; `template` is the name for its template."""
    if here.carries and (alike := twins(here.definition)):
        return Adopted(refusals=tuple(map(_unnamed, alike)))
    sizes = {ref: image.size_bytes for ref, image in here.images.items()}
    words = spec_words(here.definition, sizes, here.monitors)
    if words.refusals:
        return Adopted(refusals=words.refusals)
    search = Search(here, words)
    best = search.run()
    if best is None:
        return Adopted(refusals=search.refusals())
    unexpressed = tuple(replace(each, why=search.why.get(each.path, "")) for each in best.rest.unexpressed)
    if best.differences:
        changes = (f"{difference} can't be expressed" for difference in best.differences)
        return Adopted(unexpressed=unexpressed, refusals=tuple(changes))
    is_carried = here.carries and bool(best.rest.weight)
    spec = {**best.spec, "template": template} if is_carried else best.spec
    return Adopted(
        spec=spec_text(as_data(spec), _comments(unexpressed, template if is_carried else "")),
        template=template_text(best.rest, best.domain.template) if is_carried else "",
        unexpressed=unexpressed,
    )


def _unnamed(key: str) -> str:
    """Return why no template carries one of two devices of one key: it would be laid over the other."""
    return (
        f"it has several devices that go by {device_words(key)}, which no template can tell apart; give each a MAC, a "
        f"name or a number of its own with virsh edit, or adopt with --no-template, which leaves what the spec does "
        f"not say to libvirt's definition alone"
    )


def _comments(unexpressed: tuple[Unexpressed, ...], template: str) -> tuple[str, ...]:
    if not unexpressed:
        return ()
    holder = template or "libvirt's definition alone"
    return (f"What a spec has no word for is in {holder}:", *(f"  {each.path}" for each in unexpressed))
