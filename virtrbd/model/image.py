"""RBD images: their names, what is known of them, and their owners."""

import re
from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from virtrbd.model.image_state import ImageState
from virtrbd.model.names import LONGEST_NAME, LONGEST_NAMESPACE, check_name, check_new_name
from virtrbd.model.record import Keyed, replace
from virtrbd.printable import cut, quoted

# As rbd reads it: the first `@` begins the snapshot, which may hold any character.
_REF = re.compile(
    r"(?P<pool>[^/@]+)/(?:(?P<namespace>[^/@]+)/)?(?P<name>[^/@]+)(?:@(?P<snapshot>.+))?", re.DOTALL
)  # fmt: skip


class ImageRef(Struct, frozen=True, kw_only=True, order=True):
    """A name of an image: `pool[/namespace]/name[@snapshot]`."""

    pool: str
    namespace: str = ""
    name: str
    snapshot: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the image that the text names: any that RBD and libvirt can hold. Raises ValueError."""
        match = _REF.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{quoted(text)} is not the name of an image; write pool/image, pool/namespace/image or "
                f"pool/image@snapshot"
            )
        parts = {key: value or "" for key, value in match.groupdict().items()}
        for key, value in parts.items():
            check_name(value, LONGEST_NAMESPACE if key == "namespace" else LONGEST_NAME)
        return cls(**parts)

    @classmethod
    def parse_new(cls, text: str) -> Self:
        """Return the image or snapshot to make. Raises ValueError."""
        ref = cls.parse(text)
        check_new_name(ref.snapshot or ref.name)
        return ref

    def __str__(self) -> str:
        snapshot = f"@{self.snapshot}" if self.snapshot else ""
        return f"{self.pool_spec}/{self.name}{snapshot}"

    @property
    def image(self) -> "ImageRef":
        """The image itself, without the snapshot."""
        return replace(self, snapshot="") if self.snapshot else self

    @property
    def pool_spec(self) -> str:
        """`pool[/namespace]`: where the image lies."""
        return f"{self.pool}/{self.namespace}" if self.namespace else self.pool

    @property
    def path(self) -> str:
        """`[namespace/]name`: what libvirt's source name has behind the pool."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def host_label(host: str, host_name: str) -> str:
    """Return a host for a message: with its name where that is known."""
    return f"{cut(host_name)} ({cut(host)})" if host_name else cut(host)


class ImageMark(Keyed, frozen=True, kw_only=True):
    """The owner of an image. It counts only where `image_id` is the image's own: clones inherit marks.

    `host` is libvirt's UUID of the host and decides; `host_name` is for messages, and empty in
    older marks.
    """

    domain_uuid: str
    image_id: str
    host: str
    host_name: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What it is compared by."""
        return (self.domain_uuid, self.image_id, self.host)

    @property
    def host_label(self) -> str:
        """The host, for a message."""
        return host_label(self.host, self.host_name)


# The features that a caller chooses for a new image; librbd's other features follow from later work on it.
FEATURES = (
    "layering",
    "striping",
    "exclusive-lock",
    "object-map",
    "fast-diff",
    "deep-flatten",
    "journaling",
)


class ImageLayout(Struct, frozen=True, kw_only=True):
    """The layout of a new image on the cluster; an empty field or 0 means the cluster's own default.

    `data_pool` takes the data of images whose pool can't hold it: an erasure-coded one.
    """

    object_bytes: int = 0
    features: tuple[str, ...] = ()
    stripe_unit_bytes: int = 0
    stripe_count: int = 0
    data_pool: str = ""


class Watcher(Keyed, frozen=True, kw_only=True):
    """A client that has an image open read-write; `is_here`: it is surely a client of this host."""

    address: str
    client_id: int
    is_here: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What it is compared by."""
        return (self.address, self.client_id)

    def __str__(self) -> str:
        return f"client.{self.client_id} at {self.address.split('/')[0]}"


class LastRun(Keyed, frozen=True, kw_only=True):
    """The last run of a guest on an image: on which host, since when (seconds since 1970), its generation, and the
    domain by name: for messages, and empty in older marks.

    A clean stop ends the claim of the host (`running_on`), not this trace (law 17). A managed save belongs to the run
    whose `generation` it has; that is empty where a guest without a mark ran.
    """

    host: str
    host_name: str = ""
    domain: str = ""
    generation: str = ""
    started_at: float = 0.0

    @property
    def key(self) -> tuple[object, ...]:
        """What it is compared by."""
        return (self.host,)

    @property
    def host_label(self) -> str:
        """The host, for a message."""
        return host_label(self.host, self.host_name)


class Obstacle(Struct, frozen=True, kw_only=True):
    """Why RBD lets no client write to an image now, and the way out."""

    text: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.text}; {self.way_out}"


class Image(Struct, frozen=True, kw_only=True):
    """An image as the cluster holds it; `allocated_bytes` is None where it was not queried.

    `config` holds the image's own librbd options, which beat ceph.conf and QEMU; `seed` the digest of the cloud-init
    seed that was written to it. `watchers` and `obstacles` are known only after opening the image, not from its header.
    """

    ref: ImageRef
    image_id: str
    size_bytes: int
    created_at: float
    mark: ImageMark | None = None
    state: ImageState | None = None
    running_on: str = ""
    last_run: LastRun | None = None
    seed: str = ""
    parent: ImageRef | None = None
    watchers: tuple[Watcher, ...] = ()
    allocated_bytes: int | None = None
    object_bytes: int = 4 * 1024**2
    features: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    config: Mapping[str, str] = {}

    def is_of(self, domain_uuid: str) -> bool:
        """Whether the mark says that this image belongs to the domain."""
        return self.mark is not None and self.mark.domain_uuid == domain_uuid

    @property
    def host_labels(self) -> dict[str, str]:
        """The hosts of its marks, for a message, by UUID: where it runs, where it ran last, and its owner's."""
        named = [(self.last_run.host, self.last_run.host_label)] if self.last_run else []
        named += [(self.mark.host, self.mark.host_label)] if self.mark else []
        found = {self.running_on: cut(self.running_on)} if self.running_on else {}
        for host, label in named:
            # Some marks lack the host's name.
            found[host] = label if found.get(host, cut(host)) == cut(host) else found[host]
        return found

    @property
    def running_on_label(self) -> str:
        """`running_on` for a message, with its name where another mark has it."""
        return self.host_labels.get(self.running_on, "")

    def is_of_other_host(self, host_uuid: str) -> bool:
        """Whether the mark names another host."""
        return self.mark is not None and self.mark.host != host_uuid


# Characters of an image's id, and at most of the random bits in it.
_LONGEST_ID, _MOST_RANDOM = 14, 8


class Intent(Struct, frozen=True, kw_only=True):
    """What a run wrote down before it made an image: only an image of this intent may be marked by a later run.

    `what` identifies the filling: only a run that would do the same may take it for done. `client_id` is the
    number of the client that made it, 0 in intents of earlier versions: librbd begins an image's id with it.
    """

    ref: ImageRef
    domain_uuid: str
    size_bytes: int
    parent: ImageRef | None
    nonce: str
    written_at: float
    importing: bool = False
    what: str = ""
    client_id: int = 0

    def made_id(self, image_id: str) -> bool:
        """Whether the client of this intent made the image with that id.

        librbd makes an id of the client's number and 32 random bits, in hexadecimal, and keeps the last 14 characters
        (librbd/Utils, generate_image_id).
        """
        number = f"{self.client_id:x}"
        is_cut = len(image_id) == _LONGEST_ID
        starts = (number[at:] for at in range(len(number))) if is_cut else (number,)
        fits = (start for start in starts if 1 <= len(image_id) - len(start) <= _MOST_RANDOM)
        return self.client_id > 0 and any(map(image_id.startswith, fits))

    def is_before(self, at: float) -> bool:
        """Whether it was written before that time, in seconds since 1970.

        Five seconds of tolerance: the two times come from two clocks, and Ceph complains of more than 0.05 s.
        """
        return at >= self.written_at - 5

    def matches(self, image: Image) -> bool:
        """Whether the image is what this intent made: same parent, size, no mark of another, made after it."""
        return (
            image.mark is None
            and image.parent == self.parent
            and (self.parent is not None or image.size_bytes == self.size_bytes)
            and self.is_before(image.created_at)
        )
