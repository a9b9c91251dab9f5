"""Targets that take domain XML: any virsh user writes it, a running guest's own included."""

from __future__ import annotations

from functools import cache

from lxml import etree
from support.strategies import CLUSTER, HOST_UUID, MIB, marked

from fuzzlib.mutate import mutate_xml
from fuzzlib.target import Target, require, text_of
from fuzzlib.world import ODD, odd_domain, plan_in, with_domain, world
from virtrbd.adoption.adopt import adopted
from virtrbd.adoption.disk_values import images_of
from virtrbd.adoption.trial import Circumstances
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, Edited, LiveDocument, Rendered
from virtrbd.domainxml.drift import foreign_changes
from virtrbd.domainxml.edit import edit_definition
from virtrbd.domainxml.ignoring import has_path, pruned
from virtrbd.domainxml.live import current_memory, current_vcpus, live_edit, titles
from virtrbd.domainxml.managed_paths import every_path, stated_paths
from virtrbd.domainxml.mark import mark_text, set_mark
from virtrbd.domainxml.own_devices import own_device
from virtrbd.domainxml.parse import parse_console
from virtrbd.domainxml.passwords import with_passwords
from virtrbd.domainxml.tree import MARK_TAG, to_text
from virtrbd.errors import VirtrbdError
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import Image
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.mark import DomainMark
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings

WORDS = (
    "<metadata>", "<disk type='network' device='disk'>", "<source protocol='rbd' name='", "<snapshot name='",
    "<target dev='vda' bus='virtio'/>", "<interface type='bridge'>", "<controller type='", "<qemu:commandline>",
    " xmlns='urn:virtrbd:domain:1'", "&#27;", "&#x202e;", "&lt;", "<vcpu current='", "<iotune>", "<auth username='",
)  # fmt: skip
STRANGER = "stranger"
STRANGERS_UUID = "ffffffff-0000-0000-0000-00000000000e"


def try_definition(data: bytes) -> None:
    """A definition of virtrbd's own domain, as a virsh user left it, and every reader of definitions."""
    text = text_of(data)
    plan_in(
        with_domain(replace(odd_domain(), definition=Definition(text), live=None, state=PowerState.SHUT_OFF)), odd=text
    )
    last = {ODD.uuid: LastDefinition(xml=text, hypervisor="h")}
    plan_in(replace(world(), last_definitions=last))
    _read(text)


def try_live(data: bytes) -> None:
    """The live XML of a domain that runs."""
    text = text_of(data)
    found = replace(odd_domain(), live=LiveDocument(text), state=PowerState.RUNNING)
    plan_in(with_domain(found), odd=text)
    with_passwords(Edited(found.definition.text), Definition(text))
    mark = found.definition.mark
    assert mark is not None
    live = LiveDocument(text)
    live_edit(live, found.definition, Rendered(found.definition.text), mark)
    current_memory(live.tree)
    current_vcpus(live.tree)
    titles(live)
    parse_console(live)
    own_device(live, "disk:vda")


def try_stranger(data: bytes) -> None:
    """The definition and live XML of a domain that no spec names."""
    text = text_of(data)
    found = DefinedDomain(
        name=STRANGER,
        uuid=STRANGERS_UUID,
        state=PowerState.RUNNING,
        definition=Definition(text),
        live=LiveDocument(text),
        persistent=True,
    )
    if "vms/web." not in text:
        plan_in(replace(world(), domains=(*world().domains, found)), strangers=[STRANGER], odd=text)
    _read(text)


def try_mark(data: bytes) -> None:
    """What is in a domain's <metadata>, virtrbd's own element among it."""
    root = odd_domain().definition.copy()
    held = root.find("metadata")
    assert held is not None
    root.replace(held, etree.fromstring(b"<metadata>" + data + b"</metadata>"))
    text = to_text(root)
    mark = Definition(text).mark
    if mark is not None:
        mark_text(mark)
        set_mark(root, mark)
        again = Definition(to_text(root)).mark
        require(again == mark, f"the mark changes when it is written again: {mark} {again}")
    found = odd_domain()
    plan_in(with_domain(replace(found, definition=Definition(text), live=LiveDocument(text))), odd=text)
    plan_in(with_domain(replace(found, definition=Definition(text), live=None, state=PowerState.SHUT_OFF)), odd=text)


def try_hold(data: bytes) -> None:
    """A path that is ignored."""
    path = ElementPath(text_of(data))
    has_path(odd_domain().definition, path)
    pruned(Rendered(odd_domain().definition.text), (path,))
    plan_in(with_domain(marked(odd_domain(), ignored=(path,))))


def try_adopt(data: bytes) -> None:
    """A definition for which a spec is sought."""
    text = text_of(data)
    images = {
        ref: Image(ref=ref, image_id="i", size_bytes=64 * MIB, created_at=0) for ref in images_of(Definition(text))
    }
    found = adopted(
        Circumstances(
            definition=Definition(text),
            autostart=False,
            settings=Settings(host="kvm-1"),
            file="it.yaml",
            profiles=None,
            capabilities=capabilities_by_hand("libvirt=9.0,qemu=7.2", "pc" if "i440fx" in text else "q35"),
            cluster=CLUSTER,
            monitors=frozenset(monitor.address for monitor in CLUSTER.monitors),
            secret_uuid="11111111-1111-1111-1111-111111111111",
            images=images,
        )
    )
    require(bool(found.spec) != bool(found.refusals), "neither a spec nor a reason why there is none")
    found.spec.encode()


@cache
def _held() -> Definition:
    return odd_domain().definition


def _read(text: str) -> None:
    """Everything that reads a definition by itself. Raises ValueError for what is not XML, as it is documented."""
    found = Definition(text)
    require(found.digest == Definition(text).digest, "two digests of one definition")
    mark = found.mark
    _ = (found.monitors, found.disks, found.memory_bytes, found.vcpus, found.machine, found.hypervisor_type)
    images_of(found)
    for read in (stated_paths, every_path):
        read(Rendered(text))
    new_mark = mark or DomainMark(uuid=ODD.uuid, host=HOST_UUID)
    edit = edit_definition(found, Rendered(_held().text), mark, new_mark)
    foreign_changes(_held(), found, edit.document, (), stated=(), ignored=())
    require(edit.document.tree.find(f"metadata/{MARK_TAG}") is not None, "an edit without virtrbd's mark")


# What a stream of bytes is to a pure reader that documents ValueError.
_READERS = (VirtrbdError, ValueError)

TARGETS = (
    Target(
        name="definition",
        about="the definition of a domain of virtrbd's: read, digest, drift, edit, plan",
        run=try_definition,
        expected=_READERS,
        words=WORDS,
        mutate=mutate_xml,
        largest=16384,
    ),
    Target(
        name="live",
        about="the live XML of a domain that runs",
        seeds=("corpus/definition",),
        run=try_live,
        expected=_READERS,
        words=WORDS,
        mutate=mutate_xml,
        largest=16384,
    ),
    Target(
        name="stranger",
        about="the XML of a domain that no spec names",
        run=try_stranger,
        expected=_READERS,
        words=WORDS,
        mutate=mutate_xml,
        largest=16384,
    ),
    Target(
        name="mark",
        about="the content of a domain's <metadata>",
        run=try_mark,
        expected=(VirtrbdError, etree.XMLSyntaxError),
        words=(
            "<v:domain xmlns:v='urn:virtrbd:domain:1' uuid='",
            "<v:states of='",
            " parts='",
            " at='",
            "<v:hold until='",
            *WORDS,
        ),
    ),
    Target(
        name="ignored",
        about="a path that an operator ignores",
        run=try_hold,
        expected=_READERS,
        words=("devices/disk:vda", "/@", "metadata/", "%2F", "#2"),
    ),
    Target(
        name="adopt",
        about="a definition that adopt finds a spec for",
        seeds=("corpus/adopt", "data/adopt"),
        run=try_adopt,
        expected=_READERS,
        words=WORDS,
        mutate=mutate_xml,
        largest=16384,
    ),
)
