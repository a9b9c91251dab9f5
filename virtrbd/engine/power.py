"""Start and stop guests, and record on their images where they run."""

import time
import uuid
from collections.abc import Collection
from functools import partial

from msgspec import Struct

from virtrbd.ceph.images import clear_running, is_taken, read_image
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.image_uses import argument_images, images_elsewhere, written_images
from virtrbd.domainxml.tree import Element
from virtrbd.engine.start_gate import through_gate
from virtrbd.errors import BlockedError, HypervisorError
from virtrbd.images.host import Host
from virtrbd.images.mapped import images_of_sources
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
    written = images_by_cluster(tree, host)
    sources = images_of_sources(tree, host.cluster, host.hypervisor.ceph_pool_of)
    through_gate(
        host.cluster,
        written.here,
        partial(_begin, domain_uuid, host, generation if mark and not save else ""),
        unsure=(*argument_images(tree), *written.doubtful, *sources.volumes),
        mapped=sources.mapped,
        run=run_here(host, generation),
        save=save,
        allowed=host.allowed,
        wait_s=host.settings.timeouts.watcher,
        say=host.say,
    )


def generation_of(domain: DefinedDomain | None) -> str:
    """Return the generation of the running guest, "" where it is unknown."""
    mark = domain.live.mark if domain and domain.live else None
    return mark.generation if mark else ""


def run_here(host: Host, generation: str) -> LastRun:
    """Return a run of a guest on this host that begins now."""
    return LastRun(
        host=host.host_uuid, host_name=host.settings.host, generation=generation, started_at=round(time.time(), 3)
    )


def _save_of(domain: DefinedDomain, host: Host) -> ManagedSave | None:
    """Return the save that a start resumes, None where there is none."""
    if domain.state is not PowerState.SAVED:
        return None
    save = host.hypervisor.managed_save(domain.uuid)
    mark = save.mark if save else None
    return ManagedSave(domain=domain.name, generation=mark.generation if mark else "")


def _begin(domain_uuid: str, host: Host, generation: str) -> None:
    """Start the guest; its live XML has the generation from its definition, and so has a save of it later."""
    if generation:
        host.hypervisor.set_mark(domain_uuid, lambda mark: replace(mark, generation=generation))
    host.hypervisor.start(domain_uuid)


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
    clear_claims(host, [ref for ref in _held_images(host, domain) if ref not in unreadable])


def _held_images(host: Host, domain: DefinedDomain) -> tuple[ImageRef, ...]:
    """Return the images that a guest writes to: a running one may have disks that its definition has no longer."""
    found = [ref for document in domain.documents for ref in images_by_cluster(document.tree, host).here]
    return tuple(dict.fromkeys(found))


def clear_claims(host: Host, refs: Collection[ImageRef]) -> None:
    """Record on the images that a guest of this host released them, except images that another host claims."""
    held = [ref for ref in refs if (image := read_image(host.cluster, ref)) and image.running_on == host.host_uuid]
    clear_running(host.cluster, held)


class WrittenImages(Struct, frozen=True, kw_only=True):
    """The images of this cluster that a guest writes to, and the images that may be this cluster's.

    For the latter a document names other monitors, but this cluster has an image of that name: monitors behind NAT have
    other addresses, and a document may be older than its monitors.
    """

    here: tuple[ImageRef, ...]
    doubtful: tuple[ImageRef, ...]


def images_by_cluster(tree: Element, host: Host) -> WrittenImages:
    """Return the images that a guest writes to, by whether they are in this cluster."""
    written = written_images(tree)
    elsewhere = images_elsewhere(tree, host.cluster.facts().addresses) if written else ()
    named = [ref for ref in written if ref in elsewhere]
    pools = host.cluster.pools() if named else ()
    doubtful = tuple(ref for ref in named if ref.pool in pools and is_taken(host.cluster, ref))
    return WrittenImages(here=tuple(ref for ref in written if ref not in elsewhere), doubtful=doubtful)
