"""This host's records of its work on images: every client of a pool can write the marks on its images.

A trace has the image's id, so it does not apply to another image that has the name by now.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition
from virtrbd.local.state_dir import StateDir
from virtrbd.model.domain import Domain
from virtrbd.model.image import Image, ImageRef

_MADE, _ROLLBACKS, _UNMARKED = "made", "rollbacks", "unmarked"


def note_made(state: StateDir, ref: ImageRef, image_id: str) -> None:
    """Record that the image was made, or taken over, by this host. Raises VirtrbdError."""
    state.write_trace(_MADE, ref.image, {"image": image_id})


def note_unmarked(state: StateDir, ref: ImageRef, image_id: str, domain_uuid: str) -> None:
    """Record an image that was made here while this host's UUID was unknown. Raises VirtrbdError."""
    state.write_trace(_UNMARKED, ref.image, {"ref": str(ref.image), "image": image_id, "domain": domain_uuid})


def unmarked(state: StateDir) -> Iterator[tuple[ImageRef, str, str]]:
    """Yield the images that still need a mark: name, id, and the UUID of their domain, "" without one."""
    for words in state.read_traces(_UNMARKED):
        with suppress(ValueError):
            yield ImageRef.parse(words.get("ref", "")), words.get("image", ""), words.get("domain", "")


def drop_unmarked(state: StateDir, ref: ImageRef) -> None:
    """Forget it: the image has its mark, or is gone. Raises VirtrbdError."""
    state.drop_trace(_UNMARKED, ref.image)


def note_rollback(state: StateDir, ref: ImageRef, image_id: str) -> None:
    """Record that this host begins to roll an image back to the snapshot `ref`. Raises VirtrbdError."""
    state.write_trace(_ROLLBACKS, ref.image, {"image": image_id, "snapshot": ref.snapshot})


def drop_rollback(state: StateDir, ref: ImageRef) -> None:
    """Forget a rollback: it is done."""
    state.drop_trace(_ROLLBACKS, ref.image)


def rollbacks_begun(state: StateDir, images: Iterable[Image]) -> dict[ImageRef, str]:
    """Return the snapshots, by image, that this host began to roll back to."""
    traces = ((image, state.read_trace(_ROLLBACKS, image.ref)) for image in images if image.state)
    return {image.ref: trace.get("snapshot", "") for image, trace in traces if trace.get("image") == image.image_id}


def unknown_marks(
    state: StateDir, domains: Iterable[Domain], held: Iterable[DefinedDomain], images: Iterable[Image]
) -> frozenset[ImageRef]:
    """Return the images that bear the mark of a domain of this host, without a record of this host.

    A domain's UUID and an image's id are not secret, so every writer of the pool can forge a mark. A trace of
    this host proves it; where there is none (images of earlier versions), a definition that names the image does.
    """
    by_ref = {image.ref: image for image in images}
    definitions = {key: found.definition for found in held for key in (found.name, found.uuid)}

    return frozenset(
        ref
        for domain in domains
        for ref in _refs(domain)
        if (image := by_ref.get(ref))
        and not _is_known(state, image, definitions.get(domain.uuid) or definitions.get(domain.name))
    )


def _refs(domain: Domain) -> Iterator[ImageRef]:
    yield from (disk.image.image for disk in domain.disks if not disk.existing)
    if domain.seed:
        yield domain.seed.image


def _is_known(state: StateDir, image: Image, definition: Definition | None) -> bool:
    if trace := state.read_trace(_MADE, image.ref):
        return trace.get("image") == image.image_id
    return definition is not None and definition.names(image.ref)
