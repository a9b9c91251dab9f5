"""What the end of a domain needs to know: what libvirt keeps of it, and which images go with it."""

from dataclasses import dataclass

from virtrbd.model.image import ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What libvirt keeps of a domain besides its definition: while there is any of it, it refuses to undefine."""

    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    block_jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredImage:
    """An image that goes with its domain; the id says that it is still the same one."""

    ref: ImageRef
    image_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """What a run wrote down before it undefined a domain: cut off there, the next one knows which images to trash."""

    name: str
    domain_uuid: str
    images: tuple[RetiredImage, ...]
    delay_s: float
