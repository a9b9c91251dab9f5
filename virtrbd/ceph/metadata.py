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
    return json.dumps({"domain": mark.domain_uuid, "image": mark.image_id, "host": mark.host})


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
        mark = ImageMark(domain_uuid=data["domain"], image_id=data["image"], host=data["host"])
    except (ValueError, KeyError, TypeError):
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


def strip_inherited(image: Any) -> tuple[str, ...]:
    dropped = []
    held = dict(image.metadata_list())
    for key, value in sorted(held.items()):
        if key == SEED and seed_of(held, image.id()):
            # Its own: a seed that moves to another host with its domain is not written again.
            continue
        if key.startswith("conf_rbd_"):
            dropped.append(f"{key.removeprefix('conf_')}={value}")
        if key.startswith(("conf_rbd_", "virtrbd.")):
            remove_metadata(image, key)
    return tuple(dropped)


def remove_metadata(image: Any, key: str) -> None:
    if key in dict(image.metadata_list()):
        image.metadata_remove(key)
