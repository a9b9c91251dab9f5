"""The verb `undefine`: forget a domain, and keep its images or move them to the trash."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.domains import FORGET_SNAPSHOTS, NAME
from virtrbd.errors import BlockedError, HypervisorError, worst
from virtrbd.lazily import lazily
from virtrbd.model.hazard import Hazard
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.ceph.images import read_image
    from virtrbd.ceph.unread import image_or_failure
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import locked, require_released
    from virtrbd.commands.output.report import outcome_line, show_outcome
    from virtrbd.domainxml.defined import DefinedDomain
    from virtrbd.engine.execute import execute
    from virtrbd.engine.perform import perform
    from virtrbd.engine.retire import removals_of, rest_of
    from virtrbd.images.host import Host
    from virtrbd.images.users import images_named_by
    from virtrbd.model.actions import Action
    from virtrbd.model.failure import Failure
    from virtrbd.model.image import Image, ImageRef
    from virtrbd.model.plan import DomainPlan, Outcome, Plan, Result
    from virtrbd.model.power import PowerState
    from virtrbd.model.removal_actions import TrashImage
    from virtrbd.planning.retirement import plan_retirement


# librbd's own default has no delay: a purge takes the image at once.
TRASH_DELAY_S = 14 * 24 * 3600

# The verb itself allows undefining, but neither the end of an image nor another owner's domain or image.
_ASKED_FOR = frozenset({Hazard.FORGETS_DOMAIN})


@verb
@NAME
@click.option("--trash-images", is_flag=True, help="Also move the images that it owns to the trash, for 14 days.")
@FORGET_SNAPSHOTS
@ALLOW
def undefine(run: Run, name: str, trash_images: bool, forget_snapshots: bool, allow: tuple[str, ...]) -> None:
    """Forget a domain that is shut off; keep its images.

    With --trash-images those that it owns are moved to the trash, which needs --allow loses-data.
    """
    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host:
        rest = finish_undefining(host, name) if trash_images else None
        if rest:
            failed, lines = rest
        else:
            with locked(host, name, "undefine") as domain:
                require_released(domain)
                name = domain.name
                failed, lines = undefine_domain(
                    host, domain, trash_images=trash_images, forget_snapshots=forget_snapshots
                )
    for outcome in failed:
        show_outcome(run, outcome)
    errors = {"errors": [outcome_line(outcome) for outcome in failed]} if failed else {}
    run.answer({"name": name, "done": lines, **errors}, [f"{name}: {line}" for line in lines])
    run.end(worst(*(outcome.exit_code for outcome in failed)))


def undefine_domain(
    host: Host, domain: DefinedDomain, *, trash_images: bool, forget_snapshots: bool
) -> tuple[list[Outcome], list[str]]:
    """Undefine; return the outcomes of the steps that were not done, and a line for each step that was.

    Images that are kept need not be readable. Raises BlockedError, HypervisorError.
    """
    _require_undefinable(host, domain)
    images = _images(host, domain, must_be_read=trash_images)
    unread = {ref: image for ref, image in images.items() if isinstance(image, Failure)}
    owned = [image for image in images.values() if isinstance(image, Image) and image.is_of(domain.uuid)]
    plan = plan_retirement(
        domain,
        owned,
        host.host_uuid,
        delay_s=TRASH_DELAY_S,
        kept=host.hypervisor.kept(domain.uuid),
        removals=removals_of(host, domain, owned, TRASH_DELAY_S) if trash_images else (),
        forget_snapshots=forget_snapshots,
        keep_images=not trash_images,
        unread=tuple(unread),
    )
    failed, lines = _carried_out(host, plan)
    if not (failed or trash_images):
        lines += [f"kept image {image.ref}" for image in owned]
        lines += [f"left image {ref} as it is: {failure.text}" for ref, failure in unread.items()]
    return failed, lines


def finish_undefining(host: Host, name: str) -> tuple[list[Outcome], list[str]] | None:
    """Trash what a run left that was interrupted after the undefine; return the same, None without such a run.

    Its images and their hazards were checked before the undefine.
    """
    retirement = host.state.read_retirement(name)
    if retirement is None or host.hypervisor.domain(name) is not None:
        return None
    with host.state.locked([name, *(str(image.ref) for image in retirement.images)], "undefine"):
        return _carried_out(host, rest_of(host, retirement))


def _carried_out(host: Host, plan: DomainPlan) -> tuple[list[Outcome], list[str]]:
    """Do the steps; return the outcomes of those that were not done, and a line for each that was."""
    failed, lines = [], []
    outcomes = execute(Plan(domains=(plan,)), host.allowed | _ASKED_FOR, lambda action: perform(action, host))
    # What failed before any action was tried has none.
    for action, outcome in zip_longest(plan.actions, outcomes):
        if outcome.result is not Result.DONE:
            failed.append(outcome)
        else:
            lines.append(_done(action))
            host.did(f"{plan.name}: {lines[-1]}")
    return failed, lines


def _require_undefinable(host: Host, domain: DefinedDomain) -> None:
    name = domain.name
    if domain.state.is_active:
        raise HypervisorError(
            f"{name}: is {domain.state.value}; shut it down first with {shell_command('virtrbd shutdown', name)}"
        )
    if domain.state is PowerState.SAVED:
        raise HypervisorError(
            f"{name}: holds a managed save; resume it, or drop it with "
            f"{shell_command('virsh managedsave-remove', name)}"
        )
    if domain.definition.mark is None and Hazard.TAKES_OVER not in host.allowed:
        raise BlockedError(f"{name}: is not virtrbd's; --allow takes-over undefines it anyway")


def _done(action: Action) -> str:
    if isinstance(action, TrashImage):
        return f"moved image {action.ref} to the trash for 14 days"
    return "undefined"


def _images(host: Host, domain: DefinedDomain, *, must_be_read: bool) -> dict[ImageRef, Image | Failure | None]:
    refs = images_named_by(host.hypervisor, domain)
    if must_be_read:
        return {ref: read_image(host.cluster, ref) for ref in refs}
    return {ref: image_or_failure(host.cluster, ref, partial(read_image, host.cluster, ref)) for ref in refs}
