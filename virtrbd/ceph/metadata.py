"""virtrbd's marks in an image's own metadata, and librbd's options there."""

import json
from collections.abc import Mapping
from typing import Any

from virtrbd.ceph.contents import metadata_of
from virtrbd.ceph.texts import as_bytes, is_name
from virtrbd.model.duration import LATEST
from virtrbd.model.image import ImageMark, LastRun
from virtrbd.model.image_state import ImageState, state_from

OWNER = "virtrbd.owner"
STATE = "virtrbd.state"
RUNNING = "virtrbd.running"
LAST_RUN = "virtrbd.last_run"
SEED = "virtrbd.seed"

# Characters of a mark that virtrbd wrote: two ids, a name, and a snapshot's name at most.
_MOST_MARK = 8192
# A host's name may hold some.
_MOST_BRACKETS = 16
_MOST_PLAIN = 256


def owner_value(mark: ImageMark) -> str:
    """Return the mark as metadata."""
    name = {"host_name": mark.host_name} if mark.host_name else {}
    return json.dumps({"domain": mark.domain_uuid, "image": mark.image_id, "host": mark.host, **name})


def running_value(host: str, image_id: str) -> str:
    """Return the host of the last start as metadata: with the image's id, because clones inherit all metadata."""
    return json.dumps({"host": host, "image": image_id})


def last_run_value(run: LastRun, image_id: str) -> str:
    """Return the last run of a guest as metadata."""
    # With an odd name the whole mark would not be read again, and the name is for messages only.
    domain = "" if len(run.domain) > _MOST_PLAIN or {"[", "{"} & set(run.domain) else run.domain
    words = {"host": run.host, "host_name": run.host_name, "domain": domain, "generation": run.generation}
    return json.dumps({**words, "started_at": repr(run.started_at), "image": image_id})


def state_value(state: str, image_id: str) -> str:
    """Return the state of an image as metadata, with its id: a copy of the image does not have that state."""
    return json.dumps({"state": state, "image": image_id})


def seed_value(digest: str, image_id: str) -> str:
    """Return the digest of the seed of an image as metadata, with its id: it proves nothing about a copy."""
    return json.dumps({"digest": digest, "image": image_id})


def config_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return librbd's options among the metadata; recognised by their prefix."""
    prefix = "conf_"
    return {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}


def mark_of(metadata: Mapping[str, str], image_id: str) -> ImageMark | None:
    """Return the owner of the image; None where the mark is unreadable, missing or another image's."""
    words = _words(metadata.get(OWNER, ""))
    if words.get("image") != image_id or not {"domain", "host"} <= words.keys():
        return None
    return ImageMark(
        domain_uuid=words["domain"], image_id=image_id, host=words["host"], host_name=words.get("host_name", "")
    )


def running_on(metadata: Mapping[str, str], image_id: str) -> str:
    return _own_word(metadata, RUNNING, "host", image_id)


def last_run_of(metadata: Mapping[str, str], image_id: str) -> LastRun | None:
    """Return the last run of a guest on the image, None where that is unreadable or missing."""
    words = _words(metadata.get(LAST_RUN, ""))
    if words.get("image") != image_id or "host" not in words:
        return None
    return LastRun(
        host=words["host"],
        host_name=words.get("host_name", ""),
        domain=words.get("domain", ""),
        generation=words.get("generation", ""),
        started_at=_seconds(words.get("started_at", "")),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < LATEST else 0.0


def seed_of(metadata: Mapping[str, str], image_id: str) -> str:
    return _own_word(metadata, SEED, "digest", image_id)


def state_of(metadata: Mapping[str, str], image_id: str) -> ImageState | None:
    """Return why the image is not ready, None where it is ready.

    The state of another image does not apply to its copy. Text that is not a mark is a state too: earlier versions
    wrote plain words, and a state that cannot be read does not count as ready.
    """
    text = metadata.get(STATE, "")
    words = _words(text)
    if "state" in words and "image" in words:
        return state_from(words["state"]) if words["image"] == image_id else None
    return state_from(text if len(text) <= _MOST_PLAIN else f"{text[:_MOST_PLAIN]}… ({len(text)} characters)")


def copied_state_of(metadata: Mapping[str, str], image_id: str) -> str:
    """Return the state of another image that was copied with its metadata, else ""."""
    words = _words(metadata.get(STATE, ""))
    return words.get("state", "") if words.get("image", image_id) != image_id else ""


def _own_word(metadata: Mapping[str, str], key: str, word: str, image_id: str) -> str:
    """Return a word that counts only where it was written for this image."""
    words = _words(metadata.get(key, ""))
    return words.get(word, "") if words.get("image") == image_id else ""


def _words(text: str) -> dict[str, str]:
    """Return the words of a mark: a flat, short object of texts; empty for anything else.

    Every client of the pool may write it, so it is checked before it is parsed: a hundred thousand brackets overflow
    the parser's stack.
    """
    if len(text) > _MOST_MARK or text.count("{") + text.count("[") > _MOST_BRACKETS:
        return {}
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, str) and is_name(value)}


def inherited(metadata: Mapping[str, str], image_id: str) -> tuple[str, ...]:
    """Return the keys that an image must not take over from its parent: marks, and options that override the spec's.

    A value with the image's own id is its own: where its guest was last, what seed it holds.
    """
    foreign = (
        key for key in metadata if key.startswith("virtrbd.") and not _own_word(metadata, key, "image", image_id)
    )
    return tuple(sorted([*foreign, *(key for key in metadata if key.startswith("conf_rbd_"))]))


def is_copy(ioctx: Any, image: Any) -> bool:
    """Whether the open image carries a mark of another image."""
    metadata = metadata_of(ioctx, image)
    return OWNER in metadata and mark_of(metadata, image.id()) is None


def strip_inherited(ioctx: Any, image: Any) -> tuple[str, ...]:
    """Remove from the open image what it inherited; return the options among it as `key=value`."""
    metadata = metadata_of(ioctx, image)
    for key in inherited(metadata, image.id()):
        image.metadata_remove(as_bytes(key))
    return options_in(metadata)


def options_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return librbd's options among the metadata as `key=value`."""
    return tuple(f"{key}={value}" for key, value in sorted(config_of(metadata).items()) if key.startswith("rbd_"))


def remove_metadata(ioctx: Any, image: Any, key: str) -> None:
    """Remove a key of the open image, if it is there."""
    if key in metadata_of(ioctx, image):
        image.metadata_remove(key)
