"""Perform actions in a running guest."""

from functools import partial
from typing import assert_never

from virtrbd.ceph.images import clear_claims
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.image_uses import images_of_disk
from virtrbd.engine import hotplug, power
from virtrbd.engine.start_gate import through_gate
from virtrbd.hypervisor.live_changes import limit_disk_live, mark_live, set_title_live
from virtrbd.images.host import Host
from virtrbd.images.mapped import images_by_cluster, images_of_sources
from virtrbd.model.image import ImageRef
from virtrbd.model.live_actions import (
    AnyLive,
    AttachDevice,
    ChangeMedia,
    DetachDevice,
    LimitDisk,
    MarkLive,
    SetLink,
    SetMemory,
    SetTitle,
    SetVcpus,
)


def perform_live(action: AnyLive, host: Host) -> None:
    """Do one action. Raises VirtrbdError."""
    hypervisor, uuid = host.hypervisor, action.domain_uuid
    match action:
        case AttachDevice():
            _attach(action, host)
        case DetachDevice():
            hotplug.detach(hypervisor, uuid, action.device, action.place)
            if action.image:
                clear_claims(host.cluster, [action.image], host.host_uuid)
        case ChangeMedia():
            hotplug.change_media(hypervisor, uuid, action.device)
        case LimitDisk():
            limit_disk_live(hypervisor, uuid, action.target, dict(action.limits))
        case SetLink():
            hotplug.set_link(hypervisor, uuid, action)
        case SetMemory():
            hotplug.set_memory(hypervisor, uuid, action.to_bytes)
        case SetVcpus():
            hotplug.set_vcpus(hypervisor, uuid, action.to_count)
        case SetTitle():
            set_title_live(hypervisor, uuid, action.title, action.description)
        case MarkLive():
            mark_live(hypervisor, uuid, action.stated, dict(action.places))
        case _:
            assert_never(action)


def _attach(action: AttachDevice, host: Host) -> None:
    domain = host.hypervisor.domain(action.domain_uuid)
    # Where it is gone, attaching says so.
    tree = (domain.definition if domain else Definition("<domain/>")).tree
    sources = images_of_sources(tree, host.cluster, host.hypervisor.ceph_pool_of, action.device)
    through_gate(
        host.cluster,
        [action.image] if action.image else [],
        partial(hotplug.attach, host.hypervisor, action.domain_uuid, action.device),
        unsure=(*_doubtful(action, domain, host), *sources.volumes),
        mapped=sources.mapped,
        run=power.run_here(host, power.generation_of(domain), domain.name if domain else ""),
        allowed=host.allowed,
        wait_s=host.settings.timeouts.watcher,
        say=host.say,
    )


def _doubtful(action: AttachDevice, domain: DefinedDomain | None, host: Host) -> tuple[ImageRef, ...]:
    """Return the image of a disk that names another cluster's monitors, where one of that name is here."""
    if action.image or domain is None or not action.device.startswith("disk:"):
        return ()
    tree = domain.definition.tree
    doubtful = images_by_cluster(tree, host.cluster).doubtful
    return tuple(ref for ref in doubtful if ref in images_of_disk(tree, action.device))
