"""What virsh lets anybody write into a domain harms that domain alone, through every verb.

Alone: what a host's odd domains are said to be, every plan that runs beside this would say too.
"""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import libvirt
import pytest
from support.fleets import DISK, Ended, Fleet

pytestmark = pytest.mark.alone

CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
ESCAPE = b"a\x1b[31mb"
# What the bytes of a description make of a domain.
NOT_XML = {"an escape character": ESCAPE, "no UTF-8": b"a\xffb", "a noncharacter": "a\ufffeb".encode()}


def stranger(fleet: Fleet, letter: str = "x", devices: str = "") -> libvirt.virDomain:
    """A domain that no spec names."""
    return fleet.connection.defineXML(
        f"<domain type='qemu'><name>{fleet.name}{letter}</name><memory>65536</memory>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}</devices></domain>"
    )


def virsh(fleet: Fleet, *words: str | bytes) -> None:
    subprocess.run(["virsh", *words], env=fleet.env, check=True, capture_output=True, timeout=50)


def is_whole(run: Ended, *codes: int) -> dict[str, Any]:
    """One JSON document, and one of the codes."""
    assert run.code in codes, run
    assert "Traceback" not in run.err
    document: dict[str, Any] = json.loads(run.out)
    return document


def make_huge(domain: libvirt.virDomain) -> None:
    """Together larger than what libvirt sends."""
    for kind in (libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, libvirt.VIR_DOMAIN_METADATA_TITLE):
        domain.setMetadata(kind, "x" * 3 * 1024**2, None, None, CONFIG)


def make_deep(domain: libvirt.virDomain) -> None:
    """As deep as libvirt takes it, and then deeper than it reads: it lays it into its own document."""
    deep = f"{'<d>' * 254}{'</d>' * 254}"
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, f"<m>{deep}</m>", "k", "urn:m", CONFIG)
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, f"<m><d>{deep}</d></m>", "v", "urn:virtrbd:domain:1", CONFIG
    )


@pytest.mark.parametrize("make", [make_huge, make_deep])
def test_a_foreign_domain_that_cannot_be_read_ends_no_run(
    fleet: Fleet, make: Callable[[libvirt.virDomain], None]
) -> None:
    mine, odd = fleet.spec("a"), stranger(fleet)
    make(odd)
    plan = is_whole(fleet.run("plan", "--output", "json"), 3)
    mine_alone = [domain for domain in plan["domains"] if domain["name"] == mine]
    assert mine_alone[0]["actions"][-1]["text"] == "define domain"
    first = fleet.reconcile()
    assert first.code == 0, first
    assert f"{odd.name()}: cannot be read: " in first.out
    fleet.is_in_sync()
    listed = is_whole(fleet.run("list", "--output", "json"), 5)
    rows = {row["name"]: row for row in listed["domains"]}
    assert rows[mine]["failure"] is None
    assert rows[odd.name()]["failure"]["exit_code"] == 5
    for verb in ("inspect", "start", "shutdown", "undefine", "remove", "hold", "console", "adopt"):
        run = fleet.run(verb, odd.name())
        assert run.code == 5, run
        assert odd.name() in run.err
        assert "Traceback" not in run.err


def test_a_domain_that_cannot_be_read_may_use_any_image(fleet: Fleet) -> None:
    image, odd = f"vms/{fleet.name}.free", stranger(fleet)
    make_huge(odd)
    assert fleet.run("image", "create", image, "8M").code == 0
    assert f"{odd.name()} (perhaps: it cannot be read)" in fleet.run("image", "info", image).out
    kept = fleet.run("image", "remove", image)
    assert kept.code == 4
    assert f"domain {odd.name()} may use it: virtrbd cannot read" in kept.out + kept.err
    report = is_whole(fleet.run("image", "unreferenced", "--output", "json"), 5)
    assert report["unread_domains"] == [odd.name()]
    assert fleet.run("image", "remove", image, "--now", "--allow", "loses-data,takes-over").code == 0


@pytest.mark.parametrize("text", NOT_XML.values(), ids=NOT_XML)
def test_text_that_is_no_xml_is_told_and_changes_nothing_for_others(fleet: Fleet, text: bytes) -> None:
    mine, other = fleet.spec("a"), fleet.spec("b")
    fleet.converges()
    virsh(fleet, "desc", mine, "--config", text)
    told = fleet.reconcile()
    assert (told.code, told.err) == (0, "")
    assert f"{mine}: not XML: its definition holds " in told.out
    assert f"{mine}: changed by others: /description: absent -> a" in told.out
    assert other not in told.out
    fleet.is_in_sync()
    # The edit would lose it, so there is none; the other domain gets its own.
    for letter in "ab":
        fleet.spec(letter, DISK + "vcpus: 2\n")
    run = fleet.reconcile()
    assert run.code == 5
    assert f"{mine}: FAILED: its definition is not changed: it holds " in run.err
    assert ">2</vcpu>" in fleet.xml(other)
    assert fleet.domain(mine).info()[3] == 1
    # A spec that writes the text itself heals it.
    fleet.spec("a", DISK + "vcpus: 2\ndescription: mine\n")
    fleet.converges()


@pytest.mark.parametrize("uri", ["app1", "a b", "::", "../x", "http://["])
def test_metadata_of_any_namespace_is_told_once_and_survives_an_edit(fleet: Fleet, uri: str) -> None:
    mine = fleet.spec("a")
    fleet.converges()
    virsh(fleet, "metadata", mine, "--uri", uri, "--key", "app", "--set", "<m a='1'><!-- c --><n/></m>", "--config")
    told = fleet.reconcile()
    assert (told.code, told.err) == (0, ""), told
    assert f"{mine}: changed by others: /metadata/" in told.out
    fleet.is_in_sync()
    fleet.spec("a", DISK + "vcpus: 2\n")
    fleet.converges()
    assert f'xmlns:app="{uri}"' in fleet.xml(mine)
    assert "<!-- c -->" in fleet.xml(mine)


def test_a_definition_that_the_mark_would_make_too_large_to_send_gets_none(fleet: Fleet) -> None:
    mine = fleet.spec("a")
    fleet.converges()
    room = 4 * 1024**2 - len(fleet.xml(mine)) - 200
    description = libvirt.VIR_DOMAIN_METADATA_DESCRIPTION
    fleet.domain(mine).setMetadata(description, "x" * room, None, None, CONFIG)
    run = fleet.reconcile()
    assert run.code == 5, run
    assert "larger than the 4 MiB that libvirt sends" in run.err
    assert len(fleet.xml(mine)) > room
    fleet.domain(mine).setMetadata(description, None, None, None, CONFIG)
    fleet.converges()


def test_a_mark_that_somebody_wrote_by_hand_harms_its_own_domain_alone(fleet: Fleet) -> None:
    mine, other = fleet.spec("a"), fleet.spec("b")
    fleet.converges()
    uuid = fleet.domain(mine).UUIDString()
    paths = "".join(
        f"<states of='{path}' parts='@ . {path}'/><ignores path='{path}'/><foreign path='{path}' found='x'/>"
        for path in ("@id", "devices/disk:vda/@", "", "/", "a/" * 2000, "@a b")
    )
    mark = f"<domain uuid='{uuid}' balloon='9e9' inputs='?'>{paths}<hold until='-1e999' why='&#10;'/></domain>"
    uri = "urn:virtrbd:domain:1"
    fleet.domain(mine).setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark, "virtrbd", uri, CONFIG)
    # A hold until no time at all holds until it is released.
    fleet.spec("b", DISK + "vcpus: 2\n")
    run = fleet.reconcile()
    assert run.code == 0, run
    assert ">2</vcpu>" in fleet.xml(other)
    assert fleet.run("ignore", mine).code == 0
    assert fleet.run("release", mine).code == 0
    fleet.converges()
