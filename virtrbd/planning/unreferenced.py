"""The images that nothing uses, as far as one host can know. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from virtrbd.model.image import ImageRef, host_label
from virtrbd.model.image_details import ImageDetails, ListedImage
from virtrbd.model.image_use import DomainUse


class Verdict(StrEnum):
    """Why an image is in the report."""

    UNREFERENCED = "unreferenced"
    ELSEWHERE = "another host's"
    HALF = "half-made"
    GROUPED = "in a group"
    MIRRORED = "mirrored"
    LOCKED = "locked"
    MIGRATING = "being migrated"
    TRASHED = "in the trash"


class Unreferenced(Struct, frozen=True, kw_only=True):
    """An image that nothing here uses. `reclaimable_bytes` None: unknown without fast-diff.

    `owner`, `host` and `host_name` come from its mark, empty without one; `expires_at` is for the trash,
    seconds since 1970.
    """

    ref: ImageRef
    image_id: str
    verdict: Verdict
    reclaimable_bytes: int | None
    owner: str = ""
    host: str = ""
    host_name: str = ""
    expires_at: float | None = None

    @property
    def host_label(self) -> str:
        """The host, for a report."""
        return host_label(self.host, self.host_name)


def candidates(listed: Sequence[ListedImage], uses: Sequence[DomainUse]) -> tuple[ListedImage, ...]:
    """Return the images that no domain of this host names, and that are not the parent of a listed image.

    A domain without a text may use any of them: the reader of the report must consider that.
    """
    named = {ref.image for use in uses for ref in use.refs}
    parents = {image.parent.image for image in listed if image.parent}
    return tuple(
        image
        for image in listed
        if image.ref not in named | parents and not any(use.may_use(image.ref) for use in uses)
    )


def judge(details: ImageDetails, host_uuid: str) -> Unreferenced | None:
    """Return the report on an image that no domain here names, None when another client uses it.

    A shut-off domain of another host has no watcher: only that host knows whether it is used.
    """
    image = details.image
    if image.watchers or details.children:
        return None
    usage = details.usage
    elsewhere = bool(image.mark and image.mark.host != host_uuid) or image.running_on not in ("", host_uuid)
    return Unreferenced(
        ref=image.ref,
        image_id=image.image_id,
        verdict=Verdict.ELSEWHERE if elsewhere else Verdict.HALF if image.state else _held(details),
        reclaimable_bytes=usage.total_bytes if usage else None,
        owner=image.mark.domain_uuid if image.mark else "",
        host=image.mark.host if image.mark else image.running_on,
        host_name=image.mark.host_name if image.mark else "",
    )


def _held(details: ImageDetails) -> Verdict:
    """Return the use that RBD itself knows: a backup's group or lock, a copy on another cluster."""
    if details.group:
        return Verdict.GROUPED
    if details.mirroring:
        return Verdict.MIRRORED
    if "migrating" in details.image.features:
        return Verdict.MIGRATING
    return Verdict.LOCKED if details.image.obstacles else Verdict.UNREFERENCED


def judge_trashed(details: ImageDetails, expires_at: float) -> Unreferenced:
    """Return the report on an image in the trash."""
    usage, mark = details.usage, details.image.mark
    return Unreferenced(
        ref=details.image.ref,
        image_id=details.image.image_id,
        verdict=Verdict.TRASHED,
        # A purge does not free what clones still need.
        reclaimable_bytes=0 if details.children else usage.total_bytes if usage else None,
        owner=mark.domain_uuid if mark else "",
        host=mark.host if mark else "",
        host_name=mark.host_name if mark else "",
        expires_at=expires_at,
    )
