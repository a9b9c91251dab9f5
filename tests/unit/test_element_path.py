"""Laws of paths into a domain's XML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.laws import laws

from virtrbd.domainxml.tree import quoted_step
from virtrbd.model.element_path import ROOT, ElementPath

# Whatever a key holds, its step has no slash; an attribute's namespace may have any.
steps = st.text(min_size=1, max_size=8).map(lambda key: quoted_step(f"disk:{key}".encode(errors="replace").decode()))
attributes = st.sampled_from(["", "cache", "{http://example.org/a/@b}c"])
ways = st.lists(steps, max_size=4)


def at(way: list[str], attribute: str = "") -> ElementPath:
    path = ROOT
    for step in way:
        path /= step
    return path / f"@{attribute}" if attribute else path


@laws
@given(way=ways, attribute=attributes)
def test_a_path_is_made_of_its_steps_and_its_attribute(way: list[str], attribute: str) -> None:
    path = at(way, attribute)
    assert (list(path.steps), path.attribute) == (way, attribute)
    assert str(path) == "/" + "/".join([*way, *([f"@{attribute}"] if attribute else [])])


@laws
@given(way=ways, attribute=attributes)
def test_with_a_slash_or_without_it_is_the_same(way: list[str], attribute: str) -> None:
    path = at(way, attribute)
    for text in (path.text, str(path), f"{path}/"):
        assert ElementPath(text) == path
        assert hash(ElementPath(text)) == hash(path)


@laws
@given(way=ways, below=ways, attribute=attributes)
def test_what_is_below_is_within_and_leads_back(way: list[str], below: list[str], attribute: str) -> None:
    outer, inner = at(way), at([*way, *below], attribute)
    assert inner.is_within(outer)
    assert outer / inner.below(outer) == inner
    assert outer.is_within(inner) is (outer == inner)
    assert inner.is_within(inner.top)
    assert inner.top / inner.below(inner.top) == inner


@laws
@given(one=ways, other=ways)
def test_a_path_is_within_another_by_whole_steps(one: list[str], other: list[str]) -> None:
    assert at(one).is_within(at(other)) is (one[: len(other)] == other)


@laws
@given(device=steps, other=steps, below=ways, attribute=attributes)
def test_a_path_into_a_device_names_it(device: str, other: str, below: list[str], attribute: str) -> None:
    path = at(["devices", device, *below], attribute)
    assert path.device == device
    assert path.kind == "disk"
    assert path.is_device is (path == ElementPath.of_device(device)) is (not below and not attribute)
    assert path.into(device) == path
    assert (path.into(other).device, path.into(other).inside) == (other, path.inside)


@pytest.mark.parametrize("text", ["", "/", "devices", "/title", "/os/boot", "/vcpu/@current", "/metadata/devices/x"])
def test_a_path_beside_the_devices_is_into_none(text: str) -> None:
    path = ElementPath(text)
    assert (path.device, path.kind, path.is_device, path.inside) == ("", "", False, text.strip("/"))


def test_paths_are_sorted_as_marks_have_them() -> None:
    texts = ["devices/rng", "devices/rng#2", "devices/rng/@model", "title", "vcpu/@current"]
    assert [path.text for path in sorted(map(ElementPath, reversed(texts)))] == texts


@pytest.mark.parametrize(("path", "kind"), [("/devices/rng#2/@model", "rng"), ("/devices/disk:a%23b", "disk")])
def test_a_devices_kind_is_its_tag(path: str, kind: str) -> None:
    assert ElementPath(path).kind == kind
