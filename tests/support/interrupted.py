"""What a kill -9 in the middle of an action leaves of the world that simulate.py models."""

from collections.abc import Iterator

from support.simulate import (
    NOW,
    changed,
    changed_live,
    creation,
    image_at,
    made_of,
    marked_image,
    new_image,
    noted,
    off,
    released,
    remarked,
    seed_image,
    simulate,
    with_image,
    with_secret,
    written_images,
)

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.model.actions import Action
from virtrbd.model.cluster import Secret
from virtrbd.model.domain_actions import DefineDomain, DefineSecret, ShutDownDomain, StartDomain, UndefineDomain
from virtrbd.model.image import ImageRef, Intent
from virtrbd.model.image_actions import CloneImage, CreateImage, ImportImage, RemoveHalfImage, WriteSeed
from virtrbd.model.image_state import IMPORTING, Filling
from virtrbd.model.live_actions import (
    AttachDevice,
    DetachDevice,
)
from virtrbd.model.record import replace
from virtrbd.planning.world import World


def interrupted(action: Action, actual: World) -> Iterator[World]:
    """Yield the worlds that a kill -9 during the action can leave, its beginning included, its end not."""
    yield actual
    match action:
        case DefineSecret():
            yield with_secret(actual, Secret(uuid=action.uuid, usage=action.usage, is_set=False))
        case CreateImage() | CloneImage() | ImportImage():
            yield from _half_made(action, actual)
        case RemoveHalfImage():
            yield with_image(actual, action.ref, None)
        case WriteSeed():
            if action.is_new:
                yield from _half_made(creation(action), actual)
            # Written or not: nothing vouches for the content any more, or yet.
            made = made_of(creation(action), actual) if action.is_new else actual
            yield with_image(made, action.ref, replace(seed_image(made, action), seed=""))
        case DefineDomain():
            after = simulate(action, actual)
            yield changed(after, action.domain_uuid, _unrecorded)
        case StartDomain():
            # Each image is noted before the guest may write to it.
            written = written_images(actual, action.domain_uuid)
            yield from (noted(actual, written[:count], actual.host_uuid) for count in range(1, len(written) + 1))
        case ShutDownDomain():
            yield changed(actual, action.domain_uuid, off)
        case UndefineDomain():
            yield released(actual, action.domain_uuid)
        case AttachDevice(image=ImageRef() as image):
            yield noted(actual, [image], actual.host_uuid)
        case DetachDevice():
            yield changed(actual, action.domain_uuid, lambda found: replace(found, live=changed_live(action, found)))
        case _:
            pass


def _half_made(action: CreateImage | CloneImage | ImportImage, actual: World) -> Iterator[World]:
    intent = _intent(action)
    intended = replace(actual, intents={**actual.intents, action.ref: intent})
    yield intended
    # It has a name and no header: the parts of it that librbd writes first.
    yield replace(intended, half_made={**actual.half_made, action.ref: "half"})
    made = with_image(intended, action.ref, new_image(action, actual))
    # The image is there, and carries nothing yet.
    yield made
    if isinstance(action, ImportImage):
        filling = replace(image_at(made, action.ref), state=Filling(IMPORTING, intent.nonce))
        yield with_image(made, action.ref, filling)
    # With its mark an import is ready, at once.
    yield marked_image(made, action.ref, action.domain_uuid)


def _intent(action: CreateImage | CloneImage | ImportImage) -> Intent:
    return Intent(
        ref=action.ref,
        domain_uuid=action.domain_uuid,
        size_bytes=action.size_bytes,
        parent=action.parent if isinstance(action, CloneImage) else None,
        nonce="d" * 32,
        written_at=NOW,
        importing=isinstance(action, ImportImage),
    )


def _unrecorded(found: DefinedDomain) -> DefinedDomain:
    return remarked(found, definition="")
