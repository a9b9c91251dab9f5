"""Texts that strangers left in libvirt and Ceph reach the screen as lines that can be seen, and as JSON whole."""

import json
import shlex
import subprocess

import pytest
import rbd
import yaml
from support.lab import LabHost
from support.waiting import remove_image
from support.worlds import MIB, LabWorld

# Escape sequences as XML can hold them (CSI as one character) and as RBD can (ESC), line breaks, and reversed reading.
IN_XML = "fine\nweb-02: would start domain\x9b2J\u202e\u200b\u2028\x85"
IN_RBD = "s\x1b[2J\nweb-02: would start domain\u202e"


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = (done.stdout + done.stderr).removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines), lines
    assert not any(line.startswith("web-02") for line in lines)
    assert all(len(line) < 11_000 for line in lines)
    assert "Traceback" not in done.stderr
    return lines


def described(host: LabHost, name: str, text: str) -> None:
    """Let somebody write a description with virsh, which takes it from a file where it is too long for a word."""
    host.ok("virsh", "desc", name, "--config", "--new-desc", text)


def test_a_description_forges_no_line_and_is_cut(host: LabHost, name: str) -> None:
    spec = host.spec(name, "description: plain\ndisks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    described(host, name, IN_XML + "long " * 20_000)
    done = host.virtrbd("plan", spec)
    assert done.returncode == 3
    [line] = [line for line in lines_of(done) if "/description" in line]
    assert "/description: fine\\nweb-02: would start domain\\x9b2J\\u202e\\u200b\\u2028" in line
    assert "characters more) -> plain" in line
    differences = json.loads(host.virtrbd("plan", spec, "--output", "json").stdout)["domains"][0]["actions"][0]
    assert len(differences["differences"][0]["found"]) > 100_000
    lines_of(host.virtrbd("define", spec))


def test_what_others_added_is_told_in_lines_that_can_be_seen(host: LabHost, name: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    described(host, name, IN_XML)
    for verb in (("plan", spec), ("reconcile", spec), ("inspect", name), ("list",), ("define", spec)):
        lines_of(host.virtrbd(*verb))
    [line] = [line for line in lines_of(host.virtrbd("plan", spec)) if "/description" in line]
    command = line.partition("left alone (")[2].partition(" silences this")[0]
    assert host.run(*shlex.split(command)).returncode == 0
    assert lines_of(host.virtrbd("plan", spec)) == ["1 domain, 0 actions"]


def test_an_adopted_domain_of_hostile_texts_gives_whole_files(host: LabHost, name: str) -> None:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}.vda")
    spec = host.spec(name, "disks:\n  - existing: true\n")
    host.ok("virtrbd", "define", spec)
    xml = host.ok("virsh", "dumpxml", "--inactive", name)
    host.ok("virsh", "undefine", name)
    begin, _, rest = xml.partition("<metadata>")
    odd = f"<description>{IN_XML}</description>{rest.partition('</metadata>')[2]}"
    odd = odd.replace(
        "<devices>", f"<devices><channel type='pty'><target type='virtio' name='{IN_XML[:60]}'/></channel>"
    )
    (host.folder / "odd.xml").write_text(begin + odd)
    host.ok("virsh", "define", "odd.xml")
    (host.folder / spec).unlink()
    done = host.virtrbd("adopt", name, "--no-xml")
    assert done.returncode == 4
    lines_of(done)
    assert yaml.safe_load((host.folder / spec).read_text())["name"] == name


@pytest.mark.stack
def test_snapshots_of_hostile_names_are_listed_escaped(world: LabWorld, name: str) -> None:
    image = f"{name}.x"
    rbd.RBD().create(world.vms, image, 4 * MIB)
    with rbd.Image(world.vms, image) as opened:
        opened.create_snap(IN_RBD)
    for words in (("image", "info", f"vms/{image}"), ("image", "snapshot", "list", f"vms/{image}")):
        done = world.virtrbd(*words)
        assert done.returncode == 0
        assert any("s\\x1b[2J\\nweb-02: would start domain\\u202e" in line for line in lines_of(done))
    assert world.image(image)["snapshots"][0]["name"] == IN_RBD
    with rbd.Image(world.vms, image) as opened:
        opened.remove_snap(IN_RBD)


def test_images_of_hostile_names_are_listed_escaped(world: LabWorld, name: str) -> None:
    odd = name + IN_RBD
    rbd.RBD().create(world.vms, odd, 4 * MIB)
    try:
        for words in (("image", "list"), ("image", "usage"), ("image", "unreferenced")):
            assert any(f"vms/{name}s\\x1b[2J\\nweb-02" in line for line in lines_of(world.virtrbd(*words)))
        assert f"vms/{odd}" in [image["name"] for image in world.document("image", "list")["images"]]
    finally:
        remove_image(world.vms, odd)
