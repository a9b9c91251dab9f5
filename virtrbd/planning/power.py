"""What a domain's power needs: by its spec's `state`, or because the operator requested a start."""

from msgspec import Struct

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.model.actions import Action
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import ShutDownDomain, StartDomain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef, LastRun
from virtrbd.model.image_actions import NoteHost
from virtrbd.model.plan import Finding, FindingKind
from virtrbd.model.power import PowerState, WantedState
from virtrbd.planning.saves import is_newer, stale_save
from virtrbd.planning.world import World
from virtrbd.printable import shell_command


class PowerPlan(Struct, frozen=True, kw_only=True):
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()


def plan_power(
    domain: Domain,
    defined: DefinedDomain | None,
    actual: World,
    *,
    marked: frozenset[ImageRef],
    start: bool,
    by_spec: bool,
) -> PowerPlan:
    """Return the start or shutdown that is wanted, and the records on images of what happened here.

    `marked`: the images that become the domain's by this plan.
    """
    notes = _notes(domain, defined, actual, marked)
    is_active = bool(defined and defined.state.is_active)
    wants_running = start or (by_spec and domain.state is WantedState.RUNNING)
    wants_off = by_spec and domain.state is WantedState.SHUT_OFF and not start
    if (wants_running or wants_off) and defined and defined.state is PowerState.PAUSED:
        return PowerPlan(actions=notes, findings=(_paused(domain),))
    if wants_off and is_active:
        action = ShutDownDomain(domain_uuid=domain.uuid, hazards=(Hazard.INTERRUPTS_GUEST,))
        return PowerPlan(actions=(*notes, action))
    if wants_running and not start and defined and stale_save_of(domain, defined, actual):
        # The plan reports it, and no unwatched run does it.
        return PowerPlan(actions=notes)
    if wants_running and not is_active:
        hazards, elsewhere = start_hazards(domain, defined, actual), _elsewhere(domain, actual)
        action_start = StartDomain(domain_uuid=domain.uuid, elsewhere=elsewhere, hazards=hazards)
        return PowerPlan(actions=(*notes, action_start))
    return PowerPlan(actions=notes)


def _paused(domain: Domain) -> Finding:
    """A paused guest neither runs nor reacts to a shutdown request, until it is resumed."""
    text = f"is paused; {shell_command('virsh resume', domain.name)} resumes it"
    return Finding(domain=domain.name, kind=FindingKind.PAUSED, text=text)


def stale_save_of(domain: Domain, defined: DefinedDomain, actual: World) -> str:
    """Return why the domain's managed save must not be resumed, as far as hosts show it; the gate knows the rest."""
    if defined.state is not PowerState.SAVED:
        return ""
    here = LastRun(host=actual.host_uuid)
    images = (actual.images.get(disk.image.image) for disk in domain.disks if disk.is_written)
    newer = (image for image in images if image and image.last_run and is_newer(image.last_run, here))
    return next((stale_save(image.ref, image.last_run, domain.name) for image in newer if image.last_run), "")


def start_hazards(domain: Domain, defined: DefinedDomain | None, actual: World) -> tuple[Hazard, ...]:
    """A start takes over from another host that ran the guest last and did not record a stop.

    No watcher does not prove death: a frozen client loses its watch and may come back. Old memory on a newer disk
    loses data.
    """
    elsewhere = bool(_elsewhere(domain, actual))
    is_stale = defined is not None and bool(stale_save_of(domain, defined, actual))
    return (*((Hazard.TAKES_OVER,) if elsewhere else ()), *((Hazard.LOSES_DATA,) if is_stale else ()))


def _elsewhere(domain: Domain, actual: World) -> str:
    """Return the other host that the domain's images were last started on, and that did not record a stop."""
    images = (actual.images.get(disk.image.image) for disk in domain.disks if disk.is_written)
    hosts = (image.running_on_label for image in images if image and image.running_on not in ("", actual.host_uuid))
    return next(hosts, "")


def _notes(
    domain: Domain, defined: DefinedDomain | None, actual: World, marked: frozenset[ImageRef]
) -> tuple[Action, ...]:
    """A guest powered itself off, or virsh started it: its images do not record where it runs."""
    if defined is None:
        return ()
    if defined.state is PowerState.SHUT_OFF:
        stopped = _refs(domain, actual, marked, actual.host_uuid)
        return (NoteHost(domain_uuid=domain.uuid, refs=stopped, runs=False),) if stopped else ()
    if defined.state.is_active:
        started = tuple(ref for ref in _refs(domain, actual, marked, "") if _is_attached(ref, defined))
        return (NoteHost(domain_uuid=domain.uuid, refs=started, runs=True),) if started else ()
    return ()


def _refs(domain: Domain, actual: World, marked: frozenset[ImageRef], running_on: str) -> tuple[ImageRef, ...]:
    found = []
    for disk in domain.disks:
        image = actual.images.get(disk.image.image) if disk.is_written else None
        if image and image.running_on == running_on and (image.ref in marked or _is_ours(image, domain, actual)):
            found.append(image.ref)
    return tuple(found)


def _is_ours(image: Image, domain: Domain, actual: World) -> bool:
    return image.is_of(domain.uuid) and image.mark is not None and image.mark.host == actual.host_uuid


def _is_attached(ref: ImageRef, defined: DefinedDomain) -> bool:
    # A look at the text: a wrong yes only records the host of a disk that will be attached to its guest here.
    return defined.live is not None and defined.live.names(ref)
