"""`report` on the lab: the page is written whole, says what does not answer, and changes nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import rbd
from lxml import html
from support.lab import LabHost
from support.operators import Operator
from support.worlds import MIB, LabWorld


@pytest.fixture
def reporter(operator: Operator, host: LabHost, name: str) -> Operator:
    """An operator with specs and a state directory of the test's own."""
    specs = host.folder / "specs"
    specs.mkdir(mode=0o700)
    (specs / f"{name}.yaml").write_text(f"name: {name}\nmemory: 128M\ndisks:\n  - size: 8M\n")
    os.chmod(host.folder, 0o700)

    def own(text: str) -> str:
        lines = [line for line in text.splitlines() if not line.startswith("state_dir:")]
        return "\n".join([*lines, f"state_dir: {host.folder}/state", f"spec_dir: {specs}", ""])

    return operator.with_settings("own", own)


def document(reporter: Operator, *words: str, code: int = 0) -> dict[str, Any]:
    done = reporter.run("report", *words, "--output", "json")
    assert done.code == code, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def text_of(page: str) -> str:
    """What a reader of the page sees."""
    return "".join(map(str, html.fromstring(page).itertext()))


def needs_of(found: dict[str, Any], name: str) -> list[str]:
    return [f"{need['kind']}: {need['text']}" for need in found["needs"] if need["domain"] == name]


def test_it_shows_what_waits_and_what_is_there(reporter: Operator, host: LabHost, world: LabWorld, name: str) -> None:
    before = document(reporter)
    assert f"next run: create image vms/{name}.vda (8 MiB)" in needs_of(before, name)
    assert f"vms/{name}.vda" not in rbd.RBD().list(world.vms), "it changes nothing"
    assert reporter.run("define", f"{host.folder}/specs/{name}.yaml").code == 0
    after = document(reporter)
    assert needs_of(after, name) == []
    assert {"name": name, "state": "shut off"} in after["domains"]
    [image] = [each for each in after["images"] if each["name"] == f"vms/{name}.vda"]
    assert image["domains"] == [name]
    [pool] = [each for each in after["pools"] if each["name"] == "vms"]
    assert pool["left_bytes"] > 0
    assert pool["bytes_a_day"] is None, "of one day nothing is known"
    [kept] = json.loads((host.folder / "state/report/pools").read_text())
    assert kept["stored"]["vms"] == pool["stored_bytes"]


def test_a_page_is_written_whole_and_holds_a_hostile_name_as_text(
    reporter: Operator, host: LabHost, roomed: LabWorld
) -> None:
    odd = "<img src=x onerror=alert(1)>"
    rbd.RBD().create(roomed.vms, odd, 8 * MIB, old_format=False)
    try:
        done = reporter.run("report", "--html", "page.html", roomed.pool)
        assert (done.code, done.out) == (0, "page.html: written\n")
        page = (host.folder / "page.html").read_text()
        assert (host.folder / "page.html").stat().st_mode & 0o777 == 0o644
        assert reporter.run("report", "--html", "-", roomed.pool).out.startswith("<!DOCTYPE html>")
    finally:
        rbd.RBD().remove(roomed.vms, odd)
    assert f"{roomed.pool}/{odd}" in text_of(page)
    assert "<img" not in page
    assert not list(host.folder.glob(".virtrbd+*"))


def test_no_other_file_is_written_over(reporter: Operator, host: LabHost) -> None:
    (host.folder / "folder").mkdir()
    os.mkfifo(host.folder / "pipe")
    (host.folder / "link").symlink_to("nowhere.html")
    for target in ("folder", "pipe", "link", "missing/page.html", "/dev/null", "page.html/", "a\nb/c"):
        done = reporter.run("report", "--html", target)
        assert done.code == 64, (target, done)
        assert "name a file in a folder that can be written" in done.err
    assert reporter.run("report", "--html", "-", "--output", "json").code == 64
    assert reporter.run("report", "--html", "page.html", "vms/a@b").code == 64
    assert not (host.folder / "page.html").exists()


def test_a_pool_that_does_not_exist_is_said_in_the_page(reporter: Operator, host: LabHost) -> None:
    done = reporter.run("report", "--html", "page.html", "vms", "no-pool")
    assert done.code == 78, done
    said = text_of((host.folder / "page.html").read_text())
    assert "no-pool: pool no-pool does not exist" in said
    assert "Golden images and clones" in said


def test_without_libvirt_the_pools_are_reported_all_the_same(reporter: Operator, host: LabHost) -> None:
    away = ("--connect", "qemu:///system?socket=/nowhere")
    found = document(reporter, *away, code=69)
    assert (found["domains"], found["needs"], found["unused"]) == (None, None, None)
    assert [each["what"] for each in found["failures"]] == ["libvirt"]
    assert found["pools"]
    assert reporter.run("report", "--html", "page.html", *away).code == 69
    said = text_of((host.folder / "page.html").read_text())
    assert "libvirt: " in said


def test_a_broken_spec_waits_in_the_report(reporter: Operator, host: LabHost, name: str) -> None:
    (host.folder / "specs/broken.yaml").write_text("name: [")
    found = document(reporter)
    assert any(need["kind"] == "failed" and "broken.yaml" in need["text"] for need in found["needs"])
    assert needs_of(found, name), "the others are looked at"


def test_no_key_is_in_the_report(reporter: Operator, host: LabHost, lab: Path) -> None:
    assert reporter.run("report", "--html", "page.html").code == 0
    page = (host.folder / "page.html").read_text()
    for keyring in lab.rglob("*.keyring"):
        for line in keyring.read_text().splitlines():
            key = line.partition("key = ")[2].strip()
            assert not key or key not in page
