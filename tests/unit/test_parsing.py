"""Documents as libvirt gives them back: read whatever it accepts, under limits, with nothing else opened."""

import time
from pathlib import Path
from typing import TypeAlias
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from virtrbd.domainxml.canonical_text import quick_canonical_text, walked_canonical_text
from virtrbd.domainxml.document import NAMESPACE, Definition, Document, Edited, Rendered
from virtrbd.domainxml.drift import TOO_MUCH, foreign_changes
from virtrbd.domainxml.edit import edit_definition, with_mark
from virtrbd.domainxml.ignoring import pruned
from virtrbd.domainxml.parsing import parse
from virtrbd.domainxml.passwords import with_passwords
from virtrbd.domainxml.tree import parse_tree, to_text
from virtrbd.errors import DocumentError
from virtrbd.model.digest import digest_of
from virtrbd.model.mark import DomainMark

GOLDEN = sorted(Path(__file__).parent.parent.glob("golden/**/*.xml"))
MARK = DomainMark(uuid="u", host="h")


def domain(*, title: str = "", description: str = "", metadata: str = "", more: str = "") -> str:
    words = f"<title>{title}</title><description>{description}</description><metadata>{metadata}</metadata>"
    memory = "<memory unit='KiB'>1024</memory><vcpu>1</vcpu>"
    return f"<domain type='qemu'><name>a</name><uuid>u</uuid>{words}{memory}<devices/>{more}</domain>"


# All of them were measured: libvirt 9.0 takes them from virsh, and gives them back as they are.
KEPT = {
    "a relative namespace": domain(metadata="<a:m xmlns:a='app1'><a:n x='1'/></a:m>"),
    "a namespace that is no URI": domain(metadata="<a:m xmlns:a='a b%'><a:n x='1'/></a:m>"),
    "an empty namespace": domain(metadata="<a:m xmlns:a=''/>"),
    "a reserved prefix": domain(metadata="<xmlns:m xmlns:xmlns='urn:x'/>"),
    "two colons": domain(metadata="<v:v:m xmlns:v='urn:x'/>"),
    "an escape character": domain(description="a\x1b[31mb"),
    "a title with a noncharacter": domain(title="a\ufffeb"),
    "a reference to an entity": domain(metadata="<a:m xmlns:a='urn:x' b='&f;'>&e;</a:m>"),
    "comments and instructions": domain(metadata="<a:m xmlns:a='urn:x'><!-- c --><?p i?><![CDATA[a<b&c;]]></a:m>"),
    "elements 250 deep": domain(metadata=f"<a:m xmlns:a='urn:x'>{'<a:d>' * 250}{'</a:d>' * 250}</a:m>"),
}


@pytest.mark.parametrize("xml", KEPT.values(), ids=KEPT)
def test_what_libvirt_keeps_is_read_and_has_a_digest_of_its_own(xml: str) -> None:
    assert (Definition(xml).memory_bytes, Definition(xml).vcpus) == (1024**2, 1)
    assert Definition(xml).disks == ()
    digests = {Definition(other).digest for other in (*KEPT.values(), domain())}
    assert len(digests) == len(KEPT) + 1
    assert with_mark(Rendered(xml), MARK).mark == MARK
    assert with_mark(Rendered(xml), MARK).digest == Definition(to_text(parse(xml).root)).digest


ATTRIBUTES = [f"a{n}=''" for n in range(6000)]
REFUSED = {
    "5 MiB": (domain(description="x" * 5 * 1024**2), "larger than the 4 MiB"),
    "60,000 elements": (domain(metadata="<d/>" * 120_000), "more than 50000 elements"),
    "6,000 attributes of one": (domain(metadata=f"<d {' '.join(ATTRIBUTES)}/>"), "attributes"),
    "60,000 attributes": (domain(metadata="<d a='' b='' c=''/>" * 20_000), "attributes"),
    "600 namespaces": (domain(metadata="".join(f"<d xmlns='u{n}'/>" for n in range(600))), "namespaces"),
    "3,000 levels": (domain(metadata="<d>" * 3000 + "</d>" * 3000), "depth in document: 256$"),
    "a document type": (f"<!DOCTYPE domain [<!ENTITY e SYSTEM 'file:///etc/shadow'>]>{domain()}", "document type"),
    "one behind a comment": (f"<?xml version='1.0'?> <!-- c --><!DOCTYPE domain>{domain()}", "document type"),
    "one behind 5,000 comments": (f"{'<!-- -->' * 5000}<!DOCTYPE domain>{domain()}", "document type"),
    "nothing behind 5,000 comments": ("<!-- -->" * 5000, "cannot be parsed"),
    "half a document": (domain()[:-3], "cannot be parsed"),
    "nothing": ("", "cannot be parsed"),
    "an attribute twice": (domain(more="<on_crash a='1' a='2'/>"), "cannot be parsed: Attribute a redefined"),
}  # fmt: skip


@pytest.mark.parametrize(("xml", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_beyond_the_limits_is_refused_in_a_sentence_and_at_once(xml: str, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(DocumentError, match=why):
        parse(xml)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("written", ["<memory>lots</memory>", "<memory>\u0663</memory>", "<memory>-1</memory>"])
def test_a_number_that_libvirt_never_writes_is_refused_in_a_sentence(written: str) -> None:
    with pytest.raises(DocumentError, match="where libvirt writes a whole number"):
        _ = Definition(f"<domain>{written}</domain>").memory_bytes


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_the_walk_writes_what_libxml2_writes(file: Path) -> None:
    root = parse_tree(file.read_text())
    assert walked_canonical_text(root) == quick_canonical_text(root)
    for device in root.iterfind("devices/*"):
        assert walked_canonical_text(device) == quick_canonical_text(device)


names = st.sampled_from(["a", "b", "q:a", "r:b", "xml:lang"])
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=6
)


@pytest.mark.parametrize("file", GOLDEN[:10], ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_digests_are_those_that_earlier_versions_left_in_marks(file: Path) -> None:
    root = parse_tree(file.read_text())
    devices = root.find("devices")
    assert devices is not None
    devices[:] = sorted(devices, key=lambda child: etree.tostring(child, method="c14n"))
    assert Definition(file.read_text()).digest == digest_of(etree.tostring(root, method="c14n"))


# A tag, its attributes, its text, and what is in it.
Tagged: TypeAlias = "tuple[str, dict[str, str], str, list[Tagged]]"
tags, attributes = st.sampled_from(["a", "q:a"]), st.dictionaries(names, texts)
elements: st.SearchStrategy[Tagged] = st.recursive(
    st.tuples(tags, attributes, texts, st.just([])),
    lambda inner: st.tuples(tags, attributes, texts, st.lists(inner, max_size=3)),
    max_leaves=8,
)


def written(element: Tagged, depth: int = 0) -> str:
    tag, attributes, text, inner = element
    # Declared again further in, and otherwise.
    declared = ' xmlns:q="urn:q" xmlns:r="urn:r"' if depth == 0 else ' xmlns="urn:d"' if depth % 2 else ' xmlns=""'
    shown = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{tag}{declared}{shown}>{escape(text)}{''.join(written(each, depth + 1) for each in inner)}</{tag}>"


@settings(max_examples=200, deadline=None)
@given(element=elements)
def test_the_walk_writes_what_libxml2_writes_of_any_document(element: Tagged) -> None:
    root = parse_tree(written(element))
    assert walked_canonical_text(root) == quick_canonical_text(root)


def test_a_digest_of_many_namespaces_takes_no_minutes() -> None:
    inner = "<d a='1'/>" * 20_000
    for uri in ("urn:u", "u"):
        levels = "".join(f"<m xmlns:a{n}='{uri}{n}'>" for n in range(200))
        began = time.monotonic()
        _ = Definition(domain(metadata=f"{levels}{inner}{'</m>' * 200}")).digest
        assert time.monotonic() - began < 10


def test_what_others_wrote_into_metadata_stays_in_an_edit() -> None:
    foreign = "<a:m xmlns:a='app1'><!-- c --><?p i?>a&lt;b<a:n x='1&#10;2'/></a:m>"
    edit = edit_definition(
        Definition(domain(metadata=foreign)), Rendered(domain().replace(">1024<", ">2048<")), None, MARK
    )
    assert foreign.replace("'", '"') in edit.document.text
    assert edit.loss == ""


@pytest.mark.parametrize(
    ("held", "loss"),
    [
        (domain(title="a\x1bb"), "the character U+001B"),
        (domain(metadata="<a:m xmlns:a='urn:x'>&e;</a:m>"), r"a reference to an entity that nothing declares \(&e;\)"),
        (domain(metadata="<a:m xmlns:a=''/>"), "a namespace that XML does not allow"),
        (domain(description="\x1a"), "bytes that are not UTF-8"),
    ],
)
def test_an_edit_says_what_it_would_lose(held: str, loss: str) -> None:
    edit = edit_definition(Definition(held), Rendered(domain().replace(">1024<", ">2048<")), None, MARK)
    assert edit.loss.startswith(loss.replace("\\", ""))


def test_an_edit_that_writes_the_flaw_over_loses_nothing() -> None:
    edit = edit_definition(Definition(domain(title="a\x1bb")), Rendered(domain(title="mine")), None, MARK)
    assert (edit.loss, parse_tree(edit.document.text).findtext("title")) == ("", "mine")


def test_passwords_are_laid_into_a_document_without_losing_comments() -> None:
    screen = "<graphics type='vnc'/>"
    held = f"<domain><devices>{screen.replace('/>', ' passwd=_x_/>').replace('_', chr(39))}</devices></domain>"
    xml = f"<domain><metadata><m><!-- c --></m></metadata><devices>{screen}</devices></domain>"
    assert 'passwd="x"' in with_passwords(Edited(xml), Definition(held)).text
    assert "<!-- c -->" in with_passwords(Edited(xml), Definition(held)).text


ODD_PATHS = ["@id", "@", "devices/disk:vda/@", "devices/@x/@y", "", "/", "//", "@a b", "@{", "a/" * 5000, "\u0663", "%"]


@pytest.mark.parametrize("path", ODD_PATHS, ids=lambda path: path[:20] or "nothing")
def test_odd_paths_in_a_mark_lead_nowhere(path: str) -> None:
    mark = (
        f'<v:domain xmlns:v="{NAMESPACE}" uuid="u"><v:states of="{path}" parts="@ . {path}"/>'
        f'<v:ignores path="{path}"/><v:foreign path="{path}/@{path}" found="x"/><v:foreign/></v:domain>'
    )
    held = domain(metadata=mark)
    found = Definition(held).mark
    assert found is not None
    edit = edit_definition(Definition(held), Rendered(domain()), found, found)
    foreign_changes(
        Definition(held),
        Definition(held),
        Edited(edit.document.text),
        found.foreign,
        stated=found.stated,
        ignored=found.ignored,
    )
    pruned(Rendered(held), found.ignored)


@pytest.mark.parametrize("mark", ["", "uuid=''", "uuid='u' hold='x' balloon='9e99' inputs='\u0663'", "uuid='U'"])
def test_a_mark_with_odd_attributes_is_one_or_is_none(mark: str) -> None:
    found = Definition(domain(metadata=f'<v:domain xmlns:v="{NAMESPACE}" {mark}/>')).mark
    assert (found is None) == ("'u'" not in mark)
    assert Definition(f'<domain><metadata><v:domain xmlns:v="{NAMESPACE}"/></metadata></domain>').mark is None


def test_a_long_foreign_text_is_kept_by_its_beginning_and_a_change_at_its_end_is_seen() -> None:
    text = "x" * 1000
    (change,) = foreign_changes(
        Definition(domain()), Definition(domain(title=text)), Edited(domain(title=text)), (), stated=(), ignored=()
    )
    assert len(change.found) < 200
    longer = domain(title=f"{text}y")
    (again,) = foreign_changes(
        Definition(domain(title=text)), Definition(longer), Edited(longer), (change,), stated=(), ignored=()
    )
    assert again.found != change.found
    assert (
        foreign_changes(Definition(domain()), Definition(domain()), Edited(domain()), (again,), stated=(), ignored=())
        == ()
    )


@pytest.mark.parametrize("number", [1000, 20_000])
def test_of_many_foreign_changes_a_mark_keeps_some_and_that_there_are_more(number: int) -> None:
    before, after = (domain(metadata=f"<m>{f'<d a={chr(39)}{n}{chr(39)}/>' * number}</m>") for n in (1, 2))
    began = time.monotonic()
    found = foreign_changes(Definition(before), Definition(after), Edited(after), (), stated=(), ignored=())
    assert found[0] == TOO_MUCH
    assert len(found) < 250
    assert foreign_changes(Definition(after), Definition(after), Edited(after), found, stated=(), ignored=()) == found
    assert time.monotonic() - began < 20


def test_a_foreign_change_with_a_long_path_is_not_kept_by_its_path() -> None:
    deep = domain(metadata=f"<m>{'<abcdefghij>' * 100}{'</abcdefghij>' * 100}</m>")
    changed = deep.replace("<abcdefghij></abcdefghij>", "<abcdefghij>x</abcdefghij>")
    assert foreign_changes(Definition(deep), Definition(changed), Edited(changed), (), stated=(), ignored=()) == (
        TOO_MUCH,
    )


@pytest.mark.parametrize(
    "hostile",
    ["<source protocol='rbd' a>", "<source protocol='rbd' ", "<host name='", "<source protocol='rbd' name='"],
)
def test_reading_monitors_takes_time_by_the_length_of_the_text(hostile: str) -> None:
    began = time.monotonic()
    _ = Document(f"<metadata><![CDATA[{hostile * 100_000}]]></metadata>").monitors
    assert time.monotonic() - began < 3


def test_monitors_are_those_of_rbd_sources() -> None:
    source = "<source protocol='rbd' name='p/i'>\n <host name='10.0.0.1' port='6789'/><host name='::1'/>\n</source>"
    others = "<source protocol='nbd'><host name='x'/></source><host name='y'/>"
    others += "<source protocol='rbd' name='p/j'/><host name='z'/>"
    assert Document(source + others).monitors == {"10.0.0.1", "::1"}


@pytest.mark.parametrize("xml", KEPT.values(), ids=KEPT)
def test_what_may_be_no_xml_is_found_without_a_parser(xml: str) -> None:
    if parse(xml).flaw:
        assert Document(xml).may_be_no_xml


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_any_text_between_tags_is_read_or_refused_in_a_sentence(text: str) -> None:
    for xml in (domain(title=text), domain(metadata=text), text):
        try:
            _ = Definition(xml).digest
        except DocumentError:
            continue
