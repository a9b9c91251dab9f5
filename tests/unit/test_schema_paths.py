"""A path to ignore is one that a definition could have."""

from pathlib import Path

import pytest

from virtrbd.domainxml import schema_paths
from virtrbd.domainxml.document import Document
from virtrbd.domainxml.ignoring import has_path
from virtrbd.domainxml.schema_paths import can_exist
from virtrbd.domainxml.tree import Element, parse_tree, steps
from virtrbd.domainxml.validate import SCHEMA
from virtrbd.model.element_path import ElementPath

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCHEMA.exists(), reason="libvirt's schema is not installed"),
]

DOCUMENTS = sorted((Path(__file__).parent.parent / "data/adopt").glob("*.xml"))


def paths_of(element: Element, path: str = "") -> list[str]:
    """Every path of a document, as plan writes them."""
    found = [f"{path}@{name}" for name in map(str, element.attrib) if "{" not in name]
    for step, child in steps(element):
        if step != "metadata":
            found += [f"{path}{step}", *paths_of(child, f"{path}{step}/")]
    return found


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem)
def test_what_a_definition_has_it_can_have(file: Path) -> None:
    xml = file.read_text()
    paths = [ElementPath(path) for path in paths_of(parse_tree(xml))]
    assert len(paths) > 50
    assert [path for path in paths if has_path(Document(xml), path) and not can_exist(path)] == []


@pytest.mark.parametrize(
    "path",
    [
        "devces/disk:vda",
        "devices/disc:vda",
        "devices/disk:vda/driver/@cahce",
        "devices/disk:vda/driver/cache",
        "@machine",
        "memory/@units",
        "title/x",
        "nothing",
        "x" * 5000,
        "devices//disk:vda",
        "devices/@disk/x",
        "qemu:comandline",
        "devices/disk[@dev='vda']",
        "..",
        "\udcff",
    ],
)
def test_a_slip_names_nothing_that_could_be(path: str) -> None:
    assert not can_exist(ElementPath(path))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "autostart",
        "title",
        "devices/disk:vdz/iotune/total_iops_sec",
        "devices/rng#2/backend/@model",
        "devices/interface:52:54:00:00:00:01/model/@type",
        "clock/timer:hpet/@present",
        "qemu:commandline/qemu:arg#3/@value",
        "metadata/%7Burn:somebody%7Dnote/anything",
        "cpu/feature:vmx/@policy",
        "seclabel:dac",
    ],
)
def test_what_no_definition_here_has_yet_may_come(path: str) -> None:
    assert can_exist(ElementPath(path))


def test_without_a_schema_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_paths, "SCHEMA", Path("/nowhere/domain.rng"))
    schema_paths._defines.cache_clear()
    assert can_exist(ElementPath("nothing"))
    schema_paths._defines.cache_clear()
