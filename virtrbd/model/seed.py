"""Cloud-init seeds: the data for a guest's cloud-init, as a NoCloud disc in a separate image."""

from msgspec import Struct

from virtrbd.model.digest import digest_of
from virtrbd.model.image import ImageLayout, ImageRef

# One object: RADOS changes one as a whole or not at all, so a guest never reads half of a new seed.
SEED_BYTES = 4 * 1024**2
# No exclusive-lock: a seed is written whole and needs none, and a killed run's lock would make the next run wait
# until its watch is over, half a minute.
SEED_LAYOUT = ImageLayout(object_bytes=SEED_BYTES, stripe_unit_bytes=SEED_BYTES, stripe_count=1, features=("layering",))
# Three documents and the disc around them fit into one object.
MAX_DOCUMENT_BYTES = 1024**2

USER_DATA, META_DATA, NETWORK_CONFIG = "user-data", "meta-data", "network-config"


class SeedDocument(Struct, frozen=True, kw_only=True):
    """One document, as text or as the file that holds it; `where` is its place in a spec: `web.yaml:7`.

    The file must lie beneath one of the folders in `beneath`. The text may hold keys and hashes of
    passwords: it is in no repr.
    """

    text: str = ""
    file: str = ""
    beneath: tuple[str, ...] = ()
    where: str = ""

    def __repr__(self) -> str:
        return f"SeedDocument({self})"

    def __str__(self) -> str:
        return self.file or f"inline, {len(self.text.encode())} bytes"


class Seed(Struct, frozen=True, kw_only=True):
    """A domain's seed: its image, and the documents of the spec; None where the spec has none."""

    image: ImageRef
    user_data: SeedDocument | None = None
    meta_data: SeedDocument | None = None
    network_config: SeedDocument | None = None
    where: str = ""

    @property
    def documents(self) -> dict[str, SeedDocument]:
        """The documents of the spec, by their names on the disc."""
        named = {USER_DATA: self.user_data, META_DATA: self.meta_data, NETWORK_CONFIG: self.network_config}
        return {name: document for name, document in named.items() if document}


class SeedFile(Struct, frozen=True, kw_only=True):
    """A document's file as it was read, or why it could not be read."""

    raw: bytes = b""
    problem: str = ""

    def __repr__(self) -> str:
        return f"SeedFile({len(self.raw)} bytes, {self.problem!r})"


def seed_digest(domain_uuid: str, name: str, contents: dict[str, bytes]) -> str:
    """Return the digest of a seed's content: not of the disc, which holds the time of its making."""
    parts = (part for document in sorted(contents) for part in (document, contents[document]))
    return digest_of(domain_uuid, name, *parts)
