"""How images are named, and when an image is what an intent says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.image import Image, ImageMark, ImageRef, Intent
from virtrbd.model.names import LONGEST_NAME, LONGEST_NAMESPACE
from virtrbd.printable import first_unprintable

parts = st.text(
    st.characters(exclude_characters="/@:", exclude_categories=["C", "Z"]) | st.just(" "), min_size=1
).filter(lambda text: text == text.strip() and not first_unprintable(text))


@given(pool=parts, namespace=st.just("") | parts, name=parts, snapshot=st.just("") | parts)
def test_reads_the_names_it_prints(pool: str, namespace: str, name: str, snapshot: str) -> None:
    ref = ImageRef(pool=pool, namespace=namespace, name=name, snapshot=snapshot)
    assert ImageRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "", "image", "vms/", "/image", "vms//image", "vms/image@", "vms/@snap", "vms/image@a@b", "a/b/c/d",
        "vms/image:rbd_cache=false", "vms:x/image", "vms/ image", " vms/image", "vms/image@a/b",
    ],
)  # fmt: skip
def test_refuses_what_names_no_image(text: str) -> None:
    with pytest.raises(ValueError, match="names no image; write pool/image"):
        ImageRef.parse(text)


@pytest.mark.parametrize("part", ["{}/image", "vms/{}", "vms/{}/image", "vms/image@{}"])
@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ("a\x1b[31m", r"U\+001B"), ("a\nb", r"U\+000A"), ("a\x9b", r"U\+009B"), ("a\u202eb", r"U\+202E"),
        ("a\u200b", r"U\+200B"), ("a\u3164", r"U\+3164"), ("\u0301a", r"U\+0301"), ("a\udcff", r"U\+DCFF"),
        ("a\0", r"U\+0000"), ("a ", "begins or ends with a space"), ("a" * 2042, "bytes that Ceph takes"),
        ("é" * 1021, "bytes that Ceph takes"),
    ],
)  # fmt: skip
def test_refuses_a_name_that_nobody_means(part: str, odd: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        ImageRef.parse(part.format(odd))
    assert len(str(caught.value)) < 400


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
