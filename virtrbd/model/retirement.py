"""Facts for the retirement of a domain: what libvirt keeps of it, and which images are trashed with it."""

from dataclasses import dataclass

from virtrbd.model.image import ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What libvirt keeps of a domain besides its definition: while there is any, libvirt refuses to undefine."""

    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    block_jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredImage:
    """An image that is trashed with its domain; the id shows that it is still the same image."""

    ref: ImageRef
    image_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """What a run wrote down before it undefined a domain: after a crash the next run knows which images to trash."""

    name: str
    domain_uuid: str
    images: tuple[RetiredImage, ...]
    delay_s: float
