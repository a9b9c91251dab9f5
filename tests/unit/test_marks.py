"""virtrbd's own element: what it says comes back, and what people wrote into it by hand does no harm."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtrbd.domainxml.document import NAMESPACE, Definition
from virtrbd.domainxml.mark import mark_text, set_mark
from virtrbd.domainxml.tree import parse_tree, to_text
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import DomainMark, ForeignChange, Hold

words = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc", "Cs"]), max_size=12)
names = st.sampled_from(
    [*map(ElementPath, ["title", "vcpu/@current", "devices/disk:vda", "devices/disk:vda/iotune/x", "devices/rng#2"])]
)
changes = st.builds(ForeignChange, path=st.builds(ElementPath, words), was=words, found=words)
holds = st.builds(Hold, until=st.none() | st.floats(0, 2e11), why=words)
marks = st.builds(
    DomainMark,
    uuid=st.just("u"),
    host=words,
    inputs=words,
    definition=words,
    stated=st.sets(names).map(lambda paths: tuple(sorted(paths))),
    foreign=st.lists(changes, max_size=2).map(tuple),
    ignored=st.lists(names, unique=True, max_size=2).map(tuple),
    hold=st.none() | holds,
)


def domain(mark: str = "") -> str:
    return f"<domain><name>a</name><uuid>u</uuid><metadata>{mark}</metadata></domain>"


@settings(max_examples=100, deadline=None)
@given(mark=marks)
def test_what_a_mark_says_comes_back(mark: DomainMark) -> None:
    root = parse_tree(domain())
    set_mark(root, mark)
    assert Definition(to_text(root)).mark == mark
    # libvirt puts the namespace on the element that setMetadata was given, and so on all in it.
    given_to_libvirt = mark_text(mark).replace("<domain", f'<domain xmlns="{NAMESPACE}"', 1)
    assert Definition(domain(given_to_libvirt)).mark == mark


@pytest.mark.parametrize("until", ["soon", "nan", "inf", "-1", "1e300", ""])
def test_a_hold_until_no_time_holds_until_it_is_released(until: str) -> None:
    hold = f'<v:hold until="{until}"/>'
    mark = Definition(domain(f'<v:domain xmlns:v="{NAMESPACE}" uuid="u">{hold}</v:domain>')).mark
    assert mark is not None
    assert mark.hold == Hold()
    assert mark.hold.holds_at(4e9)


def test_a_hold_ends_when_it_says() -> None:
    assert (Hold(until=10).holds_at(9.9), Hold(until=10).holds_at(10)) == (True, False)


def test_a_copied_mark_counts_for_nobody() -> None:
    assert Definition(domain(f'<v:domain xmlns:v="{NAMESPACE}" uuid="of another"/>')).mark is None
