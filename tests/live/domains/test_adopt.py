"""Domains that somebody made with virsh become virtrbd's, and nothing of them changes but the mark."""

import json
import re
import xml.etree.ElementTree as ET

from support.lab import LabHost

DOMAIN = """<domain type="qemu"><name>{name}</name><memory>131072</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="{machine}">hvm</type></os><features><acpi/><apic/></features>
<clock offset="utc"><timer name="rtc" tickpolicy="catchup"/></clock>
<perf><event name="cmt" enabled="no"/></perf>
<devices><disk type="network" device="disk"><driver name="qemu" type="raw" {driver}/>{source}
<target dev="{target}" bus="{bus}"/></disk>{more}</devices></domain>"""
SCREEN = '<graphics type="vnc" port="-1" passwd="s3cret"/><sound model="ich6"/>'


def source(host: LabHost, name: str) -> str:
    """The <source> that a hand-written domain on this cluster has."""
    host.ok("virtrbd", "define", host.spec(f"{name}-seed", "disks:\n  - size: 16M\n"))
    found = ET.fromstring(host.ok("virsh", "dumpxml", f"{name}-seed")).find("devices/disk/source")
    assert found is not None
    return ET.tostring(found, encoding="unicode").replace(f"{name}-seed.vda", name)


def made_by_hand(
    host: LabHost,
    name: str,
    given: str,
    *,
    machine: str = "pc",
    driver: str = "",
    target: str = "vda",
    bus: str = "virtio",
    more: str = "",
    how: str = "define",
) -> None:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}", admin=True)
    text = DOMAIN.format(name=name, machine=machine, driver=driver, source=given, target=target, bus=bus, more=more)
    (host.folder / "by-hand.xml").write_text(text)
    host.ok("virsh", how, "by-hand.xml")


def definition(host: LabHost, name: str, *words: str) -> str:
    """The definition without virtrbd's element."""
    root = ET.fromstring(host.ok("virsh", "dumpxml", *words, name))
    metadata = root.find("metadata")
    if metadata is not None:
        for mark in metadata.findall("{urn:virtrbd:domain:1}domain"):
            metadata.remove(mark)
        if len(metadata) == 0:
            root.remove(metadata)
    return ET.canonicalize(ET.tostring(root, encoding="unicode"), strip_text=True)


def secure(host: LabHost, name: str) -> str:
    return definition(host, name, "--inactive", "--security-info")


def test_a_domain_is_adopted_by_one_file_and_stays_what_it_was(host: LabHost, name: str) -> None:
    made_by_hand(host, name, source(host, name), driver='cache="writeback"', target="hda", bus="ide", more=SCREEN)
    host.ok("virsh", "autostart", name)
    before = secure(host, name)
    assert "s3cret" in before

    first = host.virtrbd("adopt", name)
    assert first.returncode == 4
    assert first.stdout.splitlines() == [
        f"{name}: spec: {name}.yaml",
        f"{name}: what no field of a spec can express is in its xml:",
        '  /perf: <perf> <event name="cmt" enabled="no"/> </perf>',
    ]
    assert f"{name}: BLOCKED: edit definition (mark as owned): needs --allow takes-over" in first.stderr
    assert f"virtrbd define --allow takes-over {name}.yaml does it" in first.stderr
    assert "virtrbd" not in host.ok("rbd", "image-meta", "list", f"vms/{name}", admin=True)
    host.ok("virtrbd", "validate", f"{name}.yaml")

    allowed = host.virtrbd("adopt", name, "--allow", "takes-over")
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stdout.splitlines()[-2:] == [
        f"{name}: mark image vms/{name} as owned (it exists and belongs to no domain that virtrbd knows)",
        f"{name}: edit definition (mark as owned)",
    ]
    # virsh shows the password, and virtrbd's redefinition kept it.
    assert secure(host, name) == before
    assert host.ok("virtrbd", "define", f"{name}.yaml") == f"{name}: nothing to do\n"
    assert "s3cret" not in (host.folder / f"{name}.yaml").read_text()
    again = host.virtrbd("adopt", name)
    assert (again.returncode, again.stderr) == (
        5,
        f"{name}: is virtrbd's already; change it by its spec, with virtrbd define\n",
    )


def test_a_running_guest_does_not_notice(host: LabHost, name: str) -> None:
    # As guides from before libvirt 3.9 have it: <auth> beside the source.
    given = source(host, name)
    auth = re.search("<auth.*</auth>", given, re.DOTALL)
    assert auth is not None
    old = auth[0] + given.replace(auth[0], "")
    made_by_hand(host, name, old, machine="q35", driver='discard="unmap"')
    host.ok("virsh", "start", name)
    live, number = definition(host, name), host.ok("virsh", "domid", name)
    done = host.virtrbd("adopt", name, "--no-xml", "--allow", "takes-over", "--output", "json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["domains"]
    assert [each["path"] for each in told["unexpressed"]] == ["/perf"]
    assert (told["has_xml"], [each["result"] for each in told["actions"]]) == (False, ["done", "done"])
    assert (definition(host, name), host.ok("virsh", "domid", name)) == (live, number)
    assert host.ok("virtrbd", "define", f"{name}.yaml") == f"{name}: nothing to do\n"
    assert "<event name='cmt' enabled='no'/>" in host.ok("virsh", "dumpxml", "--inactive", name)


def test_what_can_not_be_adopted_is_left_and_the_others_go_on(host: LabHost, name: str) -> None:
    given = source(host, name)
    made_by_hand(host, name, given, driver='discard="unmap"')
    owner = host.inspect(f"{name}-seed")["uuid"]
    # Another domain's image, and one that another domain writes to.
    taken = given.replace(f"vms/{name}", f"vms/{name}-seed.vda")
    made_by_hand(host, f"{name}-b", taken)
    made_by_hand(host, f"{name}-c", given.replace(f"vms/{name}", f"vms/{name}-c"), how="create")
    (host.folder / "specs").mkdir()
    words = ["--into", "specs"]
    done = host.virtrbd("adopt", name, f"{name}-b", f"{name}-c", f"{name}-none", f"{name}-seed", *words)
    assert done.returncode == 65
    assert f"disk vda: image vms/{name}-seed.vda is already written by domain {name}-seed" in done.stderr
    assert f"{name}-c: is transient, it has no definition to adopt" in done.stderr
    assert f"{name}-none: no such domain on this host" in done.stderr
    assert f"{name}-seed: is virtrbd's already" in done.stderr
    assert sorted(file.name for file in (host.folder / "specs").iterdir()) == [f"{name}.yaml"]

    host.ok("virtrbd", "undefine", f"{name}-seed", "--allow", "forgets-domain")
    told = host.virtrbd("adopt", f"{name}-b", *words)
    assert told.returncode == 4
    assert f"vms/{name}-seed.vda as owned (it exists and belongs to domain {owner})" in told.stderr

    (host.folder / "specs" / f"{name}.yaml").write_text("name: mine\n")
    refused = host.virtrbd("adopt", name, *words)
    assert refused.returncode == 64
    assert f"specs/{name}.yaml exists already with another content" in refused.stderr


def test_a_whole_host_is_adopted_at_once(host: LabHost, name: str) -> None:
    """In which one domain is odd, one has a disk on another cluster, and others of the lab are who knows what."""
    given = source(host, name)
    made_by_hand(host, name, given, driver='discard="unmap"')
    elsewhere = '<source protocol="rbd" name="nowhere/x"><host name="10.9.9.9"/></source>'
    second = f'<disk type="network" device="disk">{elsewhere}<target dev="vdb" bus="virtio"/></disk>'
    made_by_hand(host, f"{name}-b", given.replace(f"vms/{name}", f"vms/{name}-b"), more=second)
    (host.folder / "by-hand.xml").write_text(
        f"<domain type='qemu'><name>{name}-c</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    )
    host.ok("virsh", "define", "by-hand.xml")
    before = secure(host, name), secure(host, f"{name}-b")
    done = host.virtrbd("adopt", "--all", "--into", "specs")
    lines = done.stdout.splitlines()
    assert f"{name}: specs/{name}.yaml (with xml:)" in lines
    assert f"{name}-b: specs/{name}-b.yaml (with xml:)" in lines
    assert (
        f"{name}-c: it has no disk on RBD, and virtrbd only manages domains with disks on RBD"
        in done.stderr.splitlines()
    )
    assert re.fullmatch(r"\d+ domains?: \d+ exact, \d+ with xml:, \d+ refused, \d+ virtrbd's already", lines[-2])
    assert lines[-1] == "nothing is changed yet; virtrbd define --allow takes-over specs does it"
    assert done.returncode == 65
    assert (secure(host, name), secure(host, f"{name}-b")) == before
    assert "nowhere/x" in (host.folder / "specs" / f"{name}-b.yaml").read_text()
    specs = [f"specs/{name}.yaml", f"specs/{name}-b.yaml"]
    host.ok("virtrbd", "define", "--allow", "takes-over", *specs)
    assert (secure(host, name), secure(host, f"{name}-b")) == before
    told = json.loads(host.virtrbd("adopt", "--all", "--into", "specs", "--output", "json").stdout)
    assert told["known"] >= 3
    assert {f"{name}-c"} == {each["name"] for each in told["domains"] if each["name"].startswith(name)}
