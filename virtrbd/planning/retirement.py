"""The retirement of a domain: shut down, undefine, move its images to the trash or keep them. Pure.

Each hazard needs --allow. Law 15: everything that libvirt or RBD would refuse is looked for first; steps that can be
taken back (an image in the trash) come after steps that cannot be done in halves (libvirt's undefine).
"""

from collections.abc import Iterator, Sequence

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.errors import ExitCode
from virtrbd.model.actions import Action
from virtrbd.model.domain_actions import DropManagedSave, ShutDownDomain, UndefineDomain
from virtrbd.model.failure import Failure
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.plan import DomainPlan
from virtrbd.model.power import PowerState
from virtrbd.model.removal_actions import TrashImage
from virtrbd.model.retirement import Kept, RetiredImage, Retirement
from virtrbd.planning.objections import Objection, owner_objections
from virtrbd.planning.removal import RemovalPlan
from virtrbd.printable import shell_command

_NOTHING = Kept()


def plan_retirement(
    defined: DefinedDomain,
    images: Sequence[Image],
    host_uuid: str,
    *,
    delay_s: float,
    kept: Kept = _NOTHING,
    removals: Sequence[RemovalPlan] = (),
    forget_snapshots: bool = False,
    keep_images: bool = False,
    unread: Sequence[ImageRef] = (),
) -> DomainPlan:
    """Return the steps. Only images that the domain owns are trashed; images that it only uses are kept.

    `removals`: what prevents trashing them, as `image remove` would find it. `unread`: its images that do not answer.
    """
    name, uuid = defined.name, defined.uuid
    own = [image for image in images if image.is_of(uuid)]
    going = [] if keep_images else own
    blocked = tuple(_asks(name, kept)) if not forget_snapshots else ()
    failures = tuple(_refused(name, kept, removals))
    if blocked or failures:
        return DomainPlan(name=name, uuid=uuid, held_back=blocked, failures=failures, exists=True)
    takes_over = () if defined.definition.mark else (Hazard.TAKES_OVER,)
    actions: list[Action] = []
    if defined.state.is_active:
        actions.append(ShutDownDomain(domain_uuid=uuid, hazards=(Hazard.INTERRUPTS_GUEST, *takes_over)))
    if defined.state is PowerState.SAVED:
        actions.append(DropManagedSave(domain_uuid=uuid, hazards=(Hazard.LOSES_DATA, *takes_over)))
    actions.append(
        UndefineDomain(
            domain_uuid=uuid,
            forget_snapshots=forget_snapshots and bool(kept.snapshots or kept.checkpoints),
            owned=_retired(own),
            unread=tuple(unread),
            retirement=_retirement(defined, going, delay_s),
            hazards=(Hazard.FORGETS_DOMAIN, *takes_over),
        )
    )
    for image in going:
        against = [each for removal in removals if removal.subject == image.ref for each in removal.blockers]
        actions.append(_trash(image, name, delay_s, [*against, *owner_objections(image, host_uuid)]))
    return DomainPlan(name=name, uuid=uuid, actions=tuple(actions), exists=True)


def _trash(image: Image, name: str, delay_s: float, against: Sequence[Objection]) -> TrashImage:
    """Return the step; what is against it and can be allowed is its hazard, with the fact."""
    allowable = {each.text: each.hazard for each in against if each.hazard}
    return TrashImage(
        ref=image.ref,
        image_id=image.image_id,
        delay_s=delay_s,
        retires=name,
        against=tuple(allowable),
        hazards=tuple(dict.fromkeys((Hazard.LOSES_DATA, *allowable.values()))),
    )


def _retired(images: Sequence[Image]) -> tuple[RetiredImage, ...]:
    return tuple(RetiredImage(ref=image.ref, image_id=image.image_id) for image in images)


def _retirement(defined: DefinedDomain, going: Sequence[Image], delay_s: float) -> Retirement | None:
    if not going:
        return None
    return Retirement(name=defined.name, domain_uuid=defined.uuid, images=_retired(going), delay_s=delay_s)


def plan_rest(retirement: Retirement, left: Sequence[RetiredImage], removals: Sequence[RemovalPlan] = ()) -> DomainPlan:
    """Return the rest of a retirement that was interrupted after the domain was undefined.

    Its hazards were allowed when it began; `removals`: what prevents trashing an image now.
    """
    if failures := tuple(_refused(retirement.name, _NOTHING, removals)):
        return DomainPlan(name=retirement.name, uuid=retirement.domain_uuid, failures=failures)
    return DomainPlan(
        name=retirement.name,
        uuid=retirement.domain_uuid,
        actions=tuple(
            TrashImage(ref=image.ref, image_id=image.image_id, delay_s=retirement.delay_s, retires=retirement.name)
            for image in left
        ),
    )


def _asks(name: str, kept: Kept) -> Iterator[str]:
    """Yield what would be lost with the definition, and the two ways out."""
    for names, noun, verb in (
        (kept.snapshots, "snapshots", "snapshot-delete"),
        (kept.checkpoints, "checkpoints", "checkpoint-delete"),
    ):
        if names:
            delete = shell_command(f"virsh {verb} --metadata", name, names[0])
            yield (
                f"libvirt keeps {noun} of it ({', '.join(names)}), and does not undefine a domain with any; delete "
                f"them with {delete}, or forget them all with --forget-snapshots"
            )


def _refused(name: str, kept: Kept, removals: Sequence[RemovalPlan]) -> Iterator[Failure]:
    for target in kept.block_jobs:
        abort = shell_command("virsh blockjob", name, target, options="--abort")
        text = f"a block job is at work on its disk {target}; wait until it ends, or {abort}"
        yield Failure(text=text, exit_code=ExitCode.FAILED)
    for removal in removals:
        # The step itself asks for a hazard.
        for blocker in (each for each in removal.blockers if each.hazard is None):
            way_out = blocker.way_out or f"see {shell_command('virtrbd image remove --plan', removal.subject)}"
            text = f"image {removal.subject} can't go to the trash: {blocker.text}; {way_out}"
            yield Failure(text=text, exit_code=ExitCode.FAILED)
