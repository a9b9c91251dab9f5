"""Images as the planner of removals sees them, one by one and as hypothesis strategies."""

from typing import Any

from hypothesis import strategies as st

from virtrbd.images.users import use_of as all_of
from virtrbd.model.image import Image, ImageMark, ImageRef, Watcher
from virtrbd.model.image_details import Child, ImageDetails, Snapshot, SnapshotKind, Usage
from virtrbd.model.image_state import state_from
from virtrbd.model.image_use import DomainUse, ImageUse, Role
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.world import World

HERE, THERE = "here", "there"
REF = ImageRef.parse("vms/web.vda")
IMAGE = Image(ref=REF, image_id="1", size_bytes=100, created_at=1000.0)
WATCHER = Watcher(address="10.0.0.7:0/1", client_id=7)
OTHERS = (WATCHER, replace(WATCHER, client_id=8))
CHILD = Child(ref=ImageRef.parse("vms/clone"), image_id="c1")
TRASHED_CHILD = Child(ref=ImageRef.parse("vms/gone"), image_id="c2", in_trash=True)


def snapshot(
    name: str = "s1", kind: SnapshotKind = SnapshotKind.USER, *children: Child, protected: bool = False
) -> Snapshot:
    label = "vms/group1@snap1" if kind is SnapshotKind.GROUP else name
    return Snapshot(
        snapshot_id=1, name=name, kind=kind, label=label, size_bytes=100, created_at=1000.0, protected=protected,
        children=children,
    )  # fmt: skip


def details_of(*snapshots: Snapshot, image: Image = IMAGE, **more: Any) -> ImageDetails:
    return ImageDetails(image=image, snapshots=snapshots, **more)


def use_of(state: PowerState, name: str = "web") -> DomainUse:
    return DomainUse(name=name, uuid=f"uuid of {name}", state=state, images=(used("vms/web.vda"),))


def used(image: str, role: Role = Role.DISK, place: str = "disk vda") -> ImageUse:
    return ImageUse(ref=ImageRef.parse(image), role=role, place=place)


snapshots = st.builds(
    snapshot,
    st.sampled_from(["s1", "s2", "s3"]),
    st.sampled_from(SnapshotKind),
    protected=st.booleans(),
)


marks = st.none() | st.builds(
    ImageMark, domain_uuid=st.sampled_from(["", "u"]), image_id=st.just("1"), host=st.sampled_from([HERE, THERE])
)
states_of_images = st.sampled_from([None, state_from("importing x")])


@st.composite
def _snapshots(draw: st.DrawFn) -> tuple[Snapshot, ...]:
    """Snapshots of one image: names are its own, and only people's can be protected; clones are of one snapshot."""
    found = draw(st.lists(snapshots, max_size=3, unique_by=lambda each: each.name))
    return tuple(
        replace(
            each,
            snapshot_id=number,
            protected=each.protected and each.kind is SnapshotKind.USER,
            children=tuple(
                Child(
                    ref=ImageRef(pool="vms", name=f"clone{number}{n}"),
                    image_id=f"{number}{n}",
                    in_trash=in_trash,
                    mark=draw(marks),
                    state=draw(states_of_images),
                )
                for n, in_trash in enumerate(draw(st.lists(st.booleans(), max_size=2)))
            ),
        )
        for number, each in enumerate(found, 1)
    )


@st.composite
def details(draw: st.DrawFn) -> ImageDetails:
    """All that may be known of an image."""
    image = replace(
        IMAGE,
        mark=draw(marks),
        state=draw(states_of_images),
        running_on=draw(st.sampled_from(["", HERE, THERE])),
        watchers=draw(st.sampled_from([(), (WATCHER,), OTHERS])),
    )
    return ImageDetails(
        image=image,
        snapshots=draw(_snapshots()),
        mirroring=draw(st.booleans()),
        group=draw(st.sampled_from(["", "vms/group1"])),
        usage=draw(st.none() | st.just(Usage(ref=REF, size_bytes=100, used_bytes=10, by_snapshot={"s1": 5}))),
    )


states = st.sampled_from([PowerState.RUNNING, PowerState.SHUT_OFF, PowerState.SAVED, PowerState.PAUSED])
uses = st.none() | st.lists(st.builds(use_of, states, st.sampled_from(["web", "db"])), max_size=2).map(tuple)


def uses_in(actual: World) -> World:
    """Return the world with what its domains use, as `observe` finds it where libvirt has no storage pools."""
    return replace(actual, uses=tuple(all_of(domain, (), lambda _pool: None) for domain in actual.domains))
