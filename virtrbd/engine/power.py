"""Start and stop guests, and record on their images where they run."""

import time
import uuid
from collections.abc import Collection
from functools import partial

from virtrbd.ceph.images import clear_claims
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.image_uses import argument_images
from virtrbd.engine.start_gate import through_gate
from virtrbd.errors import BlockedError, HypervisorError
from virtrbd.images.host import Host
from virtrbd.images.mapped import images_by_cluster, images_of_sources
from virtrbd.local.starts import own_start
from virtrbd.model.image import ImageRef, LastRun
from virtrbd.model.power import ManagedSave, PowerState
from virtrbd.model.record import replace
from virtrbd.printable import shell_command

_LOOK_EVERY_S = 0.2


def start_domain(domain_uuid: str, host: Host) -> None:
    """Start a domain through the start gate. Raises HypervisorError, ImageBusyError, BlockedError, UnavailableError."""
    domain = host.hypervisor.domain(domain_uuid)
    if domain is None:
        raise HypervisorError(f"domain {domain_uuid} is gone; define it again")
    mark, tree = domain.definition.mark, domain.definition.tree
    if mark and mark.hold and mark.hold.holds_at(time.time()):
        # Since the plan was made.
        raise BlockedError(f"{domain.name} is held now; {shell_command('virtrbd release', domain.name)} ends that")
    save = _save_of(domain, host)
    generation = save.generation if save else uuid.uuid4().hex[:16] if mark else ""
    written = images_by_cluster(tree, host.cluster)
    sources = images_of_sources(tree, host.cluster, host.hypervisor.ceph_pool_of)
    through_gate(
        host.cluster,
        written.here,
        partial(_begin, domain, host, generation if mark and not save else ""),
        unsure=(*argument_images(tree), *written.doubtful, *sources.volumes),
        mapped=sources.mapped,
        run=run_here(host, generation, domain.name),
        save=save,
        allowed=host.allowed,
        wait_s=host.settings.timeouts.watcher,
        say=host.say,
    )


def generation_of(domain: DefinedDomain | None) -> str:
    """Return the generation of the running guest, "" where it is unknown."""
    mark = domain.live.mark if domain and domain.live else None
    return mark.generation if mark else ""


def run_here(host: Host, generation: str, domain: str) -> LastRun:
    """Return a run of the domain's guest on this host that begins now."""
    return LastRun(
        host=host.host_uuid,
        host_name=host.settings.host,
        domain=domain,
        generation=generation,
        started_at=round(time.time(), 3),
    )


def _save_of(domain: DefinedDomain, host: Host) -> ManagedSave | None:
    """Return the save that a start resumes, None where there is none."""
    if domain.state is not PowerState.SAVED:
        return None
    save = host.hypervisor.managed_save(domain.uuid)
    mark = save.mark if save else None
    return ManagedSave(domain=domain.name, generation=mark.generation if mark else "")


def _begin(domain: DefinedDomain, host: Host, generation: str) -> None:
    """Start the guest; its live XML has the generation from its definition, and so has a save of it later."""
    if generation:
        host.hypervisor.set_mark(domain.uuid, lambda mark: replace(mark, generation=generation))
    # libvirt's hook would see virtrbd itself as another client, and what the operator allowed here counts there too.
    with own_start(host.state.folder("starts"), domain.uuid):
        host.hypervisor.start(domain.uuid)


def shut_down(domain_uuid: str, host: Host, timeout_s: float) -> None:
    """Ask the guest to shut down, and wait. It is never destroyed.

    Raises HypervisorError when it does not, or is paused.
    """
    domain = host.hypervisor.domain(domain_uuid)
    if domain is None or not domain.state.is_active:
        return
    if domain.state is PowerState.PAUSED:
        raise HypervisorError(
            f"the guest is paused and does not react; {shell_command('virsh resume', domain.name)} resumes it"
        )
    # Before it stops: an image that cannot be read could not be marked afterwards.
    _held_images(host, domain)
    host.hypervisor.shutdown(domain.uuid)
    if not await_off(host, domain.uuid, timeout_s):
        # The guest does not answer, while libvirt and Ceph do: so a later run alone is not a way out.
        raise HypervisorError(
            f"the guest of {domain.name} did not shut down within {timeout_s:g} s and still runs; look at "
            f"{shell_command('virtrbd console', domain.name)}, or end it with "
            f"{shell_command('virtrbd destroy', domain.name, options='--allow interrupts-guest')}"
        )
    note_clean_stop(host, domain)


def await_off(host: Host, uuid: str, timeout_s: float) -> bool:
    """Wait until the domain no longer has a QEMU; return whether that happened in time."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        domain = host.hypervisor.domain(uuid)
        if domain is None or not domain.state.is_active:
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(_LOOK_EVERY_S)


def note_clean_stop(host: Host, domain: DefinedDomain, *, unreadable: Collection[ImageRef] = ()) -> None:
    """Record on the images that this host released them, so that another may start them without taking over;
    not on the `unreadable` ones.

    Raises HypervisorError when it has not released them: a managed save holds memory that needs the disks unchanged.
    """
    now = host.hypervisor.domain(domain.uuid)
    if now and now.state is PowerState.SAVED:
        raise HypervisorError(
            f"{now.name}: holds a managed save; resume it with {shell_command('virtrbd start', now.name)}, "
            f"or drop it with {shell_command('virsh managedsave-remove', now.name)}"
        )
    if now and now.state.is_active:
        raise HypervisorError(f"{now.name}: is {now.state.value} again; it was started meanwhile")
    held = [ref for ref in _held_images(host, domain) if ref not in unreadable]
    clear_claims(host.cluster, held, host.host_uuid)


def _held_images(host: Host, domain: DefinedDomain) -> tuple[ImageRef, ...]:
    """Return the images that a guest writes to: a running one may have disks that its definition has no longer."""
    found = [ref for document in domain.documents for ref in images_by_cluster(document.tree, host.cluster).here]
    return tuple(dict.fromkeys(found))
