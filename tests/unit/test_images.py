"""How images are named, and when an image is what an intent says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.image import Image, ImageMark, ImageRef, Intent
from virtrbd.model.names import LONGEST_NAME, LONGEST_NAMESPACE
from virtrbd.model.record import replace

# What RBD lists and libvirt's XML holds: measured with Ceph 16.2 and libvirt 9.0, a guest opens the right image.
HELD = [
    "t.10:40:39", " lead", "trail ", "q'\"q", "e=f;g", "ünïß", "p%20q", "-lead", "n" * 100, "b\\s", "$HOME", "a&<>,b",
    "..", "x\u200by", "a\u202eb", "\u0301a",
]  # fmt: skip
# What is refused for a new one.
UNMEANT = [" lead", "trail ", "x\u200by", "a\u202eb", "\u0301a"]

parts = st.text(st.characters(exclude_characters="/@", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda text: not set(text) & set("\ufffe\uffff")
)
snapshots = parts | st.just("2017-04-19T11:33:23") | st.just("a@b") | st.just("a/b")


@given(pool=parts, namespace=st.just("") | parts, name=parts | st.sampled_from(HELD), snapshot=st.just("") | snapshots)
def test_reads_the_names_it_prints(pool: str, namespace: str, name: str, snapshot: str) -> None:
    ref = ImageRef(pool=pool, namespace=namespace, name=name, snapshot=snapshot)
    assert ImageRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "image", "vms/", "/image", "vms//image", "vms/image@", "vms/@snap", "a/b/c/d"])
def test_refuses_what_names_no_image(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of an image; write pool/image"):
        ImageRef.parse(text)


@pytest.mark.parametrize("part", ["{}/image", "vms/{}", "vms/{}/image", "vms/image@{}"])
@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ("a\tb", r"U\+0009, which libvirt's XML cannot hold"), ("a\x1b[31m", r"U\+001B"), ("a\nb", r"U\+000A"),
        ("a\x9b", r"U\+009B"), ("a\x7f", r"U\+007F"), ("a\udcff", r"U\+DCFF"), ("a\ufffe", r"U\+FFFE"),
        ("a\0", r"U\+0000"), ("a" * 2042, "bytes that Ceph takes"), ("é" * 1021, "bytes that Ceph takes"),
    ],
)  # fmt: skip
def test_refuses_a_name_that_libvirt_or_ceph_cannot_hold(part: str, odd: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        ImageRef.parse(part.format(odd))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", HELD)
def test_a_new_image_may_have_the_names_that_people_mean(name: str) -> None:
    for text in (f"vms/{name}", f"vms/image@{name}"):
        if name in UNMEANT:
            with pytest.raises(ValueError, match=r"begins or ends with a space|invisible"):
                ImageRef.parse_new(text)
        else:
            assert ImageRef.parse_new(text) == ImageRef.parse(text)


@pytest.mark.parametrize("text", ["vms/x:id=admin", "vms/x:rbd_cache=true", "vms/x@a@b", "vms/x@a/b"])
def test_no_new_image_has_options_or_borders_in_its_name(text: str) -> None:
    assert str(ImageRef.parse(text)) == text
    with pytest.raises(ValueError, match="leave them out"):
        ImageRef.parse_new(text)


def test_takes_the_longest_names_that_ceph_takes() -> None:
    text = f"vms/{'n' * LONGEST_NAMESPACE}/{'i' * LONGEST_NAME}"
    assert str(ImageRef.parse(text)) == text
    with pytest.raises(ValueError, match="256 bytes"):
        ImageRef.parse(f"vms/{'n' * 257}/image")


def test_an_image_is_known_without_its_snapshot() -> None:
    ref = ImageRef.parse("vms/team/web@v1")
    assert str(ref.image) == "vms/team/web"
    assert ref.path == "team/web"


PARENT = ImageRef.parse("golden/x@v1")
IMAGE = Image(ref=ImageRef.parse("vms/web"), image_id="1", size_bytes=100, created_at=1000.0)
INTENT = Intent(
    ref=IMAGE.ref, domain_uuid="u", size_bytes=100, parent=None, nonce="n", written_at=1000.0
)  # fmt: skip


def test_an_intent_matches_what_it_made() -> None:
    assert INTENT.matches(IMAGE)
    assert replace(INTENT, written_at=1004.0).matches(IMAGE), "two clocks may be some seconds apart"
    assert replace(INTENT, parent=PARENT, size_bytes=1).matches(replace(IMAGE, parent=PARENT)), "a clone is as large"


@pytest.mark.parametrize(
    "image",
    [
        replace(IMAGE, mark=ImageMark(domain_uuid="u", image_id="1", host="h")),
        replace(IMAGE, size_bytes=101),
        replace(IMAGE, parent=PARENT),
        replace(IMAGE, created_at=994.0),
    ],
)
def test_an_intent_matches_nothing_else(image: Image) -> None:
    assert not INTENT.matches(image)


def test_a_clone_of_another_parent_is_not_what_was_intended() -> None:
    other = replace(IMAGE, parent=ImageRef.parse("golden/y@v1"))
    assert not replace(INTENT, parent=PARENT).matches(other)
    assert not replace(INTENT, parent=PARENT).matches(IMAGE)


def test_a_mark_is_of_one_domain() -> None:
    marked = replace(IMAGE, mark=ImageMark(domain_uuid="u", image_id="1", host="h"))
    assert marked.is_of("u")
    assert not marked.is_of("v")
    assert not IMAGE.is_of("u")
