"""No attribute of a disk or an interface is forgotten where it must be: each test names what is missing."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure, NoSuchExample
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields
from support.eras import era
from support.whole_domains import disks, domains, interfaces

from virtrbd.adoption.spec_values import spec_words
from virtrbd.adoption.word import Words
from virtrbd.compat.adapt import fit
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.render import render
from virtrbd.model.attributes import ATTRIBUTES, Attribute, Form
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.devices import Filesystem, Input, Interface, Memballoon, Tpm, UsbController, Watchdog
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.machine import BootMenu, Cpu, NumaTune, Topology
from virtrbd.model.settings import Settings
from virtrbd.specs.checked import Strict
from virtrbd.specs.disk_schema import DiskSpec
from virtrbd.specs.host_schema import FilesystemSpec
from virtrbd.specs.interface_schema import InterfaceSpec
from virtrbd.specs.load import load
from virtrbd.specs.machine_schema import (
    BootMenuSpec,
    CpuSpec,
    InputSpec,
    MemballoonSpec,
    NumaTuneSpec,
    TopologySpec,
    TpmSpec,
    UsbControllerSpec,
    WatchdogSpec,
)
from virtrbd.specs.resolve import resolve

TESTS = Path(__file__).parent.parent
SETTINGS = Settings(host="kvm-1", ceph_configs=("/etc/ceph/guests.conf",))
CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="10.0.0.1"),), user="virtrbd")
SECRET = "11111111-1111-1111-1111-111111111111"
# Decided by specs/resolve_disks and resolve_interfaces, from more than one word of the spec.
DECIDED = {
    Disk: {"target", "bus", "image", "import_file", "import_beneath", "existing", "iotune", "line"},
    Interface: {"mac", "network", "bridge", "direct", "direct_mode", "vlan", "filterref"},
}
# About the image, or put into the XML where it is rendered.
NOT_IN_XML: dict[type[Struct], set[str]] = {
    Disk: {
        "size_bytes",
        "clone",
        "import_format",
        "import_member",
        "import_checksum",
        "discard_granularity_bytes",
        "iothreads",
    },
    Interface: set(),
}
SCHEMAS: dict[type[Struct], type[Strict]] = {Disk: DiskSpec, Interface: InterfaceSpec}
LISTS = {Disk: "disks", Interface: "interfaces"}
STRATEGIES: dict[type[Struct], st.SearchStrategy[object]] = {
    Disk: disks("a", tuple(Bus)),
    Interface: interfaces("52:54:00:00:00:01"),
}
# Given by the strategy of the whole domain: no order is taken twice.
BY_DOMAIN = {"boot"}
KINDS = pytest.mark.parametrize("kind", [Disk, Interface], ids=lambda kind: kind.__name__)


@cache
def valid_domains() -> tuple[Domain, ...]:
    return resolve(load([str(TESTS / "specs/valid")], SETTINGS), SETTINGS)


def rows(kind: type[Struct]) -> tuple[Attribute, ...]:
    return ATTRIBUTES[kind]


def default(field: FieldInfo) -> object:
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


def stating(kind: type[Struct], field: FieldInfo) -> Iterator[tuple[str, object]]:
    """The names of valid specs, and what in them has another value than the default."""
    for domain in valid_domains():
        for device in getattr(domain, LISTS[kind]):
            if getattr(device, field.name) != default(field):
                yield domain.name, device


@KINDS
def test_every_field_has_a_row(kind: type[Struct]) -> None:
    named = {field.name for field in fields(kind)}
    missing = named - {row.field for row in rows(kind)} - DECIDED[kind]
    assert missing == set(), f"virtrbd/model/attributes.py: no row for {sorted(missing)}"
    assert {row.field for row in rows(kind)} <= named - DECIDED[kind]


@KINDS
def test_no_row_without_a_place_belongs_into_the_xml(kind: type[Struct]) -> None:
    placeless = {row.field for row in rows(kind) if not row.place} - NOT_IN_XML[kind]
    assert placeless == set(), (
        f"virtrbd/model/attributes.py: no place for {sorted(placeless)}, or it is NOT_IN_XML here"
    )


@KINDS
def test_every_row_has_a_word_in_the_schema(kind: type[Struct]) -> None:
    refused = SCHEMAS[kind].refused.keys() & SCHEMAS[kind].model_fields.keys()
    assert refused == set(), f"{SCHEMAS[kind].__name__}.refused: still has {sorted(refused)}"
    missing = {row.spec_word for row in rows(kind)} - SCHEMAS[kind].model_fields.keys()
    assert missing == set(), f"virtrbd/specs: no word in {SCHEMAS[kind].__name__} for {sorted(missing)}"


@KINDS
def test_every_word_is_in_the_manual(kind: type[Struct]) -> None:
    section = (TESTS.parent / "docs/spec.md").read_text().partition(f"\n## `{LISTS[kind]}`\n")[2].partition("\n## ")[0]
    named = set(section.replace("`", "|").split("|"))
    missing = {row.spec_word for row in rows(kind)} - named
    assert missing == set(), f"docs/spec.md: no {sorted(missing)} under {LISTS[kind]}"


@KINDS
def test_every_field_is_in_a_valid_spec(kind: type[Struct]) -> None:
    missing = [field.name for field in fields(kind) if not list(stating(kind, field))]
    assert missing == [], f"tests/specs/valid: none states {missing}"


@KINDS
def test_every_limit_is_in_an_invalid_spec(kind: type[Struct]) -> None:
    texts = [file.read_text() for file in (TESTS / "specs/invalid").glob("*.yaml")]
    stated = {word for text in texts for device in yaml.safe_load(text).get(LISTS[kind], ()) for word in device}
    missing = {row.spec_word for row in rows(kind) if row.buses != frozenset(Bus)} - stated
    assert missing == set(), f"tests/specs/invalid: none states {sorted(missing)}"


def undrawn(strategy: st.SearchStrategy[object], usual: Mapping[str, object]) -> list[str]:
    """The fields that the strategy gives no other value than the usual one."""
    left = set(usual)

    def is_all(drawn: object) -> bool:
        left.difference_update([name for name in left if getattr(drawn, name) != usual[name]])
        return not left

    quick = settings(
        phases=[Phase.generate],
        max_examples=2000,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with suppress(NoSuchExample, FlakyFailure):
        find(strategy, is_all, settings=quick)
    return sorted(left)


@KINDS
def test_the_laws_meet_every_row_with_a_place_in_the_xml(kind: type[Struct]) -> None:
    placed = {row.field for row in rows(kind) if row.place} - BY_DOMAIN
    usual = {field.name: default(field) for field in fields(kind) if field.name in placed}
    missing = undrawn(STRATEGIES[kind], usual)
    assert missing == [], f"tests/support/whole_domains.py: no strategy draws {missing}"


@KINDS
def test_what_is_stated_is_rendered_and_read_back(kind: type[Struct]) -> None:
    newest = {machine: era("12.8", machine) for machine in ("pc", "q35")}
    for domain in valid_domains():
        xml = render(fit(domain, newest[domain.machine]).fitted, CLUSTER, SECRET)
        elements = xml.tree.findall(f"devices/{LISTS[kind].removesuffix('s')}")
        images = {disk.image.image: disk.size_bytes or 1 for disk in domain.disks}
        words = spec_words(Definition(xml.text), images, frozenset(monitor.address for monitor in CLUSTER.monitors))
        said: dict[str, dict[str, object]] = {}
        for word in words.more:
            if word.path[:1] == (LISTS[kind],):
                found = word.value if word.device else {word.path[2]: word.value}
                assert isinstance(found, dict)
                said.setdefault(word.path[1], {}).update(found)
        devices = getattr(domain, LISTS[kind])
        for device, element in zip(devices, [e for e in elements if e.get("device") != "cdrom"], strict=True):
            key = getattr(device, "target", "") or device.mac
            for row in rows(kind):
                if not row.place or (value := row.stated(device)) is None:
                    continue
                held = element.find(row.element)
                assert held is not None, f"{domain.name}: {row.place} is not rendered"
                if row.form is not Form.FLAG:
                    assert (held.get(row.name) if row.name else held.text) == str(value)
                assert said[key].get(row.spec_word) == value, f"{domain.name}: adopt does not read {row.place}"


# Of a domain: what no default stands for, what is read from elsewhere, and what no XML says.
REQUIRED = {"name", "uuid", "memory_bytes", "vcpus", "machine", "hypervisor", "host", "disks", "origin", "digest"}
BESIDE_THE_XML = {"machine_upgrade", "seed", "autostart", "state", "template", "xml", "silence"}
# Each has its own tests: a file of the site, what a run does, an overlay.
ELSEWHERE = {"machine_upgrade", "state", "template", "xml"}


def domain_fields() -> dict[str, object]:
    return {field.name: default(field) for field in fields(Domain) if field.name not in REQUIRED}


def test_every_field_of_a_domain_is_in_a_valid_spec() -> None:
    stated = {
        name for name, usual in domain_fields().items() for each in valid_domains() if getattr(each, name) != usual
    }
    missing = domain_fields().keys() - stated - ELSEWHERE
    assert missing == set(), f"tests/specs/valid: none states {sorted(missing)}"


def test_the_laws_meet_every_field_of_a_domain_with_a_place_in_the_xml() -> None:
    usual = {name: value for name, value in domain_fields().items() if name not in BESIDE_THE_XML}
    missing = undrawn(domains("test", "q35"), usual)
    assert missing == [], f"tests/support/whole_domains.py: no strategy draws {missing}"


class Part(Struct, frozen=True, kw_only=True):
    """A part of a domain that has rows: its path in the model, which is that of its word too, its schema and its XML.

    `decided`: the fields that have their own lines.
    """

    path: str
    schema: type[Strict]
    xml: str
    decided: frozenset[str] = frozenset()


PARTS: dict[type[Struct], Part] = {
    Input: Part(path="inputs", schema=InputSpec, xml="devices/input"),
    UsbController: Part(path="usb_controller", schema=UsbControllerSpec, xml="devices/controller[@type='usb']"),
    Memballoon: Part(path="memballoon", schema=MemballoonSpec, xml="devices/memballoon"),
    Watchdog: Part(path="watchdog", schema=WatchdogSpec, xml="devices/watchdog"),
    Tpm: Part(path="tpm", schema=TpmSpec, xml="devices/tpm"),
    Filesystem: Part(path="filesystems", schema=FilesystemSpec, xml="devices/filesystem"),
    Cpu: Part(path="cpu", schema=CpuSpec, xml="cpu", decided=frozenset({"topology", "numa", "features"})),
    Topology: Part(path="cpu.topology", schema=TopologySpec, xml="cpu/topology"),
    NumaTune: Part(path="numatune", schema=NumaTuneSpec, xml="numatune"),
    BootMenu: Part(path="boot_menu", schema=BootMenuSpec, xml="os/bootmenu"),
}
SMALL = pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)


def parts_of(domain: Domain, path: str) -> list[object]:
    """The parts at a path of the model, in order."""
    found: object = domain
    for name in path.split("."):
        found = getattr(found, name, None)
    return list(found) if isinstance(found, tuple) else [found] * (found is not None)


def test_every_kind_with_rows_is_held_here() -> None:
    assert ATTRIBUTES.keys() == LISTS.keys() | PARTS.keys()


@SMALL
def test_every_field_of_a_part_has_a_row_and_a_word(kind: type[Struct]) -> None:
    part, known = PARTS[kind], {row.field for row in rows(kind)}
    missing = {field.name for field in fields(kind)} - known - part.decided
    assert missing == set(), f"virtrbd/model/attributes.py: no row for {sorted(missing)}"
    wordless = {row.spec_word for row in rows(kind)} - part.schema.model_fields.keys()
    assert wordless == set(), f"virtrbd/specs: no word in {part.schema.__name__} for {sorted(wordless)}"


@SMALL
def test_every_field_of_a_part_is_in_a_valid_spec(kind: type[Struct]) -> None:
    found = [part for domain in valid_domains() for part in parts_of(domain, PARTS[kind].path)]
    missing = [
        field.name for field in fields(kind) if all(getattr(part, field.name) == default(field) for part in found)
    ]
    assert missing == [], f"tests/specs/valid: none states {missing}"


@SMALL
def test_what_is_stated_of_a_part_is_rendered_and_read_back(kind: type[Struct]) -> None:
    part, newest = PARTS[kind], {machine: era("12.8", machine) for machine in ("pc", "q35")}
    for domain in valid_domains():
        xml = render(fit(domain, newest[domain.machine]).fitted, CLUSTER, SECRET)
        words = spec_words(Definition(xml.text), {}, frozenset())
        said = said_at(words, tuple(part.path.split(".")))
        stated = parts_of(domain, part.path)
        for each, element, word in zip(stated, xml.tree.findall(part.xml), said, strict=False):
            for row in rows(kind):
                if (value := row.stated(each)) is None:
                    continue
                held = element if row.element == "." else element.find(row.element)
                assert held is not None, f"{domain.name}: {row.place} is not rendered"
                assert (held.get(row.name) if row.name else held.text) == str(value)
                assert word.get(row.spec_word) == getattr(each, row.field), f"{domain.name}: adopt reads no {row.place}"
        assert len(said) == len(stated) or (not stated and kind is Cpu), f"{domain.name}: adopt reads {said}"


def said_at(words: Words, path: tuple[str, ...]) -> list[dict[str, object]]:
    """What the words say at a path, as a list; the first word for a part says most of it."""
    found: list[dict[str, object]] = []
    for word in words.more:
        if word.path == path and isinstance(word.value, dict | list):
            found = found or (word.value if isinstance(word.value, list) else [word.value])
        elif word.path[:-1] == path and found:
            found[0] = {**found[0], word.path[-1]: word.value}
    return found
