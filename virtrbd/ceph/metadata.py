"""What virtrbd keeps in an image's own metadata, and what librbd does there."""

import json
from collections.abc import Mapping
from typing import Any

from virtrbd.model.image import ImageMark

OWNER = "virtrbd.owner"
STATE = "virtrbd.state"
RUNNING = "virtrbd.running"
SEED = "virtrbd.seed"


def owner_value(mark: ImageMark) -> str:
    """Return the mark as it is kept."""
    name = {"host_name": mark.host_name} if mark.host_name else {}
    return json.dumps({"domain": mark.domain_uuid, "image": mark.image_id, "host": mark.host, **name})


def running_value(host: str, image_id: str) -> str:
    """Return the host of the last start as it is kept: with the image's id, because clones inherit all metadata."""
    return json.dumps({"host": host, "image": image_id})


def seed_value(digest: str, image_id: str) -> str:
    """Return the digest of the seed that an image holds as it is kept: of a copy it proves nothing."""
    return json.dumps({"digest": digest, "image": image_id})


def config_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return librbd's options among the metadata; only those that begin so are its own."""
    prefix = "conf_"
    return {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}


def mark_of(metadata: Mapping[str, str], image_id: str) -> ImageMark | None:
    try:
        data = json.loads(metadata.get(OWNER, ""))
        name = str(data.get("host_name", ""))
        mark = ImageMark(domain_uuid=data["domain"], image_id=data["image"], host=data["host"], host_name=name)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return mark if mark.image_id == image_id else None


def running_on(metadata: Mapping[str, str], image_id: str) -> str:
    return _own_word(metadata, RUNNING, "host", image_id)


def seed_of(metadata: Mapping[str, str], image_id: str) -> str:
    return _own_word(metadata, SEED, "digest", image_id)


def _own_word(metadata: Mapping[str, str], key: str, word: str, image_id: str) -> str:
    """Return a word that counts only where it was written for this very image."""
    try:
        data = json.loads(metadata.get(key, ""))
        return str(data[word]) if data["image"] == image_id else ""
    except (ValueError, KeyError, TypeError):
        return ""


def inherited(metadata: Mapping[str, str], image_id: str) -> tuple[str, ...]:
    """Return the keys that an image must not take over from its parent: marks, and options that override the spec's.

    What carries the image's own id was said of it itself: where its guest was last, what seed it holds.
    """
    foreign = (
        key for key in metadata if key.startswith("virtrbd.") and not _own_word(metadata, key, "image", image_id)
    )
    return tuple(sorted([*foreign, *(key for key in metadata if key.startswith("conf_rbd_"))]))


def is_copy(image: Any) -> bool:
    """Whether the open image carries a mark that was made for another one."""
    metadata = dict(image.metadata_list())
    return OWNER in metadata and mark_of(metadata, image.id()) is None


def strip_inherited(image: Any) -> tuple[str, ...]:
    """Free the open image from what it inherited; return the options among it as `key=value`."""
    metadata = dict(image.metadata_list())
    for key in inherited(metadata, image.id()):
        image.metadata_remove(key)
    return options_in(metadata)


def options_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return librbd's options among the metadata as `key=value`."""
    return tuple(f"{key}={value}" for key, value in sorted(config_of(metadata).items()) if key.startswith("rbd_"))


def remove_metadata(image: Any, key: str) -> None:
    if key in dict(image.metadata_list()):
        image.metadata_remove(key)
