"""How QEMU opens an image: -drive with an rbd: file name, from 4.2 on -blockdev with JSON."""

import json
import re

from msgspec import Struct

from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.disk import Cache, DetectZeroes, Discard, Disk
from virtrbd.qemu.era import Era
from virtrbd.qemu.throttle import drive_options, group_of

# The defaults of librbd and QEMU, which need not be stated.
DEFAULT_CONF = "/etc/ceph/ceph.conf"
DEFAULT_USER = "admin"


class Client(Struct, frozen=True, kw_only=True):
    """How the image's cluster is reached: the cephx user, and the ceph.conf that names monitors and keyring."""

    user: str
    conf: str


def backend_words(disk: Disk, client: Client, era: Era, media: str = "disk") -> tuple[str, str]:
    """Return the option and its value that open the disk's image."""
    if era.has_blockdev:
        return "-blockdev", json.dumps(_node(disk, client))
    return "-drive", _drive(disk, client, era, media)


def option_text(pairs: list[tuple[str, str]]) -> str:
    """Return QEMU's key=value,…; a comma inside a value is written twice (util/qemu-option.c)."""
    return ",".join(f"{key}={value.replace(',', ',,')}" for key, value in pairs)


def backend_id(target: str) -> str:
    """Return the name by which a device finds its backend."""
    return f"drive-{target}"


def is_readonly(disk: Disk) -> bool:
    """Whether QEMU must open the image read-only: a snapshot opens in no other way."""
    return disk.readonly or bool(disk.image.snapshot)


def rbd_file_name(disk: Disk, client: Client, era: Era) -> str:
    """Return the image's rbd: file name with its options; `:`, `@` and backslashes inside a part are escaped."""
    image = disk.image
    snapshot = f"@{_escaped(image.snapshot)}" if image.snapshot else ""
    options = [("id", client.user)] if client.user != DEFAULT_USER else []
    conf = disk.ceph_config or client.conf
    if conf != DEFAULT_CONF:
        options.append(("conf", conf))
    if not era.cache_drives_librbd:
        options += _librbd_cache(disk.cache)
    tail = "".join(f":{key}={_escaped(value)}" for key, value in options)
    return f"rbd:{_escaped(image.pool)}/{_escaped(image.name)}{snapshot}{tail}"


def _librbd_cache(cache: Cache) -> list[tuple[str, str]]:
    """Return the options that switch librbd's cache on where QEMU's cache= does not."""
    if cache is Cache.DEFAULT or CACHE_FACTS[cache].direct:
        return []
    if CACHE_FACTS[cache].write_cache:
        return [("rbd_cache", "true")]
    # QEMU flushes after each write of a write-through disk only from 1.2 on; before, this makes librbd write through.
    return [("rbd_cache", "true"), ("rbd_cache_max_dirty", "0")]


def _escaped(part: str) -> str:
    return re.sub(r"[\\:@]", r"\\\g<0>", part)


def _drive(disk: Disk, client: Client, era: Era, media: str) -> str:
    pairs = [("format", "raw"), ("file", rbd_file_name(disk, client, era))]
    if disk.cache is not Cache.DEFAULT:
        pairs.append(("cache", disk.cache))
    if era.has_discard_option and disk.discard is Discard.UNMAP:
        pairs.append(("discard", "unmap"))
    if era.qemu >= (2, 1, 0):
        pairs += _detect_zeroes(disk)
    pairs += drive_options(disk, era.qemu)
    pairs += error_policies(disk)
    if is_readonly(disk):
        pairs.append(("readonly", "on"))
    if media != "disk":
        pairs.append(("media", media))
    return option_text([*pairs, ("if", "none"), ("id", backend_id(disk.target))])


def _node(disk: Disk, client: Client) -> dict[str, object]:
    """Return the raw node over the rbd node; options of the upper node reach the lower (block.c)."""
    node: dict[str, object] = {"driver": "raw", "node-name": backend_id(disk.target)}
    if is_readonly(disk):
        node["read-only"] = True
    if disk.cache is not Cache.DEFAULT:
        facts = CACHE_FACTS[disk.cache]
        node["cache"] = {"direct": facts.direct, "no-flush": facts.no_flush}
    node["discard"] = "unmap" if disk.discard is Discard.UNMAP else "ignore"
    node |= dict(_detect_zeroes(disk))
    file: dict[str, object] = _rbd_node(disk, client)
    if disk.iotune:
        file = {"driver": "throttle", "throttle-group": group_of(disk), "file": file}
    return node | {"file": file}


def _rbd_node(disk: Disk, client: Client) -> dict[str, object]:
    image, conf = disk.image, disk.ceph_config or client.conf
    parts = {
        "driver": "rbd",
        "pool": image.pool,
        "namespace": image.namespace,
        "image": image.name,
        "snapshot": image.snapshot,
        "conf": conf if conf != DEFAULT_CONF else "",
        "user": client.user if client.user != DEFAULT_USER else "",
    }
    return {key: value for key, value in parts.items() if value}


def _detect_zeroes(disk: Disk) -> list[tuple[str, str]]:
    if disk.detect_zeroes in (None, DetectZeroes.OFF):
        return []
    # QEMU refuses `unmap` without discard=unmap (blockdev.c); libvirt writes `on` then, and so does virtrbd.
    without_discard = disk.detect_zeroes is DetectZeroes.UNMAP and disk.discard is not Discard.UNMAP
    return [("detect-zeroes", "on" if without_discard else str(disk.detect_zeroes))]


def error_policies(disk: Disk) -> list[tuple[str, str]]:
    """Return werror and rerror; `enospace` is spelt enospc and is for writes only, as in libvirt's qemu_command.c."""
    reading = disk.rerror_policy or (disk.error_policy if disk.error_policy != "enospace" else "")
    pairs = [("werror", "enospc" if disk.error_policy == "enospace" else disk.error_policy), ("rerror", reading)]
    return [(key, value) for key, value in pairs if value]
