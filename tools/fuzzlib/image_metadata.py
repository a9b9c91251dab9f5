"""Targets that take what any client of a pool may write: the metadata of an image, its header, its snapshots."""

from __future__ import annotations

from fuzzlib.target import Target, require, text_of
from fuzzlib.world import odd_image, plan_in, with_image
from virtrbd.ceph.header import decode_header
from virtrbd.ceph.metadata import (
    STATE,
    config_of,
    inherited,
    mark_of,
    options_in,
    owner_value,
    running_on,
    running_value,
    seed_of,
    seed_value,
)
from virtrbd.planning.world import World

WORDS = (
    'virtrbd.owner={"domain": "', '"image": "', '"host": "', '"host_name": "', "virtrbd.state=rolling back to ",
    "virtrbd.state=importing ", "virtrbd.running=", "virtrbd.seed=", "conf_rbd_cache=", "conf_rbd_plugins=",
    "rbd_cache_policy", "\\ud800", "[[[[[[[[", "1e999", "NaN",
)  # fmt: skip
_METADATA = "metadata_"


def split_metadata(data: bytes) -> dict[str, bytes]:
    """Return `key=value` pairs, apart by NUL."""
    pairs = (pair.partition(b"=") for pair in data.split(b"\0") if pair)
    return {text_of(key): value for key, _, value in pairs}


def world_with(metadata: dict[str, str], snapshots: tuple[str, ...] = ()) -> World:
    """Return the world in which the odd domain's image says this of itself."""
    image_id = odd_image().image_id
    return with_image(
        mark=mark_of(metadata, image_id),
        state=metadata.get(STATE, ""),
        running_on=running_on(metadata, image_id),
        seed=seed_of(metadata, image_id),
        config=config_of(metadata),
        snapshots=snapshots,
    )


def try_metadata(data: bytes) -> None:
    """Metadata as librbd's bindings hand it on: text."""
    metadata = {key: text_of(value) for key, value in split_metadata(data).items()}
    image_id = odd_image().image_id
    mark = mark_of(metadata, image_id)
    if mark is not None:
        again = mark_of({"virtrbd.owner": owner_value(mark)}, image_id)
        require(again == mark, f"the owner changes when it is written again: {mark} {again}")
    running, seed = running_on(metadata, image_id), seed_of(metadata, image_id)
    for value in (running_value(running, image_id), seed_value(seed, image_id)):
        value.encode()
    inherited(metadata, image_id)
    options_in(metadata)
    plan_in(world_with(metadata))


def try_header(data: bytes) -> None:
    """A header as it lies on the cluster: `key=value` over a whole one, values of any bytes."""
    header = decode_header({**WHOLE_HEADER, **split_metadata(data)})
    if header is not None:
        config_of(header.metadata)
        plan_in(world_with(dict(header.metadata), tuple(header.snapshots.values())))


def try_snapshots(data: bytes) -> None:
    """Names of snapshots, apart by NUL."""
    names = tuple(text_of(name) for name in data.split(b"\0"))
    for state in ("", f"rolling back to {names[0]}"):
        plan_in(with_image(snapshots=names, state=state))


WHOLE_HEADER = {
    "size": (64 << 20).to_bytes(8, "little"),
    "order": b"\x16",
    "features": (61).to_bytes(8, "little"),
    "create_timestamp": bytes(8),
    "snapshot_0000000000000004": (
        # version, compat, length; id, name; size, protected, flags; the kind's version, compat, length, then user.
        bytes((8, 8)) + (64).to_bytes(4, "little") + (4).to_bytes(8, "little") + b"\x02\x00\x00\x00s1" + bytes(17)
        + bytes((1, 1)) + (4).to_bytes(4, "little") + bytes(4)
    ),
}  # fmt: skip

TARGETS = (
    Target(
        name="image-metadata",
        about="owner, state, running and seed marks of an image, and its librbd options",
        run=try_metadata,
        words=WORDS,
    ),
    Target(
        name="image-header",
        about="an image's header, read without opening it",
        run=try_header,
        words=(f"{_METADATA}virtrbd.owner=", "snapshot_0000000000000004=", "parent=", "size=", "order=", *WORDS),
    ),
    Target(name="snapshot-names", about="names of an image's snapshots", run=try_snapshots, words=WORDS),
)
