"""Actions performed: the one place where the world is changed."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.parse import parse_disks
from virtrbd.errors import HypervisorError
from virtrbd.host.cluster import Cluster
from virtrbd.host.gate import once_free, start_through_gate
from virtrbd.host.hypervisor import Hypervisor
from virtrbd.host.state import StateDir
from virtrbd.host.transfer import import_file
from virtrbd.model.image import ImageMark, ImageRef, Intent
from virtrbd.model.plan import (
    Action,
    CloneImage,
    CreateImage,
    DefineDomain,
    DefineSecret,
    DropIntent,
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
    progress: Callable[[float], None]


def perform(action: Action, host: Host) -> None:
    """Do one action. Raises VirtrbdError."""
    match action:
        case DefineSecret():
            host.hypervisor.define_secret(action.uuid, action.usage, host.cluster.key())
        case CreateImage() | CloneImage() | ImportImage():
            _make_image(action, host)
        case RemoveHalfImage():
            _once_free(host, partial(host.cluster.remove_half, action.ref, action.image_id))
            host.state.drop_intent(action.ref)
        case MarkImage():
            _tell_dropped(host, action.ref, host.cluster.strip_inherited(action.ref))
            _mark(host, action.ref, action.image_id, action.domain_uuid)
        case DropIntent():
            host.state.drop_intent(action.ref)
        case GrowImage():
            _grow(action, host)
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
    """Intent, image, mark, no intent: a crash anywhere between leaves what the next run can finish."""
    intent = Intent(
        ref=action.ref,
        domain_uuid=action.domain_uuid,
        size_bytes=action.size_bytes,
        parent=action.parent if isinstance(action, CloneImage) else None,
        nonce=uuid.uuid4().hex,
        written_at=time.time(),
        importing=isinstance(action, ImportImage),
    )
    host.state.write_intent(intent)
    match action:
        case CreateImage():
            image_id = host.cluster.create(action.ref, action.size_bytes)
        case CloneImage():
            image_id, dropped = host.cluster.clone(action.parent, action.ref)
            _tell_dropped(host, action.ref, dropped)
        case ImportImage():
            # Marked before it is ready: an image without a mark and without a state was never filled.
            image_id = host.cluster.create(action.ref, action.size_bytes, state=f"importing {intent.nonce}")
            import_file(action.file, action.ref, host.settings, host.progress)
    _mark(host, action.ref, image_id, action.domain_uuid)
    if isinstance(action, ImportImage):
        host.cluster.set_ready(action.ref)
    host.state.drop_intent(action.ref)


def _tell_dropped(host: Host, ref: ImageRef, dropped: tuple[str, ...]) -> None:
    if dropped:
        host.say(f"image {ref}: not taken over from its parent: {', '.join(dropped)}")


def _mark(host: Host, ref: ImageRef, image_id: str, domain_uuid: str) -> None:
    host.cluster.mark(ref, ImageMark(domain_uuid=domain_uuid, image_id=image_id, host=host.host_uuid))


def _grow(action: GrowImage, host: Host) -> None:
    if action.live:
        host.hypervisor.block_resize(action.domain_uuid, action.target, action.to_bytes)
    else:
        _once_free(host, partial(host.cluster.grow, action.ref, action.to_bytes))


def _once_free(host: Host, use: Callable[[], None]) -> None:
    once_free(use, wait_s=host.settings.timeouts.watcher, say=host.say)


def _define(action: DefineDomain, host: Host) -> None:
    if action.based_on:
        held = host.hypervisor.domain(action.domain_uuid)
        if held is None or held.definition != action.based_on:
            raise HypervisorError("the definition was changed meanwhile by somebody else; run again")
    mark = read_mark(action.xml)
    assert mark is not None, "the planner marks what it plans to define"
    host.hypervisor.define(action.xml, mark)
