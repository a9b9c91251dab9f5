"""Actions performed: the one place where the world is changed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import free_of_inherited, grow_image, mark_image
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.parse import parse_disks
from virtrbd.errors import HypervisorError
from virtrbd.host.changing import finish_rollback
from virtrbd.host.gate import start_through_gate
from virtrbd.host.hypervisor import Hypervisor
from virtrbd.host.image_host import ImageHost, Progress
from virtrbd.host.making import make_clone, make_empty, make_filled, remove_half_made
from virtrbd.host.state import StateDir
from virtrbd.host.transfer import import_file
from virtrbd.host.waiting import once_free
from virtrbd.model.image import ImageLayout, ImageMark
from virtrbd.model.plan import (
    Action,
    CloneImage,
    CreateImage,
    DefineDomain,
    DefineSecret,
    DropIntent,
    FinishRollback,
    GrowImage,
    Hazard,
    ImportImage,
    MarkImage,
    RemoveHalfImage,
    RenewMark,
    SetAutostart,
    StartDomain,
)
from virtrbd.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What actions work on: this host's libvirt, its cluster, its state directory."""

    hypervisor: Hypervisor
    cluster: Cluster
    state: StateDir
    settings: Settings
    host_uuid: str
    allowed: frozenset[Hazard]
    say: Callable[[str], None]
    progress: Progress

    @property
    def for_images(self) -> ImageHost:
        """What work on images needs of it."""
        return ImageHost(
            cluster=self.cluster,
            state=self.state,
            settings=self.settings,
            identify=lambda: self.host_uuid,
            say=self.say,
            progress=self.progress,
        )


def perform(action: Action, host: Host) -> None:
    """Do one action. Raises VirtrbdError."""
    match action:
        case DefineSecret():
            host.hypervisor.define_secret(action.uuid, action.usage, host.cluster.key())
        case CreateImage() | CloneImage() | ImportImage():
            _make_image(action, host)
        case RemoveHalfImage():
            remove_half_made(host.for_images, action.ref, action.image_id)
        case MarkImage():
            host.for_images.tell_dropped(action.ref, free_of_inherited(host.cluster, action.ref))
            mark = ImageMark(domain_uuid=action.domain_uuid, image_id=action.image_id, host=host.host_uuid)
            mark_image(host.cluster, action.ref, mark)
        case DropIntent():
            host.state.drop_intent(action.ref)
        case GrowImage():
            _grow(action, host)
        case FinishRollback():
            finish_rollback(host.for_images, action.ref)
        case DefineDomain():
            _define(action, host)
        case RenewMark():
            host.hypervisor.renew_mark(action.domain_uuid, action.inputs, action.stated)
        case SetAutostart():
            host.hypervisor.set_autostart(action.domain_uuid, action.autostart)
        case StartDomain():
            start_domain(action.domain_uuid, host)
        case _:
            assert_never(action)


def start_domain(domain_uuid: str, host: Host) -> None:
    """Start a domain through the start gate."""
    domain = host.hypervisor.domain(domain_uuid)
    if domain is None:
        raise HypervisorError(f"domain {domain_uuid} is gone; define it again")
    written = [disk.image for disk in parse_disks(domain.definition) if disk.is_written and disk.image]
    start_through_gate(
        host.hypervisor,
        host.cluster,
        domain.uuid,
        written,
        host_uuid=host.host_uuid,
        allowed=host.allowed,
        wait_s=host.settings.timeouts.watcher,
        say=host.say,
    )


def _make_image(action: CreateImage | CloneImage | ImportImage, host: Host) -> None:
    match action:
        case CreateImage():
            make_empty(host.for_images, action.ref, action.domain_uuid, action.size_bytes, ImageLayout())
        case CloneImage():
            make_clone(host.for_images, action.ref, action.domain_uuid, action.size_bytes, action.parent)
        case ImportImage():
            fill = partial(import_file, host.for_images, action.file, action.size_bytes)
            make_filled(host.for_images, action.ref, action.domain_uuid, action.size_bytes, fill)


def _grow(action: GrowImage, host: Host) -> None:
    if action.live:
        host.hypervisor.block_resize(action.domain_uuid, action.target, action.to_bytes)
    else:
        grow = partial(grow_image, host.cluster, action.ref, action.to_bytes)
        once_free(grow, wait_s=host.settings.timeouts.watcher, say=host.say)


def _define(action: DefineDomain, host: Host) -> None:
    if action.based_on:
        held = host.hypervisor.domain(action.domain_uuid)
        if held is None or held.definition != action.based_on:
            raise HypervisorError("the definition was changed meanwhile by somebody else; run again")
    mark = read_mark(action.xml)
    assert mark is not None, "the planner marks what it plans to define"
    host.hypervisor.define(action.xml, mark)
