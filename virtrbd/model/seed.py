"""Cloud-init seeds: what a guest is told of itself, as a NoCloud disc in an image of its own."""

from dataclasses import dataclass, field

from virtrbd.model.digest import digest_of
from virtrbd.model.image import ImageLayout, ImageRef

# One object: RADOS changes one as a whole or not at all, so a guest never reads half of a new seed.
SEED_BYTES = 4 * 1024**2
# No exclusive-lock: what is written whole needs none, and that of a run that was killed would keep the next one waiting
# until its watch is over, half a minute.
SEED_LAYOUT = ImageLayout(object_bytes=SEED_BYTES, stripe_unit_bytes=SEED_BYTES, stripe_count=1, features=("layering",))
# Three of them and the disc around them lie in one object.
MAX_DOCUMENT_BYTES = 1024**2

USER_DATA, META_DATA, NETWORK_CONFIG = "user-data", "meta-data", "network-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDocument:
    """One document, as text or as the file that holds it; `where` is its place in a spec: `web.yaml:7`.

    The file lies beneath one of the folders in `beneath`, or is not read. The text may hold keys and hashes of
    passwords: it is in no repr.
    """

    text: str = field(default="", repr=False)
    file: str = ""
    beneath: tuple[str, ...] = ()
    where: str = ""

    def __str__(self) -> str:
        return self.file or f"inline, {len(self.text.encode())} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A domain's seed: its image, and what a person wrote; None where nobody wrote anything."""

    image: ImageRef
    user_data: SeedDocument | None = None
    meta_data: SeedDocument | None = None
    network_config: SeedDocument | None = None
    where: str = ""

    @property
    def documents(self) -> dict[str, SeedDocument]:
        """The documents that were written, by the names that they have on the disc."""
        named = {USER_DATA: self.user_data, META_DATA: self.meta_data, NETWORK_CONFIG: self.network_config}
        return {name: document for name, document in named.items() if document}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """A document's file as it was read, or why it could not be."""

    raw: bytes = field(default=b"", repr=False)
    problem: str = ""


def seed_digest(domain_uuid: str, name: str, contents: dict[str, bytes]) -> str:
    """Return the digest of all that makes a seed: not of the disc, which holds the time that it was made at."""
    parts = (part for document in sorted(contents) for part in (document, contents[document]))
    return digest_of(domain_uuid, name, *parts)
