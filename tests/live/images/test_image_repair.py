"""What a kill inside librbd leaves of an image: named by every verb, and mended by `image repair`."""

import json
import pickle
import re
import signal
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import rados
import rbd
from support.waiting import eventually
from support.worlds import MIB, LabWorld

from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import ImageRef, Intent

SIZE = 8 * MIB
DATA = b"data" * 1024

# virtrbd, killed as soon as the image that it makes has an id object: before its header, or right after that.
KILLED = """
import os, signal, sys, threading
import rados
from virtrbd.__main__ import main
name, conf = sys.argv.pop(1), os.environ["CEPH_CONF"]
ready = threading.Event()

def watch():
    with rados.Rados(conffile=conf, rados_id="virtrbd") as ceph, ceph.open_ioctx("vms") as vms:
        ready.set()
        while True:
            try:
                vms.stat(f"rbd_id.{name}")
            except rados.ObjectNotFound:
                continue
            os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
ready.wait()
main()
"""


def string(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def call(ioctx: rados.Ioctx, object_name: str, method: str, *arguments: bytes) -> None:
    with rados.WriteOpCtx() as operation:
        operation.execute("rbd", method, b"".join(arguments))
        ioctx.operate_write_op(operation, object_name)


def create(ioctx: rados.Ioctx, name: str, data: bytes = b"") -> str:
    rbd.RBD().create(ioctx, name, SIZE, old_format=False)
    with rbd.Image(ioctx, name) as image:
        if data:
            image.write(data, 0)
        return str(image.id())


def drop_header(ioctx: rados.Ioctx, image_id: str) -> None:
    for each in (f"rbd_header.{image_id}", f"rbd_object_map.{image_id}"):
        ioctx.remove_object(each)


def unlist(ioctx: rados.Ioctx, name: str, image_id: str) -> None:
    call(ioctx, "rbd_directory", "dir_remove_image", string(name), string(image_id))


def put_into_trash(ioctx: rados.Ioctx, name: str, image_id: str, state: int) -> None:
    now = int(time.time())
    body = b"\0" + string(name) + struct.pack("<IIII", now, 0, now, 0) + struct.pack("<B", state)
    call(ioctx, "rbd_trash", "trash_add", string(image_id), struct.pack("<BBI", 2, 1, len(body)), body)


def only_listed(ioctx: rados.Ioctx, name: str) -> None:
    drop_header(ioctx, create(ioctx, name))
    ioctx.remove_object(f"rbd_id.{name}")


def no_header(ioctx: rados.Ioctx, name: str) -> None:
    drop_header(ioctx, create(ioctx, name))


def no_header_but_data(ioctx: rados.Ioctx, name: str) -> None:
    drop_header(ioctx, create(ioctx, name, DATA))


def only_an_id(ioctx: rados.Ioctx, name: str) -> None:
    image_id = create(ioctx, name)
    drop_header(ioctx, image_id)
    unlist(ioctx, name, image_id)


def no_id(ioctx: rados.Ioctx, name: str) -> None:
    create(ioctx, name, DATA)
    ioctx.remove_object(f"rbd_id.{name}")


def unlisted(ioctx: rados.Ioctx, name: str) -> None:
    unlist(ioctx, name, create(ioctx, name, DATA))


def moved_by_half(ioctx: rados.Ioctx, name: str) -> None:
    put_into_trash(ioctx, name, create(ioctx, name, DATA), 1)
    ioctx.remove_object(f"rbd_id.{name}")


def moved_all_but_the_word(ioctx: rados.Ioctx, name: str) -> None:
    image_id = create(ioctx, name, DATA)
    put_into_trash(ioctx, name, image_id, 1)
    ioctx.remove_object(f"rbd_id.{name}")
    unlist(ioctx, name, image_id)


def restored_by_half(ioctx: rados.Ioctx, name: str) -> None:
    image_id = create(ioctx, name, DATA)
    put_into_trash(ioctx, name, image_id, 3)
    unlist(ioctx, name, image_id)


def renamed_by_half(ioctx: rados.Ioctx, name: str) -> None:
    ioctx.write_full(f"rbd_id.{name}", string(create(ioctx, f"{name}-old", DATA)))


def lost_parent(ioctx: rados.Ioctx, name: str) -> None:
    image_id = create(ioctx, name, DATA)
    body = struct.pack("<q", 9999) + string("") + string("abc") + struct.pack("<QBQ", 1, 1, SIZE)
    with rados.WriteOpCtx() as operation:
        ioctx.set_omap(operation, ("parent",), (struct.pack("<BBI", 2, 2, len(body)) + body,))
        ioctx.operate_write_op(operation, f"rbd_header.{image_id}")


def bad_map(ioctx: rados.Ioctx, name: str) -> None:
    call(ioctx, f"rbd_header.{create(ioctx, name, DATA)}", "set_flags", struct.pack("<QQ", 3, 3))


def to_be_locked(ioctx: rados.Ioctx, name: str) -> None:
    create(ioctx, name, DATA)


HELD, TRASHED, GONE = "held", "in the trash", "gone"
# Each half: how it is made, the steps that mend it, what it takes, and what is under the name afterwards.
HALVES: dict[str, tuple[Callable[[rados.Ioctx, str], None], list[str], str, str]] = {
    "only-listed": (only_listed, ["RemoveRemains"], "", GONE),
    "no-header": (no_header, ["RemoveRemains"], "", GONE),
    "no-header-but-data": (no_header_but_data, ["RemoveRemains"], "loses-data", GONE),
    "only-an-id": (only_an_id, ["RemoveRemains"], "", GONE),
    "no-id": (no_id, ["WriteIdObject"], "", HELD),
    "unlisted": (unlisted, ["ListImage"], "", HELD),
    "moved-by-half": (moved_by_half, ["UnlistImage", "SettleTrash"], "", TRASHED),
    "moved-but-for-a-word": (moved_all_but_the_word, ["SettleTrash"], "", TRASHED),
    "restored-by-half": (restored_by_half, ["ListImage", "DropTrashEntry"], "", HELD),
    "renamed-by-half": (renamed_by_half, ["DropIdObject"], "", GONE),
    "lost-parent": (lost_parent, ["ForgetParent"], "loses-data", HELD),
    "bad-map": (bad_map, ["RebuildObjectMap"], "", HELD),
    "locked": (to_be_locked, ["BreakLock"], "takes-over", HELD),
}


@pytest.fixture
def halves(roomed: LabWorld) -> Iterator[LabWorld]:
    """Its namespace, with every half in it, and nothing left of it afterwards; nobody waits for who has one open."""
    create(roomed.vms, "plain", DATA)
    for half, (make, *_) in HALVES.items():
        make(roomed.vms, half)
    # By a client of its own: who breaks a lock has Ceph shut out its holder.
    roomed.host.ok("rbd", "lock", "add", f"{roomed.pool}/locked", "cookie")
    settings = roomed.host.folder / "impatient.yaml"
    text = Path(roomed.env["VIRTRBD_CONFIG"]).read_text()
    settings.write_text(re.sub(r"watcher: \d+", "watcher: 0", text))
    yield replace(roomed, env={**roomed.env, "VIRTRBD_CONFIG": str(settings)})
    for each in list(roomed.vms.list_objects()):
        roomed.vms.remove_object(each.key)


def snapshot_of(ioctx: rados.Ioctx) -> dict[str, bytes]:
    """All objects of the namespace but the headers' watches and times, as far as a plan could change them."""
    return {each.key: ioctx.read(each.key) for each in ioctx.list_objects()}


def under_the_name(world: LabWorld, half: str) -> str:
    if half in [entry["name"] for entry in rbd.RBD().trash_list(world.vms)]:
        return TRASHED
    if half not in rbd.RBD().list(world.vms):
        return GONE
    with rbd.Image(world.vms, half, read_only=True) as image:
        assert image.read(0, len(DATA)) == DATA
    return HELD


@pytest.mark.timeout(180)
def test_each_half_is_named_planned_and_mended(halves: LabWorld) -> None:
    room = halves.pool
    listed = halves.document("image", "list", room)
    assert f"{room}/plain" in {image["name"] for image in listed["images"]}, "they hold up nothing else"
    unread = {each["name"].rpartition("/")[2]: each["error"] for each in listed["unread"]}
    assert unread.keys() == {
        "only-listed", "no-header", "no-header-but-data", "no-id", "moved-by-half", "lost-parent"
    }  # fmt: skip
    assert all(f"virtrbd image repair {room}/{half} --plan" in text for half, text in unread.items()), unread
    before = snapshot_of(halves.vms)
    made = halves.virtrbd("image", "create", f"{room}/no-header", "8M")
    assert (made.returncode, f"virtrbd image repair {room}/no-header --plan" in made.stderr) == (5, True), made
    stuck = halves.virtrbd("image", "restore", f"{room}/moved-but-for-a-word")
    repair = f"virtrbd image repair {room}/moved-but-for-a-word --plan"
    assert (stuck.returncode, repair in stuck.stderr) == (5, True), "librbd says that it is busy"
    young = halves.virtrbd("image", "repair", f"{room}/no-header", "--least-age", "1d")
    assert (young.returncode, "--least-age 0s" in young.stderr) == (4, True), young
    with rbd.Image(halves.vms, "bad-map"):
        busy = halves.virtrbd("image", "repair", f"{room}/bad-map")
    assert (busy.returncode, "is open by client." in busy.stderr) == (5, True), busy

    def mend(half: str) -> None:
        _, kinds, hazard, after = HALVES[half]
        words = ("image", "repair", f"{room}/{half}", "--least-age", "0s", "--output", "json")
        if hazard:
            refused = halves.virtrbd(*words)
            document = json.loads(refused.stdout)
            assert (refused.returncode, document["done"]) == (4, []), refused
            assert hazard in [step["hazard"] for step in document["steps"]], document
        done = halves.virtrbd(*words, *(["--allow", hazard] if hazard else []))
        document = json.loads(done.stdout)
        assert [step["kind"] for step in document["steps"]] == kinds, document
        assert (done.returncode, done.stderr, len(document["done"])) == (0, "", len(kinds)), done
        assert under_the_name(halves, half) == after

    for half in ("no-header", "no-id", "restored-by-half"):
        planned = halves.ok("image", "repair", f"{room}/{half}", "--plan")
        assert "steps:\n  1. " in planned, planned
    assert snapshot_of(halves.vms) == before, "who refuses, and who plans, changes nothing"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(mend, HALVES))
    assert halves.document("image", "list", room)["unread"] == []
    for half in ("moved-by-half", "moved-but-for-a-word"):
        halves.ok("image", "restore", f"{room}/{half}")
    halves.ok("image", "create", f"{room}/no-header", "8M")


@pytest.mark.timeout(120)
def test_what_a_kill_inside_create_left_is_made_again_by_the_next_run(world: LabWorld, name: str) -> None:
    """Half the tries come before the header; the others make the mark anew."""
    file = world.host.spec(name, f"disks:\n  - image: vms/{name}.a\n    size: 8M\n")
    by_hand, by_spec = f"{name}.b", f"{name}.a"

    def killed(image: str, *words: str) -> bool:
        """Kill it once, and return whether the image has no header."""
        done = world.virtrbd(*words, program=("-c", KILLED, image))
        assert done.returncode == -signal.SIGKILL, done
        image_id = world.vms.read(f"rbd_id.{image}")[4:].decode()
        return f"rbd_header.{image_id}" not in {each.key for each in world.vms.list_objects()}

    def until_half(image: str, *words: str) -> None:
        def is_half() -> bool:
            if killed(image, *words):
                return True
            # It came too late: the image is whole, and goes.
            world.ok("image", "remove", "--now", "--allow", "loses-data", f"vms/{image}")
            return False

        eventually(f"{image} is killed before its header", is_half, within_s=60)

    create_words = ("image", "create", f"vms/{by_hand}", "8M")
    until_half(by_hand, *create_words)
    planned = world.document("image", "repair", "--plan", f"vms/{by_hand}")
    assert [step["kind"] for step in planned["steps"]] == ["RemoveHalf"], "our own needs no age"
    world.ok(*create_words)
    assert world.image(by_hand)["owner_host"]
    until_half(by_spec, "define", file)
    done = world.ok("define", file)
    assert f"{name}: remove half-made image vms/{by_spec}\n" in done
    assert world.intents(name) == []
    assert world.ok("plan", file).endswith("1 domain, 0 actions\n")
    world.forget(name)


def test_clones_and_their_parents_know_of_each_other_again(roomed: LabWorld) -> None:
    vms, room = roomed.vms, roomed.pool
    parent_id = create(vms, "parent", DATA)
    with rbd.Image(vms, "parent") as image:
        image.create_snap("s")
        image.protect_snap("s")
        [snapshot] = image.list_snaps()
    for clone in ("lost", "unlisted"):
        roomed.ok("image", "clone", f"{room}/parent@s", f"{room}/{clone}")
    ids = {clone: roomed.image(clone)["id"] for clone in ("lost", "unlisted")}
    key = struct.pack("<q", vms.get_pool_id()) + string(parent_id) + struct.pack("<Q", snapshot["id"])
    call(vms, "rbd_children", "remove_child", key, string(ids["unlisted"]))
    drop_header(vms, ids["lost"])
    vms.remove_object("rbd_id.lost")
    unlist(vms, "lost", ids["lost"])
    assert roomed.image("parent")["children"][0]["id"] == ids["lost"], "one that is gone hides nothing else"
    for image, kind in (("parent", "ForgetClone"), ("unlisted", "NoteClone")):
        planned = roomed.document("image", "repair", "--plan", f"{room}/{image}")
        assert [step["kind"] for step in planned["steps"]] == [kind]
        roomed.ok("image", "repair", f"{room}/{image}")
        assert roomed.document("image", "repair", "--plan", f"{room}/{image}")["steps"] == []
    assert [child["name"] for child in roomed.image("parent")["children"]] == [f"{room}/unlisted"]
    roomed.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", f"{room}/parent")
    assert roomed.content("unlisted")[: len(DATA)] == DATA
    for each in list(vms.list_objects()):
        vms.remove_object(each.key)


def test_a_key_in_the_trash_that_is_no_text_hides_nothing_else(roomed: LabWorld, name: str) -> None:
    vms, room = roomed.vms, roomed.pool
    now = int(time.time())
    body = b"\0" + string("odd") + struct.pack("<IIII", now, 0, now, 0) + b"\0"
    entry = roomed.host.folder / "entry"
    entry.write_bytes(struct.pack("<BBI", 2, 1, len(body)) + body)
    for each in ("one", "two"):
        create(vms, each, DATA)
        roomed.ok("image", "remove", "--allow", "loses-data", f"{room}/{each}")
    key = ("--namespace", name, "setomapval", "rbd_trash", "id_\udcff", "--input-file", str(entry))
    roomed.host.ok("rados", "--id", "virtrbd", "--pool", "vms", *key)
    listed = roomed.document("image", "trash", "list", room)
    assert {entry["name"] for entry in listed["trash"]} == {f"{room}/one", f"{room}/two"}
    assert roomed.virtrbd("image", "info", f"{room}/three").returncode == 5
    roomed.ok("image", "restore", f"{room}/one")
    roomed.ok("image", "remove", "--now", "--allow", "loses-data", f"{room}/one")
    assert roomed.document("image", "trash", "list", room)["trash"][0]["name"] == f"{room}/two"
    for each in list(vms.list_objects()):
        vms.remove_object(each.key)


# virtrbd, with another client that comes to the end of making the image between its look and its removal.
OVERTAKEN = """
import os, pickle, rados, sys
import virtrbd.images.resume as by_hand
from virtrbd.__main__ import main
image_id, saved = sys.argv.pop(1), sys.argv.pop(1)
conf, remove = os.environ["CEPH_CONF"], by_hand.remove_half_made
def overtaken(*words):
    with open(saved, "rb") as file:
        header = pickle.load(file)
    with rados.Rados(conffile=conf, rados_id="virtrbd") as ceph, ceph.open_ioctx("vms") as vms:
        with rados.WriteOpCtx() as operation:
            vms.set_omap(operation, tuple(header), tuple(header.values()))
            vms.operate_write_op(operation, f"rbd_header.{image_id}")
    return remove(*words)
by_hand.remove_half_made = overtaken
main()
"""


def test_an_image_that_another_client_has_made_meanwhile_is_left_alone(world: LabWorld, name: str) -> None:
    """Half by an old intent when it was looked at; whole, with data, when it would be removed."""
    image = f"{name}.a"
    image_id = create(world.vms, image, DATA)
    header = header_of(world.vms, image_id)
    world.vms.remove_object(f"rbd_header.{image_id}")
    ref = ImageRef.parse(f"vms/{image}")
    old = Intent(ref=ref, domain_uuid="", size_bytes=SIZE, parent=None, nonce="n", written_at=time.time() - 60)
    StateDir(str(world.state)).write_intent(old)
    saved = world.host.folder / "header"
    saved.write_bytes(pickle.dumps(header))
    done = world.virtrbd("image", "create", f"vms/{image}", "8M", program=("-c", OVERTAKEN, image_id, str(saved)))
    assert (done.returncode, "another client is at work on it" in done.stderr) == (5, True), done
    with rbd.Image(world.vms, image, read_only=True) as opened:
        assert (str(opened.id()), opened.read(0, len(DATA))) == (image_id, DATA)
    StateDir(str(world.state)).drop_intent(ref)


def header_of(ioctx: rados.Ioctx, image_id: str) -> dict[str, bytes]:
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals(operation, "", "", 100)
        ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
        return {key: value or b"" for key, value in values}


def test_a_snapshot_whose_removal_was_cut_off_goes_when_it_is_removed_again(roomed: LabWorld) -> None:
    """librbd puts each into the trash first; here a clone keeps it there, which is gone then."""
    vms, room = roomed.vms, roomed.pool
    parent_id = create(vms, "parent", DATA)
    with rbd.Image(vms, "parent") as image:
        image.create_snap("s")
    roomed.host.ok("rbd", "clone", "--rbd-default-clone-format", "2", f"{room}/parent@s", f"{room}/child")
    with rbd.Image(vms, "child") as image:
        child_id = str(image.id())
    with rbd.Image(vms, "parent") as image:
        image.remove_snap("s")
        [kept] = image.list_snaps()
    again = ("image", "snapshot", "remove", f"{room}/parent@s")
    assert roomed.virtrbd(*again).returncode == 5, "its clone needs it"
    body = struct.pack("<q", vms.get_pool_id()) + string(child_id) + string(vms.get_namespace())
    child = struct.pack("<BBI", 2, 1, len(body)) + body
    call(vms, f"rbd_header.{parent_id}", "child_detach", struct.pack("<Q", kept["id"]), child)
    assert roomed.ok(*again) == f"{room}/parent@s: removed snapshot {room}/parent@s\n"
    assert roomed.document("image", "snapshot", "list", f"{room}/parent")["snapshots"] == []
    for each in list(vms.list_objects()):
        vms.remove_object(each.key)
