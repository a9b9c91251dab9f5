"""What any client of a pool may write: one odd image, snapshot, mark or header harms no other image.

All of it is in a namespace of the test's own: a name that is not UTF-8 ends the bindings' lists for other tests.
"""

import json
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import rados
import rbd
from support.lab import LabHost
from support.worlds import LabWorld

MIB = 1024**2
SIZE = 8 * MIB
ODD = b"odd\xff"
SHOWN = "odd\udcff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A namespace, as a hostile client with write access uses it."""

    ioctx: rados.Ioctx
    name: str
    # What was made, to be taken away: the last first.
    images: list[bytes | str] = field(default_factory=list)
    snapshots: list[tuple[bytes | str, bytes | str]] = field(default_factory=list)

    def create(self, name: bytes | str = "odd", size: int = SIZE, **how: object) -> str:
        self.images.append(name)
        rbd.RBD().create(self.ioctx, name, size, old_format=False, **how)
        with rbd.Image(self.ioctx, name, read_only=True) as image:
            return str(image.id())

    def write_key(self, image_id: str, key: str, value: bytes) -> None:
        with rados.WriteOpCtx() as operation:
            self.ioctx.set_omap(operation, (key,), (value,))
            self.ioctx.operate_write_op(operation, f"rbd_header.{image_id}")

    def write_metadata(self, image_id: str, key: bytes, value: bytes) -> None:
        with rados.WriteOpCtx() as operation:
            operation.execute("rbd", "metadata_set", struct.pack("<I", 1) + string(key) + string(value))
            self.ioctx.operate_write_op(operation, f"rbd_header.{image_id}")

    def snapshot(self, name: bytes | str, snapshot: bytes | str) -> None:
        self.snapshots.append((name, snapshot))
        with rbd.Image(self.ioctx, name) as image:
            image.create_snap(snapshot)

    def clone(self, parent: str, snapshot: bytes | str, name: bytes | str) -> str:
        self.images.append(name)
        try:
            rbd.RBD().clone(self.ioctx, parent, snapshot, self.ioctx, name)
        except TypeError:
            # Ceph 20's binding takes a name that is text, or the snapshot's id; that of Ceph 16 no id.
            with rbd.Image(self.ioctx, parent, read_only=True) as image:
                snapshot_id = image.snap_get_id(snapshot)
            rbd.RBD().clone(self.ioctx, parent, snapshot_id, self.ioctx, name)
        with rbd.Image(self.ioctx, name, read_only=True) as image:
            return str(image.id())

    def clear(self) -> None:
        """Take away what has names that only librbd takes, and then every object that is left."""
        with suppress(rbd.Error):
            rbd.RBD().group_remove(self.ioctx, b"g\xff")
        for name in reversed(self.images):
            for image, snapshot in self.snapshots:
                with suppress(rbd.Error, OSError):
                    if image == name:
                        with rbd.Image(self.ioctx, image) as opened:
                            opened.remove_snap(snapshot)
            with suppress(rbd.Error, OSError):
                rbd.RBD().remove(self.ioctx, name)
        for each in list(self.ioctx.list_objects()):
            self.ioctx.remove_object(each.key)


def string(raw: bytes) -> bytes:
    return struct.pack("<I", len(raw)) + raw


@pytest.fixture
def room(lab: Path) -> Iterator[Room]:
    name = f"t{uuid.uuid4().hex[:10]}"
    # Clones of format 2 need no protection.
    options = {"rbd_default_clone_format": "2"}
    conf = f"{lab}/ceph/admin.conf"
    with (
        rados.Rados(conffile=conf, rados_id="admin", conf=options) as connection,
        connection.open_ioctx("vms") as ioctx,
    ):
        rbd.RBD().namespace_create(ioctx, name)
        ioctx.set_namespace(name)
        made = Room(ioctx=ioctx, name=name)
        yield made
        made.clear()
        ioctx.set_namespace("")
        rbd.RBD().namespace_remove(ioctx, name)


def odd_name(room: Room) -> None:
    room.create(ODD)


def control_characters(room: Room) -> None:
    room.create("a\nb\x1b[31m")


def odd_snapshot(room: Room) -> None:
    room.create()
    room.snapshot("odd", ODD)


def odd_value(room: Room) -> None:
    room.write_metadata(room.create(), b"user", b"\xff")


def odd_key(room: Room) -> None:
    room.write_metadata(room.create(), b"\xff", b"user")


def odd_clone(room: Room) -> None:
    room.create()
    room.snapshot("odd", "s")
    room.clone("odd", "s", b"clone\xff")


def clone_of_odd_snapshot(room: Room) -> None:
    room.create()
    room.snapshot("odd", b"s\xff")
    room.clone("odd", b"s\xff", "clone")


def without_a_byte(room: Room) -> None:
    room.create(size=0)
    room.snapshot("odd", "empty")


def many_metadata(room: Room) -> None:
    image_id = room.create()
    for number in range(300):
        room.write_metadata(image_id, b"key %d" % number, b"value")


def odd_option(room: Room) -> None:
    room.write_metadata(room.create(), b"conf_rbd_cache", b"a\nb\xff")


def odd_group(room: Room) -> None:
    room.create()
    rbd.RBD().group_create(room.ioctx, b"g\xff")
    rbd.Group(room.ioctx, b"g\xff").add_image(room.ioctx, "odd")


def garbage_in_the_directory(room: Room) -> None:
    room.create()
    with rados.WriteOpCtx() as operation:
        room.ioctx.set_omap(operation, ("name_zzz", "id_zzz"), (b"\xff", b"\xff"))
        room.ioctx.operate_write_op(operation, "rbd_directory")


def odd_prefix(room: Room) -> None:
    room.write_key(room.create(), "object_prefix", string(b"\xff"))


def mark(key: str, value: bytes) -> Callable[[Room], None]:
    def write(room: Room) -> None:
        room.write_metadata(room.create(), key.encode(), value)

    return write


READABLE = {
    "a name that is not UTF-8": odd_name,
    "control characters in a name": control_characters,
    "a snapshot that is not UTF-8": odd_snapshot,
    "metadata that is not UTF-8": odd_value,
    "a key that is not UTF-8": odd_key,
    "a clone that is not UTF-8": odd_clone,
    "a clone of a snapshot that is not UTF-8": clone_of_odd_snapshot,
    "an image without a byte": without_a_byte,
    "300 metadata": many_metadata,
    "an entry of the directory that is garbage": garbage_in_the_directory,
    "an empty value": mark("user", b""),
    "an option with a line break": odd_option,
    "a group that is not UTF-8": odd_group,
    "a data prefix that is not UTF-8": odd_prefix,
    "an owner of 100,000 brackets": mark("virtrbd.owner", b"[" * 100_000),
    "an owner nested 3,000 deep": mark("virtrbd.owner", b'{"a":' * 3_000 + b"1" + b"}" * 3_000),
    "an owner with half a character": mark("virtrbd.owner", b'{"domain":"\\ud800","image":"x","host":"h"}'),
    "an owner of lists": mark("virtrbd.owner", b'{"domain":["a"],"image":{"a":1},"host":[]}'),
    "an owner of numbers": mark("virtrbd.owner", b'{"domain":NaN,"image":1' + b"0" * 5_000 + b',"host":1e999}'),
    "a state of odd words": mark("virtrbd.state", b"\x1b]0;x\x07 \xff"),
    "a state of 5 MB": mark("virtrbd.state", b"x" * 5_000_000),
    "a host of brackets": mark("virtrbd.running", b"{" * 100_000),
    "a seed of brackets": mark("virtrbd.seed", b"[" * 100_000),
}


def key(name: str, value: bytes) -> Callable[[Room], None]:
    def write(room: Room) -> None:
        room.write_key(room.create(), name, value)

    return write


def identified_by(content: bytes) -> Callable[[Room], None]:
    def write(room: Room) -> None:
        room.create()
        room.ioctx.write_full("rbd_id.odd", content)

    return write


def without_header(room: Room) -> None:
    room.ioctx.remove_object(f"rbd_header.{room.create()}")


def parent(pool_id: int, image_id: str) -> Callable[[Room], None]:
    def write(room: Room) -> None:
        room.create("golden")
        room.snapshot("golden", "s")
        clone_id = room.clone("golden", "s", "odd")
        body = struct.pack("<q", pool_id or room.ioctx.get_pool_id()) + string(room.name.encode())
        body += string(image_id.encode()) + struct.pack("<Q", 1) + struct.pack("<BQ", 1, SIZE)
        room.write_key(clone_id, "parent", struct.pack("<BBI", 2, 2, len(body)) + body)

    return write


UNREADABLE = {
    "a size cut short": key("size", b"\0"),
    "features cut short": key("features", b"\0"),
    "no order": key("order", b""),
    "a time cut short": key("create_timestamp", b"\xff"),
    "a snapshot of garbage": key("snapshot_0000000000000009", b"\xff\xff"),
    "a parent cut short": key("parent", b"\2\2"),
    "a parent in a pool that is gone": parent(9999, "abc"),
    "a parent that is gone": parent(0, "abc"),
    "an entry without a header": without_header,
}


def documents(host: LabHost, *verbs: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for verb in verbs:
        done = host.virtrbd("image", *verb.split(), "--output", "json")
        assert "Traceback" not in done.stderr, f"{verb}: {done.stderr}"
        yield done.returncode, json.loads(done.stdout)
        # Names are printed as they are here, and escaped by whatever prints them.
        shown = host.run("env", "PYTHONIOENCODING=ascii:backslashreplace", "virtrbd", "image", *verb.split())
        assert shown.returncode == done.returncode, f"{verb}: {shown.stdout}{shown.stderr}"


@pytest.mark.parametrize("make", READABLE.values(), ids=READABLE)
def test_an_odd_image_is_listed_and_so_are_all_others(host: LabHost, room: Room, make: Callable[[Room], None]) -> None:
    room.create("plain")
    make(room)
    where = f"vms/{room.name}"
    [(listed, names), (used, usage), (free, unused)] = documents(
        host, f"list {where}", f"usage {where}", f"unreferenced {where}"
    )
    assert (listed, used, free) == (0, 0, 0), (names, usage, unused)
    assert (names["unread"], usage["unread"], unused["unread"]) == ([], [], [])
    found = {image["name"] for image in names["images"]}
    assert f"{where}/plain" in found
    assert len(found) >= 2
    assert {image["name"] for image in usage["images"]} == found


@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
def test_an_image_that_cannot_be_read_is_said_to_be_that(
    host: LabHost, room: Room, make: Callable[[Room], None]
) -> None:
    room.create("plain")
    make(room)
    where = f"vms/{room.name}"
    [(listed, names), (used, usage), (free, unused)] = documents(
        host, f"list {where}", f"usage {where}", f"unreferenced {where}"
    )
    assert f"{where}/plain" in {image["name"] for image in names["images"]}
    # Of a header without its parent a list knows enough; what opens the image does not.
    assert listed in (0, 5)
    assert (used, free) == (5, 5), (usage, unused)
    assert [image["name"] for image in usage["unread"]] == [f"{where}/odd"]
    assert [image["name"] for image in unused["unread"]] == [f"{where}/odd"]
    assert f"{where}/odd" not in {image["name"] for image in unused["images"]}, "it is not known to be unused"
    done = host.virtrbd("image", "info", f"{where}/odd", "--output", "json")
    assert done.returncode == 5, done.stderr
    assert "does not exist" not in done.stdout
    assert json.loads(done.stdout)["exit_code"] == 5
    done = host.virtrbd("image", "create", f"{where}/odd", "8M")
    assert done.returncode == 5, "it is there, and nothing is made over it"


def test_an_image_that_is_only_in_the_directory_is_said_to_be_that(host: LabHost, room: Room) -> None:
    room.create("plain")
    with rados.WriteOpCtx() as operation:
        room.ioctx.set_omap(operation, ("name_odd", "id_abc123"), (string(b"abc123"), string(b"odd")))
        room.ioctx.operate_write_op(operation, "rbd_directory")
    ref = f"vms/{room.name}/odd"
    listed = host.virtrbd("image", "list", f"vms/{room.name}")
    assert (listed.returncode, f"vms/{room.name}/plain" in listed.stdout) == (5, True)
    half = f"image {ref} is half-made or half-removed; `virtrbd image repair {ref} --plan` shows what is left of it"
    assert f"{ref}: cannot be read: {half}\n" in listed.stdout
    for words in (("info", ref), ("create", ref, "8M")):
        done = host.virtrbd("image", *words)
        assert (done.returncode, done.stdout) == (5, "")
        assert half in done.stderr
    plan = host.virtrbd("plan", host.spec("odd", f"disks:\n  - {{image: {ref}, size: 8M}}\n"))
    assert plan.returncode == 5, plan
    assert "would create" not in plan.stdout
    assert half in plan.stdout + plan.stderr
    host.ok("virtrbd", "image", "repair", ref)
    host.ok("virtrbd", "image", "create", ref, "8M")
    room.images.append("odd")


@pytest.mark.parametrize("file_format", ["raw", "qcow2"])
def test_an_export_of_fewer_bytes_than_the_image_has_is_no_success(host: LabHost, room: Room, file_format: str) -> None:
    room.write_key(room.create(), "size", struct.pack("<Q", 2**63))
    done = host.virtrbd("image", "export", f"vms/{room.name}/odd", "odd.file", "--format", file_format)
    assert (done.returncode, done.stdout) == (5, ""), done
    assert f"has {2**63} bytes and qemu-img wrote a disk of 0 to odd.file" in done.stderr
    assert list(host.folder.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xff\xff\xffabc", string(b"a/../b"), string(b"\xff\xfe"), string(b"\0\0"), b"\x01"]
)
def test_an_image_of_garbage_for_an_id_is_not_taken_for_absent(host: LabHost, room: Room, content: bytes) -> None:
    room.create("plain")
    identified_by(content)(room)
    for verb in (("info",), ("remove", "--plan"), ("snapshot", "list")):
        done = host.virtrbd("image", *verb, f"vms/{room.name}/odd")
        assert done.returncode == 5, done.stderr
        assert "does not exist" not in done.stderr
    [(listed, names)] = documents(host, f"list vms/{room.name}")
    assert f"vms/{room.name}/plain" in {image["name"] for image in names["images"]}
    assert listed in (0, 5)


def test_images_in_the_trash_with_odd_names_are_listed_and_purged(host: LabHost, room: Room) -> None:
    for name in (ODD, "plain"):
        room.create(name)
        rbd.RBD().trash_move(room.ioctx, name, 0)
    [(code, listed)] = documents(host, f"trash list vms/{room.name}")
    assert (code, [entry["name"] for entry in listed["trash"]]) == (
        0, [f"vms/{room.name}/{SHOWN}", f"vms/{room.name}/plain"]
    )  # fmt: skip
    done = host.virtrbd("image", "trash", "purge", f"vms/{room.name}", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert list(rbd.RBD().trash_list(room.ioctx)) == []


def test_a_clone_with_an_odd_name_keeps_its_parent_and_is_flattened_for_it(host: LabHost, room: Room) -> None:
    odd_clone(room)
    done = host.virtrbd("image", "remove", "--plan", f"vms/{room.name}/odd", "--output", "json")
    assert done.returncode == 4, done.stderr
    assert any(SHOWN.replace("odd", "clone") in blocker["text"] for blocker in json.loads(done.stdout)["blockers"])
    done = host.virtrbd("image", "remove", "--clear", f"vms/{room.name}/odd", "--output", "json")
    assert done.returncode == 0, done.stderr
    with rbd.Image(room.ioctx, b"clone\xff", read_only=True) as image:
        assert image.size() == SIZE


def test_a_namespace_with_an_odd_name_is_named_with_the_others(host: LabHost, lab: Path) -> None:
    with (
        rados.Rados(conffile=f"{lab}/ceph/admin.conf", rados_id="admin") as connection,
        connection.open_ioctx("golden") as ioctx,
    ):
        rbd.RBD().namespace_create(ioctx, b"t\xff")
        try:
            done = host.virtrbd("image", "list", "golden", "--output", "json")
        finally:
            rbd.RBD().namespace_remove(ioctx, b"t\xff")
    assert done.returncode == 0, done.stderr
    assert "golden/t\udcff" in json.loads(done.stdout)["other_namespaces"]


@pytest.mark.parametrize("name", [b"vms/t\xff", b"vms/t\xff@s", b"v\xff/t", b"vms/n\xff/t", b"vms/t@\xff"])
def test_a_name_that_is_not_utf8_crashes_no_interpreter(host: LabHost, name: bytes) -> None:
    for verb in ("info", "remove", "usage"):
        done = host.run("env", "PYTHONIOENCODING=ascii:backslashreplace", "virtrbd", "image", verb, name)
        assert done.returncode in (5, 64, 78), (verb, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr


def test_odd_images_that_are_whole_are_read_and_refused_with_the_reason(world: LabWorld, room: Room) -> None:
    where, odd = f"vms/{room.name}", SIZE + 100
    for name, size in (("odd", odd), ("empty", 0), ("limited", SIZE), ("locked", SIZE)):
        room.create(name, size=size)
    with rbd.Image(room.ioctx, "odd") as image:
        image.write(b"begin", 0)
        image.write(b"end", odd - 3)
        content = image.read(0, odd)
    room.snapshot("empty", "s")
    room.snapshot("limited", "s")
    with rbd.Image(room.ioctx, "limited") as image:
        image.set_snap_limit(1)
    # By a client of its own: one that has the image open is no lock that was left.
    world.host.ok("rbd", "lock", "add", f"{where}/locked", "cookie", admin=True)
    listed = world.ok("image", "list", where)
    assert f"{odd} B" in listed, "a size that QEMU does not take is shown to the byte"
    file = world.host.folder / "odd.raw"
    assert world.ok("image", "export", "--verify", f"{where}/odd", str(file)).endswith(" (8 MiB, verified)\n")
    assert file.read_bytes() == content
    world.ok("image", "copy", f"{where}/odd", f"{where}/copy")
    with rbd.Image(room.ioctx, "copy", read_only=True) as image:
        assert image.read(0, image.size()) == content
    refused = {
        (
            "export",
            "--format",
            "qcow2",
            f"{where}/odd",
            f"{file}.qcow2",
        ): "qcow2 holds only whole sectors: export it as raw",
        ("clone", f"{where}/empty@s", f"{where}/clone"): "has a size of 0, and RBD does not clone that",
        ("snapshot", "create", f"{where}/limited@t"): "may not have another snapshot: its limit is 1",
        ("snapshot", "create", f"{where}/locked@t"): f"virtrbd image repair {where}/locked --plan",
    }
    for words, reason in refused.items():
        done = world.virtrbd("image", *words)
        assert (done.returncode, reason in done.stderr) == (5, True), done
    assert not (world.host.folder / "odd.raw.qcow2").exists()
    # Or removing it would wait for ever.
    world.ok("image", "repair", "--allow", "takes-over", f"{where}/locked")


def test_an_image_of_format_1_is_listed_as_that_and_nothing_else_is_done_with_it(
    world: LabWorld, lab: Path, name: str
) -> None:
    """RBD makes none any more, and lists those of the default namespace: header and directory by hand (rbd_types.h)."""
    header = (
        b"<<< Rados Block Device Image >>>\n".ljust(40, b"\0") + b"rb.0.1.2".ljust(24, b"\0") + b"RBD\0" + b"001.005\0"
    )
    header += struct.pack("<BBBB", 22, 0, 0, 0) + struct.pack("<QQIIQ", SIZE, 0, 0, 0, 0)
    ref = f"golden/{name}"
    with (
        rados.Rados(conffile=f"{lab}/ceph/admin.conf", rados_id="admin") as connection,
        connection.open_ioctx("golden") as ioctx,
    ):
        ioctx.write_full(f"{name}.rbd", header)
        ioctx.write("rbd_directory", struct.pack("<II", 0, 1) + string(name.encode()) + string(b""))
        try:
            listed = world.virtrbd("image", "list", "golden", "--output", "json")
            [found] = [each for each in json.loads(listed.stdout)["images"] if each["name"] == ref]
            used = world.virtrbd("image", "usage", "golden", "--output", "json")
            done = [world.virtrbd("image", *words) for words in (("info", ref), ("create", ref, "8M"), ("repair", ref))]
        finally:
            ioctx.trunc("rbd_directory", 0)
            ioctx.remove_object(f"{name}.rbd")
    assert (listed.returncode, found["state"], found["size_bytes"]) == (0, "format 1", SIZE)
    assert used.returncode == 0, used
    for each in done:
        assert (each.returncode, f"rbd migration prepare {ref}" in each.stderr) == (5, True), each
