"""A list read from headers says of every kind of image what opening it says."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import rados
import rbd

from virtrbd.ceph import listing
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.header_io import read_header, read_id
from virtrbd.ceph.listing import list_images, list_opened
from virtrbd.model.image import ImageRef
from virtrbd.specs.settings import load_settings

MIB = 1024**2
SIZE = 8 * MIB
LAYERING = rbd.RBD_FEATURE_LAYERING
LOCKED = LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
MAPPED = LOCKED | rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """A namespace to list, one that parents lie in, and the other pool."""

    own: rados.Ioctx
    other: rados.Ioctx
    golden: rados.Ioctx
    name: str

    def create(self, room: rados.Ioctx, name: str, **how: object) -> None:
        rbd.RBD().create(room, name, SIZE, old_format=False, **how)

    def create_parent(self, room: rados.Ioctx, name: str) -> str:
        self.create(room, name, features=MAPPED)
        with rbd.Image(room, name) as image:
            image.metadata_set("conf_rbd_cache", "false")
            image.create_snap("v1")
            image.protect_snap("v1")
        return name


@pytest.fixture(scope="module")
def cluster(lab: Path) -> Iterator[Cluster]:
    with Cluster.connect(load_settings(f"{lab}/hosts/kvm-1/virtrbd.yaml")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def rooms(cluster: Cluster) -> Iterator[Rooms]:
    name = f"t{uuid.uuid4().hex[:10]}"
    ceph = cluster.settings.ceph
    # A clone from another namespace, and a parent in the trash, are only for clones v2.
    options = {"rbd_default_clone_format": "2"}
    with (
        rados.Rados(conffile=ceph.conf, rados_id=ceph.user, conf=options) as connection,
        connection.open_ioctx("vms") as plain,
        connection.open_ioctx("vms") as own,
        connection.open_ioctx("vms") as other,
        connection.open_ioctx("golden") as golden,
    ):
        own.set_namespace(name)
        other.set_namespace(f"{name}-other")
        rooms = Rooms(own=own, other=other, golden=golden, name=name)
        for namespace in (name, f"{name}-other"):
            rbd.RBD().namespace_create(plain, namespace)
        try:
            make_every_kind(rooms)
            make_old_clone(cluster, rooms)
            yield rooms
        finally:
            for room in (own, other):
                remove_all(room, "")
            remove_all(golden, name)
            for namespace in (name, f"{name}-other"):
                rbd.RBD().namespace_remove(plain, namespace)


def make_every_kind(rooms: Rooms) -> None:
    own = rooms.own
    rooms.create(own, "plain")
    rooms.create(own, "no-lock", features=LAYERING)
    rooms.create(own, "journaling", features=LOCKED | rbd.RBD_FEATURE_JOURNALING)
    rooms.create(own, "striped", features=LAYERING, stripe_unit=MIB, stripe_count=4)
    rooms.create(own, "small-objects", order=16)
    rooms.create(own, "data-elsewhere", data_pool="golden")
    for odd in ("ünïcode ☃", "<&'\"$(x)`\\", "-dash", "a+b=c,d;e%2F", "metadata_x"):
        rooms.create(own, odd)
    rooms.create(own, "with-snapshots")
    with rbd.Image(own, "with-snapshots") as image:
        for snapshot in ("v1", "v2", "späť"):
            image.create_snap(snapshot)
        image.protect_snap("v2")
        image.resize(2 * SIZE)
        image.create_snap("larger")
    rooms.create(own, "not-ready")
    with rbd.Image(own, "not-ready") as image:
        image.metadata_set("virtrbd.state", "importing 1")
        image.metadata_set("virtrbd.owner", f'{{"domain": "", "image": "{image.id()}", "host": "a-host"}}')
    rooms.create(own, "many-keys")
    with rbd.Image(own, "many-keys") as image:
        for number in range(260):
            image.metadata_set(f"key-{number}", "value")
    make_clones(rooms)


def make_clones(rooms: Rooms) -> None:
    own = rooms.own
    parents = {
        "clone-of-own": (own, rooms.create_parent(own, "parent")),
        "clone-of-namespace": (rooms.other, rooms.create_parent(rooms.other, "parent")),
        "clone-of-pool": (rooms.golden, rooms.create_parent(rooms.golden, f"{rooms.name}-parent")),
        "parent-in-trash": (own, rooms.create_parent(own, "trashed")),
        "flattened": (own, "parent"),
    }
    for name, (room, parent) in parents.items():
        rbd.RBD().clone(room, parent, "v1", own, name, MAPPED)
    with rbd.Image(own, "flattened") as image:
        image.flatten()
    rbd.RBD().trash_move(own, "trashed", 0)


def make_old_clone(cluster: Cluster, rooms: Rooms) -> None:
    """A clone v1, which the lab's cluster makes by default."""
    with cluster.ioctx(ImageRef(pool="vms", namespace=rooms.name, name="")) as room:
        rbd.RBD().clone(room, "parent", "v1", room, "clone-v1", MAPPED)


def remove_all(room: rados.Ioctx, prefix: str) -> None:
    names = [name for name in rbd.RBD().list(room) if name.startswith(prefix)]
    for entry in rbd.RBD().trash_list(room):
        rbd.RBD().trash_restore(room, entry["id"], entry["name"])
        names.append(entry["name"])
    for name in sorted(names, key=lambda name: "parent" in name or name == "trashed"):
        with rbd.Image(room, name) as image:
            for snapshot in list(image.list_snaps()):
                with suppress(rbd.InvalidArgument):
                    image.unprotect_snap(snapshot["name"])
                image.remove_snap(snapshot["name"])
        rbd.RBD().remove(room, name)


def test_headers_say_of_every_kind_what_opening_says(cluster: Cluster, rooms: Rooms) -> None:
    listed = list_images(cluster, "vms", rooms.name).images
    assert [image.ref.name for image in listed] == sorted(rbd.RBD().list(rooms.own))
    assert listed == tuple(list_opened(cluster, image.ref) for image in listed)


def test_what_is_compared_covers_what_it_should(cluster: Cluster, rooms: Rooms) -> None:
    found = {image.ref.name: image for image in list_images(cluster, "vms", rooms.name).images}
    assert {name: str(found[name].parent) for name in found if found[name].parent} == {
        "clone-v1": f"vms/{rooms.name}/parent@v1",
        "clone-of-own": f"vms/{rooms.name}/parent@v1",
        "clone-of-namespace": f"vms/{rooms.name}-other/parent@v1",
        "clone-of-pool": f"golden/{rooms.name}-parent@v1",
        "parent-in-trash": f"vms/{rooms.name}/trashed@v1",
    }
    assert found["with-snapshots"].snapshots == 4
    assert found["with-snapshots"].size_bytes == 2 * SIZE
    assert str(found["not-ready"].state) == "importing 1"
    assert found["not-ready"].mark is not None
    assert "data-pool" in found["data-elsewhere"].features
    assert found["no-lock"].features == ("layering",)


def test_only_what_headers_can_not_tell_is_opened(
    cluster: Cluster, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def noting(cluster: Cluster, ref: ImageRef) -> object:
        opened.append(ref.name)
        return list_opened(cluster, ref)

    monkeypatch.setattr(listing, "list_opened", noting)
    list_images(cluster, "vms", rooms.name)
    assert set(opened) == {"many-keys", "parent-in-trash"}


def test_an_image_that_goes_away_meanwhile_is_left_out(cluster: Cluster, rooms: Rooms) -> None:
    rooms.create(rooms.own, "going")
    image_id = read_id(rooms.own, ImageRef(pool="vms", name="going"))
    header = f"rbd_header.{image_id}"
    assert read_header(rooms.own, image_id) is not None
    # As a removal leaves it half-way: named in the directory, and its header gone.
    rooms.own.remove_object(header)
    rooms.own.remove_object("rbd_id.going")
    try:
        assert "going" in rbd.RBD().list(rooms.own)
        assert "going" not in [image.ref.name for image in list_images(cluster, "vms", rooms.name).images]
    finally:
        rbd.RBD().remove(rooms.own, "going")
