"""Which images nothing uses, as far as one host can tell. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from virtrbd.model.image import ImageRef, tell_host
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreferenced:
    """An image that nothing here uses. `reclaimable_bytes` None: without fast-diff nobody can tell.

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
    def host_told(self) -> str:
        """The host as a person reads it."""
        return tell_host(self.host, self.host_name)


def candidates(listed: Sequence[ListedImage], uses: Sequence[DomainUse]) -> tuple[ListedImage, ...]:
    """Return the images that no domain of this host names, and no image that was listed grows from.

    A domain of which there is no text may use any of them: that is for whoever reads the report.
    """
    named = {ref.image for use in uses for ref in use.refs}
    parents = {image.parent.image for image in listed if image.parent}
    return tuple(
        image
        for image in listed
        if image.ref not in named | parents and not any(use.may_use(image.ref) for use in uses)
    )


def judge(details: ImageDetails, host_uuid: str) -> Unreferenced | None:
    """Return the report on an image that no domain here names, None when somebody uses it after all.

    A shut-off domain of another host has no watcher: its image is that host's to judge.
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
    """Return what RBD itself knows of its use: a backup's group or lock, a copy on another cluster."""
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
        # What clones still need is not freed by a purge.
        reclaimable_bytes=0 if details.children else usage.total_bytes if usage else None,
        owner=mark.domain_uuid if mark else "",
        host=mark.host if mark else "",
        host_name=mark.host_name if mark else "",
        expires_at=expires_at,
    )
