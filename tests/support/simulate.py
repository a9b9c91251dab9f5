"""A pure model of a host: what an action makes of the world. What a kill -9 leaves is in interrupted.py.

The only double of the test suite; the live tests hold it against the lab.
"""

import copy
import uuid
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from lxml import etree
from support.xml import at

from virtrbd.domainxml.canonical import make_canonical
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, LiveDocument
from virtrbd.domainxml.live import with_link
from virtrbd.domainxml.mark import set_mark
from virtrbd.domainxml.own_devices import live_mark, own_device, place_of, settled
from virtrbd.domainxml.tree import devices_of, key_of, parse_tree, steps, to_text
from virtrbd.model.actions import Action
from virtrbd.model.cluster import Secret
from virtrbd.model.domain_actions import (
    DefineDomain,
    DefineSecret,
    DropManagedSave,
    RenewMark,
    SetAutostart,
    ShutDownDomain,
    StartDomain,
    UndefineDomain,
)
from virtrbd.model.image import Image, ImageMark, ImageRef, LastRun
from virtrbd.model.image_actions import (
    CloneImage,
    CreateImage,
    DropIntent,
    FinishRollback,
    GrowImage,
    ImportImage,
    MarkImage,
    NoteHost,
    RemoveHalfImage,
    WriteSeed,
)
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.live_actions import (
    AttachDevice,
    ChangeMedia,
    DetachDevice,
    LimitDisk,
    LiveAction,
    MarkLive,
    SetLink,
    SetMemory,
    SetTitle,
    SetVcpus,
)
from virtrbd.model.mark import DomainMark
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.model.removal_actions import FlattenClone, RemoveImage, RemoveSnapshot, TrashImage, UnprotectSnapshot
from virtrbd.model.seed import SEED_BYTES
from virtrbd.planning.world import World

NOW = 1_700_000_000.0
MACHINES = {"pc": "pc-i440fx-7.2", "q35": "pc-q35-7.2"}


def simulate(action: Action, actual: World) -> World:
    """Return the world after the action."""
    match action:
        case (
            CreateImage() | CloneImage() | ImportImage() | WriteSeed() | RemoveHalfImage() | MarkImage() | DropIntent()
            | GrowImage() | FinishRollback() | NoteHost() | TrashImage() | RemoveImage() | FlattenClone()
        ):  # fmt: skip
            return _of_images(action, actual)
        case UnprotectSnapshot() | RemoveSnapshot():
            # A world has no snapshots; removed.py models an image with its own.
            return actual
        case DefineSecret():
            return with_secret(actual, Secret(uuid=action.uuid, usage=action.usage, is_set=True))
        case DefineDomain():
            return _kept(_defined(action, actual), action.domain_uuid)
        case RenewMark():
            return _kept(changed(actual, action.domain_uuid, lambda found: _renewed(found, action)), action.domain_uuid)
        case SetAutostart():
            return changed(actual, action.domain_uuid, lambda found: replace(found, autostart=action.autostart))
        case UndefineDomain():
            freed = released(actual, action.domain_uuid)
            return replace(freed, domains=tuple(d for d in actual.domains if d.uuid != action.domain_uuid))
        case StartDomain():
            return _started(actual, action.domain_uuid)
        case ShutDownDomain():
            return _shut_down(actual, action.domain_uuid)
        case DropManagedSave():
            return changed(actual, action.domain_uuid, lambda found: replace(found, state=PowerState.SHUT_OFF))
        case LiveAction():
            return _of_guest(action, actual)
        case _:
            assert_never(action)


def _of_images(action: Action, actual: World) -> World:
    match action:
        case CreateImage() | CloneImage() | ImportImage():
            return made_of(action, actual)
        case RemoveHalfImage():
            half_made = {ref: image_id for ref, image_id in actual.half_made.items() if ref != action.ref}
            return _without_intent(with_image(replace(actual, half_made=half_made), action.ref, None), action.ref)
        case MarkImage():
            return marked_image(actual, action.ref, action.domain_uuid)
        case DropIntent():
            return _without_intent(actual, action.ref)
        case GrowImage():
            assert not action.live or _runs_with(action, actual), "a guest is told of disks that it has"
            return with_image(actual, action.ref, replace(image_at(actual, action.ref), size_bytes=action.to_bytes))
        case FinishRollback():
            rollbacks = {ref: snapshot for ref, snapshot in actual.rollbacks.items() if ref != action.ref.image}
            whole = replace(image_at(actual, action.ref.image), state=None)
            return with_image(replace(actual, rollbacks=rollbacks), action.ref.image, whole)
        case NoteHost():
            return noted(actual, action.refs, actual.host_uuid if action.runs else "")
        case TrashImage() | RemoveImage():
            return _without_intent(with_image(actual, action.ref, None), action.ref)
        case FlattenClone():
            clone = actual.images.get(action.child.ref)
            if clone is None or clone.image_id != action.child.image_id:
                return actual
            return with_image(actual, action.child.ref, replace(clone, parent=None))
        case WriteSeed():
            there = made_of(creation(action), actual) if action.is_new else actual
            return with_image(there, action.ref, replace(seed_image(there, action), seed=action.digest))
        case _:
            raise AssertionError(action)


def _of_guest(action: LiveAction, actual: World) -> World:
    after = changed(actual, action.domain_uuid, lambda found: replace(found, live=changed_live(action, found)))
    match action:
        case AttachDevice(image=ImageRef() as image):
            return noted(after, [image], actual.host_uuid)
        case DetachDevice(image=ImageRef() as image):
            return noted(after, [image], "")
        case _:
            return after


def _runs_with(action: GrowImage, actual: World) -> bool:
    [found] = [domain for domain in actual.domains if domain.uuid == action.domain_uuid]
    held = found.live.disks if found.live else ()
    return (action.target, action.ref) in [(disk.target, disk.image) for disk in held]


def _started(actual: World, uuid: str) -> World:
    started = changed(
        actual, uuid, lambda d: replace(d, state=PowerState.RUNNING, live=LiveDocument(d.definition.text))
    )
    return noted(started, written_images(started, uuid), actual.host_uuid)


def _shut_down(actual: World, uuid: str) -> World:
    return changed(noted(actual, written_images(actual, uuid), ""), uuid, off)


def off(found: DefinedDomain) -> DefinedDomain:
    return replace(found, state=PowerState.SHUT_OFF, live=None)


def written_images(actual: World, uuid: str) -> list[ImageRef]:
    [found] = [domain for domain in actual.domains if domain.uuid == uuid]
    written = (disk.image for document in found.documents for disk in document.disks if disk.is_written)
    return [image for image in dict.fromkeys(written) if image and image in actual.images]


def noted(actual: World, refs: Sequence[ImageRef], host: str) -> World:
    for ref in refs:
        if image := actual.images.get(ref):
            last_run = LastRun(host=host) if host else image.last_run
            actual = with_image(actual, ref, replace(image, running_on=host, last_run=last_run))
    return actual


def released(actual: World, uuid: str) -> World:
    """This host releases what the domain held here; what another host claims stays its own."""
    held = [ref for ref in written_images(actual, uuid) if image_at(actual, ref).running_on == actual.host_uuid]
    return noted(actual, held, "")


def _kept(actual: World, uuid: str) -> World:
    """virtrbd keeps the definition as libvirt gave it back."""
    [found] = [domain for domain in actual.domains if domain.uuid == uuid]
    last = LastDefinition(xml=found.definition.text, hypervisor=actual.hypervisor_digest)
    return replace(actual, last_definitions={**actual.last_definitions, uuid: last})


def changed_live(action: LiveAction, found: DefinedDomain) -> LiveDocument:
    live = found.live
    assert live, "the planner changes what runs"
    root, definition = live.copy(), found.definition.copy()
    devices = at(root, "devices")
    match action:
        case AttachDevice():
            device = own_device(found.definition, action.device)
            assert device is not None, "the planner attaches what is defined"
            devices.append(copy.deepcopy(device))
        case DetachDevice():
            devices.remove(_device_at(devices, action.device, action.place))
        case ChangeMedia():
            _change_media(dict(steps(devices))[action.device], dict(steps(at(definition, "devices")))[action.device])
        case LimitDisk():
            _limit(dict(steps(devices))[f"disk:{action.target}"], action)
        case SetLink():
            interface = _device_at(devices, action.device, action.place)
            devices.replace(
                interface,
                parse_tree(with_link(interface, up=action.up, is_stated=action.is_stated)),
            )
        case SetMemory():
            _set_text(root, "currentMemory", str(action.to_bytes // 1024))
            if mark := live.mark:
                set_mark(root, replace(mark, balloon_bytes=action.to_bytes))
        case SetVcpus():
            at(root, "vcpu").set("current", str(action.to_count))
        case SetTitle():
            _set_text(root, "title", action.title)
            _set_text(root, "description", action.description)
        case MarkLive():
            mark = live_mark(live, found.definition, action.stated, dict(action.places))
            assert mark is not None, "the planner marks what has a mark"
            set_mark(root, mark)
    return LiveDocument(to_text(root))


def _device_at(devices: etree._Element, device: str, place: str) -> etree._Element:
    [found] = [each for name, each in steps(devices) if key_of(name) == device and place in ("", place_of(each))]
    return found


def _change_media(drive: etree._Element, wanted: etree._Element) -> None:
    """Only the source; the rest of a drive is fixed."""
    for source in drive.findall("source"):
        drive.remove(source)
    drive.set("type", wanted.get("type", "file"))
    drive.extend(copy.deepcopy(wanted.findall("source")))


def _limit(disk: etree._Element, action: LimitDisk) -> None:
    """libvirt clears the limits of a kind of which one is given."""
    iotune = disk.find("iotune")
    if iotune is None:
        iotune = etree.SubElement(disk, "iotune")
    kinds = {name.partition("_")[2] for name, _ in action.limits} - {"name"}
    for old in [limit for limit in iotune if limit.tag.partition("_")[2] in kinds]:
        iotune.remove(old)
    for name, value in action.limits:
        for old in iotune.findall(name):
            iotune.remove(old)
        if value:
            etree.SubElement(iotune, name).text = str(value)
    if len(iotune) == 0:
        disk.remove(iotune)


def _set_text(root: etree._Element, tag: str, text: str) -> None:
    for old in root.findall(tag):
        root.remove(old)
    if text:
        etree.SubElement(root, tag).text = text


def creation(action: WriteSeed) -> CreateImage:
    return CreateImage(ref=action.ref, domain_uuid=action.domain_uuid, size_bytes=SEED_BYTES)


def seed_image(actual: World, action: WriteSeed) -> Image:
    """The seed's image, which is the domain's before anything is written to it."""
    image = image_at(actual, action.ref)
    assert image.is_of(action.domain_uuid), f"{action.ref} is not the domain's"
    assert image.size_bytes >= SEED_BYTES
    return image


def made_of(action: CreateImage | CloneImage | ImportImage, actual: World) -> World:
    assert actual.images.get(action.ref) is None, f"{action.ref} exists: rbd refuses"
    made = with_image(actual, action.ref, new_image(action, actual))
    return _without_intent(marked_image(made, action.ref, action.domain_uuid), action.ref)


def new_image(action: CreateImage | CloneImage | ImportImage, actual: World) -> Image:
    parent = action.parent if isinstance(action, CloneImage) else None
    return Image(
        ref=action.ref,
        # Deterministic, and another one each time that an image of this name is made anew.
        image_id=uuid.uuid5(uuid.NAMESPACE_URL, f"{action.ref} {len(repr(actual))}").hex[:12],
        size_bytes=action.size_bytes,
        created_at=NOW,
        parent=parent,
        allocated_bytes=0,
    )


def marked_image(actual: World, ref: ImageRef, domain_uuid: str) -> World:
    image = image_at(actual, ref)
    mark = ImageMark(domain_uuid=domain_uuid, image_id=image.image_id, host=actual.host_uuid)
    return with_image(replace(actual, unknown_marks=actual.unknown_marks - {ref}), ref, replace(image, mark=mark))


def image_at(actual: World, ref: ImageRef) -> Image:
    image = actual.images[ref]
    assert image is not None, f"{ref} does not exist"
    return image


def with_image(actual: World, ref: ImageRef, image: Image | None) -> World:
    return replace(actual, images={**actual.images, ref: image})


def _without_intent(actual: World, ref: ImageRef) -> World:
    return replace(actual, intents={known: intent for known, intent in actual.intents.items() if known != ref})


def with_secret(actual: World, secret: Secret) -> World:
    others = [known for known in actual.secrets if known.uuid != secret.uuid]
    assert secret.usage not in {known.usage for known in others}, "libvirt refuses a second secret for one usage"
    return replace(actual, secrets=tuple(sorted([*others, secret], key=lambda known: known.uuid)))


def changed(actual: World, domain_uuid: str, change: Callable[[DefinedDomain], DefinedDomain]) -> World:
    assert domain_uuid in {found.uuid for found in actual.domains}, "the planner acts on a domain that is not there"
    return replace(
        actual, domains=tuple(change(found) if found.uuid == domain_uuid else found for found in actual.domains)
    )


def _defined(action: DefineDomain, actual: World) -> World:
    root = parse_tree(action.xml)
    held = next((found for found in actual.domains if found.uuid == action.domain_uuid), None)
    assert (held.definition.text if held else "") == action.based_on, "a definition is edited, never replaced"
    name = root.findtext("name") or ""
    assert held or name not in {found.name for found in actual.domains}, "libvirt refuses a second one of that name"
    definition = _as_given_back(root)
    found = held or DefinedDomain(name=name, uuid=action.domain_uuid, state=PowerState.SHUT_OFF, definition=definition)
    others = [known for known in actual.domains if known.uuid != action.domain_uuid]
    domains = [*others, _recorded(replace(found, definition=definition, persistent=True), action.inputs)]
    return replace(actual, domains=tuple(sorted(domains, key=lambda known: known.name)))


def _as_given_back(root: etree._Element) -> Definition:
    """libvirt has words of its own, writes the machine's version, and gives every device an address that it keeps."""
    make_canonical(root)
    os_type = at(root, "os/type")
    machine = os_type.get("machine", "")
    os_type.set("machine", MACHINES.get(machine, machine))
    devices = devices_of(root)
    taken = {address.get("slot") for device in devices for address in device.findall("address")}
    free = (hex(slot) for slot in range(1, 255) if hex(slot) not in taken)
    for device in devices:
        if device.find("address") is None:
            etree.SubElement(device, "address", type="pci", slot=next(free))
    return Definition(to_text(root))


def _recorded(found: DefinedDomain, inputs: str) -> DefinedDomain:
    """The second half of defining: the digest of what libvirt gave back goes into our element."""
    mark = found.definition.mark
    assert mark is not None, "the planner marks what it defines"
    mark = settled(found.definition, mark)
    return remarked(found, inputs=inputs, definition=found.definition.digest, places=mark.places)


def _renewed(found: DefinedDomain, action: RenewMark) -> DefinedDomain:
    renewed = remarked(found, stated=action.stated, foreign=action.foreign, places=action.places)
    return _recorded(renewed, action.inputs)


def remarked(found: DefinedDomain, **changes: Any) -> DefinedDomain:
    mark: DomainMark | None = found.definition.mark
    assert mark is not None, "the planner marks what it defines"
    root = found.definition.copy()
    set_mark(root, replace(mark, **changes))
    return replace(found, definition=Definition(to_text(root)))
