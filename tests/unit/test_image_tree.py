"""The tree of images: each is in it once, whatever headers say; and where a flatten helps."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from support.families import HERE, MIB, families, families_of, image_of, snapshot_of
from support.image_details import use_of

from virtrbd.commands.output.image_tree import flatten_lines, tree_data, tree_lines
from virtrbd.errors import ExitCode
from virtrbd.model.failure import Failure
from virtrbd.model.family import Families
from virtrbd.model.image import ImageMark, ImageRef
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.image_use import DomainUse, ImageUse, Role, Unread
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.flattens import Flatten, Reason, helpful_flattens
from virtrbd.planning.image_tree import ImageNode, depths, make_tree


def nodes(roots: Sequence[ImageNode], nested: int = 0) -> Iterator[tuple[ImageNode, int]]:
    for root in roots:
        yield root, nested
        for snapshot in root.snapshots:
            yield from nodes(snapshot.clones, nested + 1)


def flattens_of(found: Families, uses: Sequence[DomainUse] | None = (), clone_depth: int = 8) -> tuple[Flatten, ...]:
    return helpful_flattens(found, depths(make_tree(found, uses)), uses, HERE, clone_depth)


def reasons(found: Families, **how: Any) -> dict[str, Reason]:
    return {each.ref.name: each.reason for each in flattens_of(found, **how)}


@given(families())
def test_each_image_is_in_the_tree_once_whatever_headers_say(found: Families) -> None:
    roots = make_tree(found, None)
    shown = Counter(node.image.key for node, _ in nodes(roots))
    assert shown == Counter(found.images.keys())
    assert len(tree_lines(roots, drawn=True)) == len(tree_lines(roots, drawn=False))
    assert json.loads(json.dumps(tree_data(roots))) is not None
    assert isinstance(flattens_of(found, clone_depth=1), tuple)


@given(families())
def test_an_image_is_below_the_snapshot_that_it_names(found: Families) -> None:
    for node, _ in nodes(make_tree(found, None)):
        for snapshot in node.snapshots:
            for clone in snapshot.clones:
                assert clone.image.parent is not None
                assert (clone.image.parent.key, clone.image.parent.snapshot_id) == (
                    node.image.key,
                    snapshot.snapshot.snapshot_id,
                )
                assert clone.depth == node.depth + 1


def chain(length: int) -> Families:
    names = [f"i{number:04}" for number in range(length)]
    links = zip(["", *names], names, strict=False)
    return families_of(*(image_of(name, parent, snapshots=(snapshot_of(1),)) for parent, name in links))


def test_a_chain_of_a_thousand_clones_is_shown_in_pieces() -> None:
    roots = make_tree(chain(1000), ())
    found = list(nodes(roots))
    assert len(found) == 1000
    assert max(nested for _, nested in found) == 32
    assert sorted(node.depth for node, _ in found) == list(range(1000))
    assert roots[1].note == "goes on from vms/i0032"
    assert len(json.dumps(tree_data(roots))) > 1000


def test_a_loop_of_parents_is_shown_as_one() -> None:
    found = families_of(image_of("a", "c"), image_of("b", "a"), image_of("c", "b"))
    [root] = make_tree(found, ())
    assert (root.image.ref.name, root.note) == ("a", "its parents form a loop")
    assert len(list(nodes([root]))) == 3


def golden() -> Families:
    """A golden image with two clones, of which one is in the trash, and a snapshot without clones."""
    return families_of(
        image_of("golden", snapshots=(snapshot_of(1, "web", "old", "far", is_protected=True), snapshot_of(2))),
        image_of("web", "golden", used_bytes=2 * MIB),
        image_of("old", "golden", expires_at=1000.0, used_bytes=None),
        image_of("odd", "golden", snapshot_id=9, failure=Failure(text="is odd", exit_code=ExitCode.FAILED)),
    )


def test_the_tree_as_text() -> None:
    use = DomainUse(name="web-01", uuid="u", state=PowerState.RUNNING, images=(
        ImageUse(ref=ImageRef(pool="vms", name="web"), role=Role.DISK, place="disk vda"),
        ImageUse(ref=ImageRef(pool="vms", name="old"), role=Role.DISK, place="disk vdb"),
    ))  # fmt: skip
    assert tree_lines(make_tree(golden(), [use]), drawn=False) == [
        "IMAGE                        SIZE   ADDS     DEPTH  USED BY  STATE",
        "vms/golden                   8 MiB  1 MiB    0      -        ready",
        "  @s1                        8 MiB  unknown                  protected",
        "    vms/old                  8 MiB  unknown  1      -        in the trash",
        "    vms/web                  8 MiB  2 MiB    1      web-01   ready",
        "    1 clone elsewhere",
        "  @(id 9)                    -      unknown                  not known",
        "    vms/odd                  8 MiB  1 MiB    1      -        cannot be read: is odd",
        "  1 snapshot without clones         unknown",
    ]
    drawn = tree_lines(make_tree(golden(), None), drawn=True)
    assert [line[:28].rstrip() for line in drawn[1:]] == [
        "vms/golden", "├─ @s1", "│  ├─ vms/old", "│  ├─ vms/web", "│  └─ 1 clone elsewhere", "├─ @(id 9)",
        "│  └─ vms/odd", "└─ 1 snapshot without clones",
    ]  # fmt: skip
    assert "  ?  " in drawn[1], "without libvirt nobody knows which domains use it"


def test_a_domain_that_cannot_be_read_may_use_what_its_text_names() -> None:
    unread = replace(use_of(PowerState.RUNNING), images=(), unread=(Unread(what="its XML", text="<x>web</x>"),))
    users = {node.image.ref.name: node.domains for node, _ in nodes(make_tree(golden(), [unread]))}
    assert users["web"] == (f"{unread.name} (perhaps: it cannot be read)",)
    assert users["golden"] == ()


def test_hostile_names_stay_on_their_line() -> None:
    odd = families_of(image_of("a\nb\x1b[2J\u202e", snapshots=(snapshot_of(1, "x", label="s\n"),)))
    lines = tree_lines(make_tree(odd, ()), drawn=True)
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


def test_a_flatten_helps_the_first_that_is_over_the_limit() -> None:
    assert reasons(chain(12), clone_depth=4) == {"i0005": Reason.DEPTH, "i0010": Reason.DEPTH}
    assert reasons(chain(5), clone_depth=4) == {}


def test_a_flatten_frees_a_snapshot_that_only_one_clone_keeps() -> None:
    kept = snapshot_of(1, "web", kind=SnapshotKind.TRASH, used_bytes=3 * MIB, allocated_bytes=5 * MIB)
    found = families_of(image_of("base", snapshots=(kept,)), image_of("web", "base"))
    [flatten] = flattens_of(found)
    assert (flatten.reason, flatten.frees_bytes, flatten.copies_bytes) == (Reason.TRASHED_SNAPSHOT, 3 * MIB, 5 * MIB)
    assert flatten_lines([flatten]) == [
        "vms/web: the last clone of a snapshot in the trash (depth 1, parent vms/base@s1): `virtrbd image flatten "
        "vms/web` copies up to 5 MiB, and then up to 3 MiB can be freed"
    ]
    other = snapshot_of(1, "web", "far", kind=SnapshotKind.TRASH)
    assert reasons(families_of(image_of("base", snapshots=(other,)), image_of("web", "base"))) == {}


def test_a_flatten_frees_an_image_in_the_trash_that_only_one_clone_keeps() -> None:
    base = image_of("base", snapshots=(snapshot_of(1, "web", used_bytes=MIB),), expires_at=1000.0)
    [flatten] = flattens_of(families_of(base, image_of("web", "base")))
    assert (flatten.reason, flatten.frees_bytes) == (Reason.TRASHED_PARENT, 2 * MIB)
    assert reasons(families_of(base, image_of("web", "base"), image_of("db", "base"))) == {}
    assert reasons(families_of(base, image_of("web", "base", expires_at=1000.0))) == {}, "restore it first"
    kept = image_of("web", "base", snapshots=(snapshot_of(1),), features=("layering",))
    assert reasons(families_of(base, kept)) == {}, "its snapshots keep the parent"


@pytest.mark.parametrize("uses", [None, [use_of(PowerState.RUNNING)]])
def test_a_flatten_frees_the_image_of_a_domain_that_is_gone_only_where_that_is_known(
    uses: Sequence[DomainUse] | None,
) -> None:
    mark = ImageMark(domain_uuid="gone", image_id="base", host=HERE)
    found = families_of(image_of("base", snapshots=(snapshot_of(1, "web"),), mark=mark), image_of("web", "base"))
    assert reasons(found, uses=()) == {"web": Reason.FORSAKEN_PARENT}
    there = replace(mark, host="there")
    base = image_of("base", snapshots=(snapshot_of(1, "web"),), mark=there)
    assert reasons(families_of(base, image_of("web", "base")), uses=()) == {}
    unknown = None if uses is None else [replace(uses[0], unread=(Unread(what="everything"),))]
    assert reasons(found, uses=unknown) == {}
    golden_image = families_of(image_of("base", snapshots=(snapshot_of(1, "web"),)), image_of("web", "base"))
    assert reasons(golden_image, uses=()) == {}, "an image without an owner may be cloned again tomorrow"
