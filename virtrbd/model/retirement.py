"""Facts for the retirement of a domain: what libvirt keeps of it, and which images are trashed with it."""

from msgspec import Struct

from virtrbd.model.image import ImageRef


class Kept(Struct, frozen=True, kw_only=True):
    """What libvirt keeps of a domain besides its definition: while there is any, libvirt refuses to undefine."""

    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    block_jobs: tuple[str, ...] = ()


class RetiredImage(Struct, frozen=True, kw_only=True):
    """An image of a domain that is retired; the id shows that it is still the same image."""

    ref: ImageRef
    image_id: str


class Retirement(Struct, frozen=True, kw_only=True):
    """What a run wrote down before it undefined a domain: after a crash the next run knows which images to trash."""

    name: str
    domain_uuid: str
    images: tuple[RetiredImage, ...]
    delay_s: float
