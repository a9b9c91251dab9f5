"""Perform actions: the only place where the world is changed."""

from functools import partial
from typing import assert_never

from virtrbd.ceph.images import free_of_inherited, mark_image, set_running
from virtrbd.ceph.making import grow_image
from virtrbd.ceph.mending import complete_made
from virtrbd.domainxml.document import Definition, Edited, Rendered
from virtrbd.domainxml.own_devices import settled
from virtrbd.engine import power
from virtrbd.engine.perform_live import perform_live
from virtrbd.errors import HypervisorError, VirtrbdError
from virtrbd.hypervisor.live_changes import block_resize
from virtrbd.hypervisor.secrets import define_secret
from virtrbd.images.change import finish_rollback
from virtrbd.images.create import make_clone, make_empty, make_filled, remove_half_made, report_dropped
from virtrbd.images.host import Host
from virtrbd.images.import_source import ImportWork, open_import
from virtrbd.images.remove import perform_removal
from virtrbd.images.seed import make_seed
from virtrbd.images.source_check import looking_for_damage
from virtrbd.images.traces import note_made
from virtrbd.images.transfer import import_file
from virtrbd.images.wait import once_free
from virtrbd.model.actions import Action
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
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageLayout, ImageMark
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
    LiveAction,
)
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.model.removal_actions import FlattenClone, RemoveImage, RemoveSnapshot, TrashImage, UnprotectSnapshot


def perform(action: Action, host: Host) -> None:
    """Do one action. Raises VirtrbdError."""
    match action:
        case CreateImage() | CloneImage() | ImportImage():
            _make_image(action, host)
        case WriteSeed():
            make_seed(host, action)
        case RemoveHalfImage() | MarkImage() | DropIntent() | GrowImage() | FinishRollback() | NoteHost():
            _change_image(action, host)
        case FlattenClone() | UnprotectSnapshot() | RemoveSnapshot() | TrashImage() | RemoveImage():
            perform_removal(action, host)
        case DefineSecret() | DefineDomain() | RenewMark() | SetAutostart() | UndefineDomain():
            _change_definition(action, host)
        case StartDomain():
            power.start_domain(action.domain_uuid, host)
        case ShutDownDomain():
            power.shut_down(action.domain_uuid, host, host.settings.timeouts.shutdown)
        case DropManagedSave():
            host.hypervisor.drop_managed_save(action.domain_uuid)
        case LiveAction():
            perform_live(action, host)
        case _:
            assert_never(action)


def _make_image(action: CreateImage | CloneImage | ImportImage, host: Host) -> None:
    match action:
        case CreateImage():
            make_empty(host, action.ref, action.domain_uuid, action.size_bytes, ImageLayout())
        case CloneImage():
            make_clone(host, action.ref, action.domain_uuid, action.size_bytes, action.parent)
        case ImportImage():
            _import(action, host)


def _import(action: ImportImage, host: Host) -> None:
    with (
        open_import(action.source, ImportWork(settings=host.settings, say=host.say, progress=host.progress)) as source,
        looking_for_damage(source) as require_whole,
    ):
        if source.size_bytes != action.size_bytes:
            raise VirtrbdError(f"{action.source}: is not the file of the plan; run again")
        require_whole()
        fill = partial(import_file, host, source)
        make_filled(host, action.ref, action.domain_uuid, action.size_bytes, fill)


def _change_image(
    action: RemoveHalfImage | MarkImage | DropIntent | GrowImage | FinishRollback | NoteHost, host: Host
) -> None:
    match action:
        case RemoveHalfImage():
            remove_half_made(host, action.ref, action.image_id)
        case MarkImage():
            # An image that is taken over was not made here: its options are its own, unless its mark shows a copy.
            only_copies = Hazard.TAKES_OVER in action.hazards
            dropped = free_of_inherited(host.cluster, action.ref, only_copies=only_copies)
            report_dropped(host, action.ref, dropped)
            if not only_copies:
                complete_made(host.cluster, action.ref, action.image_id)
            name = host.settings.host
            mark = ImageMark(
                domain_uuid=action.domain_uuid, image_id=action.image_id, host=host.host_uuid, host_name=name
            )
            note_made(host.state, action.ref, action.image_id)
            mark_image(host.cluster, action.ref, mark)
        case DropIntent():
            host.state.drop_intent(action.ref)
        case GrowImage():
            _grow(action, host)
        case FinishRollback():
            finish_rollback(host, action.ref)
        case NoteHost():
            _note_host(action, host)


def _change_definition(
    action: DefineSecret | DefineDomain | RenewMark | SetAutostart | UndefineDomain, host: Host
) -> None:
    match action:
        case DefineSecret():
            assert host.cluster.key, "a secret is planned where there is a key"
            define_secret(host.hypervisor, action.uuid, action.usage, host.cluster.key)
        case DefineDomain():
            _define(action, host)
        case RenewMark():
            _renew_mark(action, host)
        case SetAutostart():
            host.hypervisor.set_autostart(action.domain_uuid, action.autostart)
        case UndefineDomain():
            _undefine(action, host)


def _grow(action: GrowImage, host: Host) -> None:
    if action.live:
        block_resize(host.hypervisor, action.domain_uuid, action.target, action.from_bytes, action.to_bytes)
    else:
        grow = partial(grow_image, host.cluster, action.ref, action.to_bytes)
        once_free(grow, wait_s=host.settings.timeouts.watcher, say=host.say)


def _note_host(action: NoteHost, host: Host) -> None:
    # It may have been started or stopped since it was observed.
    domain = host.hypervisor.domain(action.domain_uuid)
    if domain is None or domain.state.is_active != action.runs:
        return
    if action.runs:
        set_running(host.cluster, action.refs, power.run_here(host, power.generation_of(domain), domain.name))
    else:
        power.note_clean_stop(host, domain)


def _define(action: DefineDomain, host: Host) -> None:
    if action.based_on:
        _require_unchanged(action.domain_uuid, Definition(action.based_on), host)
    edited = Edited(action.xml)
    mark = edited.mark
    assert mark is not None, "the planner marks what it plans to define"
    _keep_definition(action.domain_uuid, host.hypervisor.define(edited, mark, Rendered(action.rendered)), host)
    host.state.drop_retirement(edited.name)


def _renew_mark(action: RenewMark, host: Host) -> None:
    judged = Definition(action.based_on)
    _require_unchanged(action.domain_uuid, judged, host)
    # The digest of the compared definition, not of libvirt's present one: a change in between must be found.
    digest = judged.digest

    def renew(mark: DomainMark) -> DomainMark:
        renewed = replace(
            mark,
            inputs=action.inputs,
            definition=digest,
            stated=action.stated,
            foreign=action.foreign,
            places=action.places,
            forms=action.forms,
        )
        return settled(judged, renewed)

    host.hypervisor.set_mark(action.domain_uuid, renew)
    _keep_definition(action.domain_uuid, judged, host)


def _undefine(action: UndefineDomain, host: Host) -> None:
    domain = host.hypervisor.domain(action.domain_uuid)
    if domain:
        power.note_clean_stop(host, domain, unreadable=action.unread)
    for image in action.owned:
        # The definition, the proof for images of earlier versions, is removed.
        note_made(host.state, image.ref, image.image_id)
    if action.retirement:
        host.state.write_retirement(action.retirement)
    elif domain:
        host.state.drop_retirement(domain.name)
    try:
        host.hypervisor.undefine(action.domain_uuid, forget_snapshots=action.forget_snapshots)
    except VirtrbdError:
        # The domain stays: a later run, after another undefine, must not trash what no operator allows then.
        if domain and host.hypervisor.domain(action.domain_uuid):
            host.state.drop_retirement(domain.name)
        raise
    # Without its images it may be made again; while they are kept, a missing one is noticed later.
    if action.retirement:
        host.state.drop_definition(action.domain_uuid)


def _require_unchanged(domain_uuid: str, definition: Definition, host: Host) -> None:
    if host.hypervisor.definition(domain_uuid) != definition:
        raise HypervisorError("the definition was changed meanwhile by another program; run again")


def _keep_definition(domain_uuid: str, definition: Definition, host: Host) -> None:
    try:
        host.state.write_definition(
            domain_uuid, LastDefinition(xml=definition.text, hypervisor=host.hypervisor.digest())
        )
    except VirtrbdError as error:
        host.say(f"domain {domain_uuid}: {error}. Until then changes by others are found, but not explained")
