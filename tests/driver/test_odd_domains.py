"""What virsh lets anybody write into a domain, on libvirt's own test driver: it harms that domain alone."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape

import libvirt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.strategies import EMPTY, HERE, WEB

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, Rendered
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.hypervisor.marks import record
from virtrbd.images.users import read_uses
from virtrbd.model.image_use import Unread
from virtrbd.model.mark import DomainMark, Hold
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.planning.plan import make_plan

TITLE, DESCRIPTION = libvirt.VIR_DOMAIN_METADATA_TITLE, libvirt.VIR_DOMAIN_METADATA_DESCRIPTION
ELEMENT, CONFIG = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
UUID = "dddddddd-0000-0000-0000-00000000000d"
VIRTRBD = Callable[..., "subprocess.CompletedProcess[str]"]


def domain_xml(name: str, more: str = "", devices: str = "") -> str:
    return (
        f"<domain type='test'><name>{escape(name)}</name>{more}<memory>65536</memory>"
        f"<os><type arch='i686'>hvm</type></os><devices>{devices}</devices></domain>"
    )


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open("test:///default")
    yield opened
    for domain in opened.listAllDomains():
        if domain.name() != "test":
            with suppress(libvirt.libvirtError):
                domain.undefine()
    opened.close()


@pytest.fixture
def odd(connection: libvirt.virConnect) -> libvirt.virDomain:
    return connection.defineXML(domain_xml("odd", f"<uuid>{UUID}</uuid>"))


def read(connection: libvirt.virConnect) -> DefinedDomain:
    (found,) = (d for d in Hypervisor(connection, Settings(host="kvm-1")).domains().read if d.uuid == UUID)
    return found


# libvirt itself drops these when it writes them; of what is left empty then it writes no element the next time. It
# reads its own carriage returns as line feeds, as XML demands.
DROPPED = "".join(map(chr, {*range(0x1A), 0x0D} - {0x09, 0x0A}))
any_text = st.text(st.characters(exclude_characters=DROPPED, exclude_categories=["Cs"]), max_size=20)
namespaces = st.sampled_from(["app1", "a b", " ", "", "::", "urn:x", "http://[", "\u00fc", "../x", "%zz"])
with_driver = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(odd: libvirt.virDomain, title: str, description: str, metadata: str, namespace: str) -> None:
    """Write as virsh does; libvirt refuses some of it."""
    element = f"<m a='1'>{escape(metadata)}<n/></m>"
    for kind, text, key, uri in (
        (TITLE, title, None, None), (DESCRIPTION, description, None, None), (ELEMENT, element, "app", namespace),
    ):  # fmt: skip
        try:
            odd.setMetadata(kind, text, key, uri, CONFIG)
        except libvirt.libvirtError:
            continue


@with_driver
@given(title=any_text, description=any_text, metadata=any_text, namespace=namespaces)
def test_the_digest_of_what_anybody_wrote_is_stable_and_others_are_planned_as_ever(
    connection: libvirt.virConnect,
    odd: libvirt.virDomain,
    *,
    title: str,
    description: str,
    metadata: str,
    namespace: str,
) -> None:
    write(odd, title, description, metadata, namespace)
    found = read(connection)
    digest = found.definition.digest
    # Its own mark is no part of it, and says the same afterwards.
    mark = DomainMark(uuid=UUID, host="h", hold=Hold(why="because"))
    given_back = record(odd, mark, Rendered(found.definition.text))
    assert given_back.mark == replace(mark, definition=digest)
    assert given_back.digest == digest
    try:
        again = connection.defineXML(given_back.text).XMLDesc(INACTIVE)
    except libvirt.libvirtError:
        again = given_back.text
    # An element of no namespace at all is none that libvirt keeps.
    if 'xmlns:app=""' not in given_back.text:
        assert Definition(again).digest == digest
    policy = replace(HERE, with_orphans=True)
    plans = make_plan((WEB,), replace(EMPTY, domains=(found, read(connection))), policy).domains
    assert [plan for plan in plans if plan.name == "web"] == list(make_plan((WEB,), EMPTY, policy).domains)
    assert not [failure for plan in plans for failure in plan.failures]


def test_a_domain_that_vanishes_while_it_is_read_is_left_out(
    connection: libvirt.virConnect, odd: libvirt.virDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = connection.listAllDomains()
    odd.undefine()
    monkeypatch.setattr(connection, "listAllDomains", lambda _flags=0: listed)
    found = Hypervisor(connection, Settings(host="kvm-1")).domains()
    assert ([domain.name for domain in found.read], found.unread) == (["test"], ())


def test_a_domain_whose_xml_libvirt_cannot_give_is_there_all_the_same(
    connection: libvirt.virConnect, odd: libvirt.virDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [domain for domain in connection.listAllDomains() if domain.name() == odd.name()]
    monkeypatch.setattr(connection, "listAllDomains", lambda _flags=0: listed)
    monkeypatch.setattr(listed[0], "XMLDesc", lambda _flags=0: 1 // 0)
    hypervisor = Hypervisor(connection, Settings(host="kvm-1"))
    (unread,) = hypervisor.domains().unread
    assert (unread.name, unread.uuid) == ("odd", UUID)
    assert unread.failure.text.startswith("reading domain odd: ")
    assert unread.failure.trace[-1] == "ZeroDivisionError"
    (use,) = read_uses(hypervisor)
    assert use.unread == (Unread(what=unread.failure.text),)


FOREIGN = {
    "relative": "<metadata><a:m xmlns:a='app1'/></metadata>",
    "no-uri": "<metadata><a:m xmlns:a='a b'/></metadata>",
    "deep": f"<metadata><m xmlns='urn:m'>{'<d>' * 245}{'</d>' * 245}</m></metadata>",
    "large": f"<description>{'x' * 5 * 1024**2}</description>",
    "marked": "<metadata><domain xmlns='urn:virtrbd:domain:1' uuid='x'><hold until='inf'/></domain></metadata>",
}
NAMES = ["with a space", "quote'd", '"', "<b>", "..", ".", "-rf", "a%2Fb", "n" * 300, "\u202e", UUID, "\u00e9"]


@pytest.fixture
def host(tmp_path: Path) -> str:
    """A host full of odd domains, as a connection of the test driver."""
    domains = [domain_xml(name, more) for name, more in FOREIGN.items()]
    domains += [domain_xml(name) for name in NAMES]
    file = tmp_path / "host.xml"
    file.write_text(f"<node><cpu><nodes>1</nodes></cpu>{''.join(domains)}</node>")
    return f"test://{file}"


def test_list_shows_every_domain_and_says_which_cannot_be_read(virtrbd: VIRTRBD, host: str) -> None:
    done = virtrbd("list", "--connect", host, "--output", "json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["domains"]}
    assert rows.keys() == {*FOREIGN, *NAMES}
    assert {name for name, row in rows.items() if row["failure"]} == {"large"}
    assert (rows["large"]["failure"]["exit_code"], done.returncode) == (5, 5)
    assert rows["relative"]["memory_bytes"] == 64 * 1024**2
    text = virtrbd("list", "--connect", host)
    assert text.returncode == 5
    assert len(text.stdout.splitlines()) == 1 + len(rows)
    assert text.stderr == "large: cannot be read: its XML is larger than the 4 MiB that libvirt itself sends\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("hold", "large"), 5),
        (("release", "large"), 5),
        (("ignore", "large"), 5),
        (("console", "large"), 5),
        (("hold", "relative"), 5),
        (("release", "deep"), 0),
        (("ignore", "marked", "/title"), 5),
        (("release", ".."), 0),
        (("release", "n" * 300), 0),
        (("release", "\udcff"), 64),
        (("release", "n" * 100_000), 5),
    ],
    ids=lambda value: str(value)[:30].encode(errors="replace").decode(),
)
def test_a_verb_on_an_odd_domain_ends_in_a_documented_code(
    virtrbd: VIRTRBD, host: str, words: tuple[str, ...], code: int
) -> None:
    done = virtrbd(*words, "--connect", host)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if words[1] == "large":
        assert done.stderr == (
            "large: its XML is larger than the 4 MiB that libvirt itself sends; look with virsh dumpxml, and mend it\n"
        )
