"""Queries of directories, headers and trash, as librbd makes them: by the methods of cls_rbd on the OSD.

Their answers come as bytes; the keys of an omap the bindings decode too. Methods and encodings are those of
src/cls/rbd/cls_rbd.cc and cls_rbd_types.cc, the same from Nautilus on.
"""

import errno
import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from msgspec import Struct

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.header import ParentKey, parent_key_of
from virtrbd.ceph.texts import as_bytes, as_text
from virtrbd.errors import ClusterError
from virtrbd.model.image_parts import TrashState

K = TypeVar("K")

# Room for an answer: the query is repeated with more room when it does not fit, up to the last.
_ANSWER_BYTES = (64 * 1024, 1024**2, 16 * 1024**2)
_AT_A_TIME = 256
# An image with more was made to be a burden.
_MOST_METADATA = 4096
_GROUP_KIND, _TRASH_KIND = 1, 2
# In a directory, before an image's id; its value is the name.
_ID_KEY = "id_"
# From this version on an entry of the trash has a state.
_STATED_VERSION = 2
_SOURCES = {0: "USER", 1: "MIRRORING", 2: "MIGRATION", 3: "REMOVING", 4: "USER_PARENT"}


class Versioned(Struct, frozen=True, kw_only=True):
    """The version of an encoded structure, and where it ends."""

    version: int
    end: int


class Decoder:
    """A reader of bytes in Ceph's encoding. Bytes that are cut short raise ValueError or struct.error."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def number(self, form: str) -> int:
        """Return the next number, `form` as struct names it."""
        [value] = struct.unpack_from(f"<{form}", self._data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return int(value)

    def raw(self) -> bytes:
        """Return the next string, which has its length before it."""
        length = self.number("I")
        if self.at + length > len(self._data):
            raise ValueError("cut short")
        self.at += length
        return self._data[self.at - length : self.at]

    def text(self) -> str:
        return as_text(self.raw())

    def versioned(self) -> Versioned:
        """Return the header of what begins here (ENCODE_START)."""
        version, _, length = self.number("B"), self.number("B"), self.number("I")
        return Versioned(version=version, end=self.at + length)

    def time(self) -> float:
        return self.number("I") + self.number("I") / 1e9


def call(ioctx: Any, object_name: str, method: str, argument: bytes = b"") -> bytes:
    """Return a method's answer. Raises rados.ObjectNotFound, ClusterError when it is too large."""
    for length in _ANSWER_BYTES:
        try:
            _, answer = ioctx.execute(object_name, "rbd", method, argument, length)
        except OSError as error:
            if error.errno != errno.ERANGE:
                raise
        else:
            return bytes(answer)
    raise ClusterError(f"{object_name}: {method} returns more than {_ANSWER_BYTES[-1] // 1024**2} MiB")


def list_names(ioctx: Any) -> list[tuple[str, str]]:
    """Return id and name of each image of the namespace; for an entry that cannot be read the name is the id."""
    try:
        found = list(_paged(ioctx, "rbd_directory", "dir_list", lambda answer: (answer.text(), answer.text())))
    except rados.IOError:
        # One entry that the OSD cannot decode ends the whole list.
        return list(_entries(ioctx))
    return [(image_id, name) for name, image_id in found]


def _entries(ioctx: Any) -> Iterator[tuple[str, str]]:
    """Yield id and name of each image as the directory's keys have them, one by one."""
    for image_id, raw in _by_id(ioctx, "rbd_directory"):
        try:
            yield image_id, Decoder(raw).text()
        except (ValueError, struct.error):
            yield image_id, f"(id {image_id})"


def _by_id(ioctx: Any, object_name: str, prefix: str = _ID_KEY) -> Iterator[tuple[str, bytes]]:
    """Yield the values that an object has under its keys of ids, as they are; nothing where there is no such object.

    A key that is not UTF-8 is left out, which no id is: the bindings decode keys, and one ends the page that it is on.
    """
    last = ""
    while True:
        try:
            page = _page(ioctx, object_name, last, prefix)
        except UnicodeDecodeError:
            # So it is looked for in ever smaller parts: each odd key costs sixteen queries a character.
            yield from _by_parts(ioctx, object_name, prefix, last)
            return
        yield from ((key.removeprefix(_ID_KEY), raw or b"") for key, raw in page)
        if len(page) < _AT_A_TIME:
            return
        last = page[-1][0]


def _by_parts(ioctx: Any, object_name: str, prefix: str, last: str) -> Iterator[tuple[str, bytes]]:
    """Yield the same of the keys that come behind `last`, by the hexadecimal digits that ids are made of."""
    for key, raw in _values(ioctx, object_name, prefix).items():
        if key > last:
            yield key.removeprefix(_ID_KEY), raw or b""
    for digit in "0123456789abcdef":
        for image_id, raw in _by_id(ioctx, object_name, prefix + digit):
            if _ID_KEY + image_id > last:
                yield image_id, raw


def _page(ioctx: Any, object_name: str, last: str, prefix: str) -> list[tuple[str, bytes]]:
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals(operation, last, prefix, _AT_A_TIME)
        try:
            ioctx.operate_read_op(operation, object_name)
        except rados.ObjectNotFound:
            return []
        return list(values)


def _values(ioctx: Any, object_name: str, key: str) -> dict[str, bytes]:
    """Return what the object has under the key, empty for nothing. Raises rados.ObjectNotFound."""
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals_by_keys(operation, (key,))
        ioctx.operate_read_op(operation, object_name)
        return dict(values)


def list_metadata(ioctx: Any, image_id: str) -> dict[str, str]:
    """Return all metadata of an image. Raises ClusterError when there is more than anyone needs."""
    found = {}
    for key, value in _paged(ioctx, f"rbd_header.{image_id}", "metadata_list", lambda a: (a.text(), a.text())):
        found[key] = value
        if len(found) > _MOST_METADATA:
            raise ClusterError(f"image with id {image_id} has more than {_MOST_METADATA} metadata; remove odd ones")
    return found


def list_snapshots(ioctx: Any, image_id: str) -> list[dict[str, Any]]:
    """Return the snapshots of an image, as `list_snaps` of the bindings gives them."""
    header = f"rbd_header.{image_id}"
    context = Decoder(call(ioctx, header, "get_snapcontext"))
    context.number("Q")
    ids = [context.number("Q") for _ in range(context.number("I"))]
    return [_snapshot(call(ioctx, header, "snapshot_get", struct.pack("<Q", each))) for each in sorted(ids)]


def _snapshot(answer: bytes) -> dict[str, Any]:
    walk = Decoder(answer)
    walk.versioned()
    found: dict[str, Any] = {"id": walk.number("Q")}
    end = walk.versioned().end
    kind = walk.number("I")
    if kind == _GROUP_KIND:
        # By ids: names of groups may be what could not be decoded.
        pool, group, snapshot = walk.number("q"), walk.text(), walk.text()
        found["group"] = {"pool": pool, "name": group, "snap_name": snapshot}
    if kind == _TRASH_KIND:
        found["trash"] = {"original_name": walk.text()}
    walk.at = end
    return {**found, "namespace": kind, "name": walk.text(), "size": walk.number("Q")}


def list_in_trash(ioctx: Any) -> list[dict[str, Any]]:
    """Return the entries of the namespace's trash, with times in seconds since 1970; an entry of garbage is left out.

    Not by the method trash_list, nor trash_get: one entry that cls_rbd cannot decode ends the OSD (measured with 16.2).
    """
    return [{"id": image_id, **spec} for image_id, raw in _by_id(ioctx, "rbd_trash") if (spec := trash_spec(raw))]


def trash_spec(raw: bytes) -> dict[str, Any]:
    """Return the content of an entry of the trash, empty for garbage."""
    try:
        return _decoded_trash_spec(Decoder(raw))
    except (ValueError, struct.error):
        return {}


def _spec_in_trash(ioctx: Any, image_id: str) -> dict[str, Any]:
    try:
        values = _values(ioctx, "rbd_trash", f"{_ID_KEY}{image_id}")
    except rados.ObjectNotFound:
        return {}
    return next((trash_spec(raw or b"") for raw in values.values()), {})


def _decoded_trash_spec(walk: Decoder) -> dict[str, Any]:
    header = walk.versioned()
    source = _SOURCES.get(walk.number("B"), "UNKNOWN")
    found = {"source": source, "name": walk.text(), "deleted_at": walk.time(), "expires_at": walk.time()}
    found["state"] = walk.number("B") if header.version >= _STATED_VERSION else 0
    walk.at = header.end
    return found


def list_namespaces(ioctx: Any) -> list[str]:
    """Return the names of a pool's namespaces."""
    return [name for name, _ in _paged(ioctx, "rbd_namespace", "namespace_list", lambda a: (a.text(), None))]


def list_clones(ioctx: Any, image_id: str, snapshot_id: int) -> list[ParentKey]:
    """Return the clones (v2) of a snapshot, each by its pool, namespace and id."""
    try:
        return decode_clones(call(ioctx, f"rbd_header.{image_id}", "children_list", struct.pack("<Q", snapshot_id)))
    except rados.ObjectNotFound:
        return []


def decode_clones(raw: bytes) -> list[ParentKey]:
    """Return the clones (v2) of a snapshot, as its image's header has them. Raises ValueError, struct.error."""
    walk, found = Decoder(raw), []
    for _ in range(walk.number("I")):
        end = walk.versioned().end
        pool_id, clone_id = walk.number("q"), walk.text()
        namespace = walk.text() if walk.at < end else ""
        walk.at = end
        found.append(ParentKey(pool_id=pool_id, namespace=namespace, image_id=clone_id, snapshot_id=0))
    return found


def list_old_clones(ioctx: Any, parent: ParentKey) -> list[str]:
    """Return the ids of the clones (v1) of a snapshot that are in this namespace."""
    argument = struct.pack("<q", parent.pool_id) + encoded(parent.image_id) + struct.pack("<Q", parent.snapshot_id)
    try:
        walk = Decoder(call(ioctx, "rbd_children", "get_children", argument))
    except rados.ObjectNotFound:
        return []
    return [walk.text() for _ in range(walk.number("I"))]


def name_of(ioctx: Any, image_id: str) -> str:
    """Return the name that the namespace's directory has for the id, "" where it has none."""
    try:
        return Decoder(call(ioctx, "rbd_directory", "dir_get_name", encoded(image_id))).text()
    except rados.ObjectNotFound:
        return ""


def id_of(ioctx: Any, name: str) -> str:
    """Return the id that the namespace's directory has for the name, "" where it has none."""
    try:
        return Decoder(call(ioctx, "rbd_directory", "dir_get_id", encoded(name))).text()
    except rados.ObjectNotFound:
        return ""


def name_in_trash(ioctx: Any, image_id: str) -> str:
    """Return the name that an image in the namespace's trash had, "" where it is not there."""
    return str(_spec_in_trash(ioctx, image_id).get("name", ""))


def trash_state(ioctx: Any, image_id: str) -> TrashState | None:
    """Return the state of an image in the namespace's trash, None where it is not there."""
    spec = _spec_in_trash(ioctx, image_id)
    if not spec:
        return None
    # librbd of this version does not take a state of later versions for done.
    return TrashState(spec["state"]) if spec["state"] in {each.value for each in TrashState} else TrashState.MOVING


def parent_of(ioctx: Any, image_id: str) -> ParentKey | None:
    """Return the parent that the image's header names, None for an image without one."""
    raw = _values(ioctx, f"rbd_header.{image_id}", "parent").get("parent")
    return parent_key_of(raw) if raw else None


def _paged(
    ioctx: Any, object_name: str, method: str, decode: Callable[[Decoder], tuple[str, K]]
) -> Iterator[tuple[str, K]]:
    """Yield the entries of a list that is asked for from its last one on."""
    last = ""
    while True:
        try:
            walk = Decoder(call(ioctx, object_name, method, encoded(last) + struct.pack("<Q", _AT_A_TIME)))
        except rados.ObjectNotFound:
            return
        page = [decode(walk) for _ in range(walk.number("I"))]
        yield from page
        if len(page) < _AT_A_TIME or as_bytes(page[-1][0]) <= as_bytes(last):
            return
        last = page[-1][0]


def encoded(text: str) -> bytes:
    """Return the text as methods take it: its length in 4 bytes, then itself."""
    raw = as_bytes(text)
    return struct.pack("<I", len(raw)) + raw
