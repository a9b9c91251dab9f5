"""How a domain is retired: shut down, undefined, its images moved to the trash. Each hazard is asked for. Pure."""

from collections.abc import Sequence

from virtrbd.domainxml.mark import read_mark
from virtrbd.model.actions import Action, DropManagedSave, ShutDownDomain, TrashImage, UndefineDomain
from virtrbd.model.domain import DefinedDomain, PowerState
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image
from virtrbd.model.plan import DomainPlan


def plan_retirement(defined: DefinedDomain, images: Sequence[Image], host_uuid: str, *, delay_s: float) -> DomainPlan:
    """Return the steps. Only images that are the domain's own go; what it merely uses stays."""
    takes_over = () if read_mark(defined.definition) else (Hazard.TAKES_OVER,)
    actions: list[Action] = []
    if defined.state.is_active:
        actions.append(ShutDownDomain(domain_uuid=defined.uuid, hazards=(Hazard.INTERRUPTS_GUEST, *takes_over)))
    if defined.state is PowerState.SAVED:
        actions.append(DropManagedSave(domain_uuid=defined.uuid, hazards=(Hazard.LOSES_DATA, *takes_over)))
    # Images first: a crash in between leaves a domain that can be named again, not images that nobody knows.
    for image in images:
        if image.is_of(defined.uuid):
            elsewhere = (Hazard.TAKES_OVER,) if image.mark and image.mark.host != host_uuid else ()
            hazards = (Hazard.LOSES_DATA, *elsewhere)
            actions.append(TrashImage(ref=image.ref, image_id=image.image_id, delay_s=delay_s, hazards=hazards))
    actions.append(UndefineDomain(domain_uuid=defined.uuid, hazards=(Hazard.FORGETS_DOMAIN, *takes_over)))
    return DomainPlan(name=defined.name, uuid=defined.uuid, actions=tuple(actions), exists=True)
