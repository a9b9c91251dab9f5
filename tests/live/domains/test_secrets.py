"""The libvirt secret: whose it is, when it is mended, and that its value shows nowhere."""

import base64
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.lab import LabHost

# It disturbs what all tests share.
pytestmark = [pytest.mark.alone, pytest.mark.stack]


BOB = "clientbob"


def key_of(lab: Path) -> str:
    """The cephx key of client.virtrbd, base64."""
    text = (lab / "ceph/client.virtrbd.keyring").read_text()
    [key] = re.findall(r"key\s*=\s*(\S+)", text)
    return str(key)


@pytest.fixture
def usage(host: LabHost) -> str:
    return f"client.virtrbd@{host.ok('ceph', 'fsid').strip()}"


@pytest.fixture
def bare(make_host: Callable[[str], LabHost], lab: Path) -> Iterator[LabHost]:
    """kvm-2 without any secret; afterwards it has none but what was there before."""
    host = make_host("kvm-2")
    before = {uuid: host.ok("virsh", "secret-dumpxml", uuid) for uuid in uuids(host)}
    forget(host)
    yield host
    forget(host)
    for xml in before.values():
        define(host, xml, key_of(lab))


def uuids(host: LabHost) -> list[str]:
    # the first column; the usage holds the cluster's own UUID
    return re.findall(r"^ ([0-9a-f]{8}-[0-9a-f-]{27})", host.ok("virsh", "secret-list"), re.MULTILINE)


def forget(host: LabHost) -> None:
    for found in uuids(host):
        host.ok("virsh", "secret-undefine", found)


def define(host: LabHost, xml: str, key: str = "") -> str:
    """Define a secret as an operator would; return its UUID."""
    (host.folder / "secret.xml").write_text(xml)
    [found] = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", host.ok("virsh", "secret-define", "secret.xml"))
    if key:
        (host.folder / "secret.key").write_text(key)
        host.ok("virsh", "secret-set-value", found, "--file", "secret.key")
    return str(found)


def secret_xml(usage: str, *, private: str = "yes", description: str = "by hand") -> str:
    return (
        f"<secret ephemeral='no' private='{private}'><uuid>{uuid.uuid4()}</uuid>"
        f"<description>{description}</description><usage type='ceph'><name>{usage}</name></usage></secret>"
    )


def used_secrets(host: LabHost, name: str) -> set[str]:
    return set(re.findall(r"<secret type='ceph' uuid='([^']+)'", host.ok("virsh", "dumpxml", "--inactive", name)))


def test_the_secret_is_private_named_for_its_user_and_the_same_on_all_hosts(
    host: LabHost, bare: LabHost, name: str, usage: str
) -> None:
    spec = bare.spec(name, "disks:\n  - size: 16M\n")
    done = bare.virtrbd("define", "--start", spec)
    assert (done.returncode, done.stderr) == (0, "")
    [made] = uuids(bare)
    assert f"{name}: define secret {made} for client.virtrbd\n" in done.stdout
    xml = bare.ok("virsh", "secret-dumpxml", made)
    assert "private='yes'" in xml
    assert "ephemeral='no'" in xml
    assert f"<name>{usage}</name>" in xml
    assert used_secrets(bare, name) == {made}
    host.ok("virtrbd", "define", host.spec(f"{name}b", "disks:\n  - size: 16M\n"))
    assert used_secrets(host, f"{name}b") == {made}
    assert bare.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"


def test_a_first_adopt_does_nothing_without_leave_not_even_the_secret(host: LabHost, bare: LabHost, name: str) -> None:
    """With leave it makes the secret, and puts the cluster's monitors in the place of those that others wrote."""
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 16M\n"))
    [source] = re.findall("<source.*</source>", host.ok("virsh", "dumpxml", name), re.DOTALL)
    host.ok("virtrbd", "undefine", name)
    host.ok("rbd", "image-meta", "remove", f"vms/{name}.vda", "virtrbd.owner", admin=True)
    theirs = source.replace("</source>", "<host name='192.0.2.9' port='6789'/></source>")
    (bare.folder / "by-hand.xml").write_text(
        f"<domain type='qemu'><name>{name}</name><memory>131072</memory><os><type machine='q35'>hvm</type></os>"
        f"<features><acpi/><apic/></features><devices><disk type='network'>{theirs}<target dev='vda' bus='virtio'/>"
        "</disk></devices></domain>"
    )
    bare.ok("virsh", "define", "by-hand.xml")

    refused = bare.virtrbd("adopt", name)
    assert (refused.returncode, uuids(bare)) == (4, []), refused.stderr
    assert f"{name}: nothing is changed yet" in refused.stderr
    assert "FAILED" not in refused.stderr
    assert "<host" not in (bare.folder / f"{name}.yaml").read_text()

    done = bare.virtrbd("adopt", name, "--allow", "takes-over")
    assert done.returncode == 0, done.stderr
    assert "192.0.2.9" not in bare.ok("virsh", "dumpxml", name)
    assert used_secrets(bare, name) == set(uuids(bare))
    assert bare.ok("virtrbd", "define", f"{name}.yaml") == f"{name}: nothing to do\n"


@pytest.mark.parametrize("private", ["yes", "no"])
def test_a_foreign_secret_with_the_same_usage_is_used_and_left_alone(
    bare: LabHost, lab: Path, name: str, usage: str, private: str
) -> None:
    foreign = define(bare, secret_xml(usage, private=private), key_of(lab))
    before = bare.ok("virsh", "secret-dumpxml", foreign)
    spec = bare.spec(name, "disks:\n  - size: 16M\n")
    assert "secret" not in bare.ok("virtrbd", "define", "--start", spec)
    assert used_secrets(bare, name) == {foreign}
    assert uuids(bare) == [foreign]
    assert bare.ok("virsh", "secret-dumpxml", foreign) == before
    assert bare.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"


def test_a_foreign_secret_with_the_same_key_under_another_usage_is_used(bare: LabHost, lab: Path, name: str) -> None:
    foreign = define(bare, secret_xml("client.virtrbd secret", private="no"), key_of(lab))
    before = bare.ok("virsh", "secret-dumpxml", foreign)
    spec = bare.spec(name, "disks:\n  - size: 16M\n")
    bare.ok("virtrbd", "define", "--start", spec)
    assert used_secrets(bare, name) == {foreign}
    assert uuids(bare) == [foreign]
    assert bare.ok("virsh", "secret-dumpxml", foreign) == before


def test_a_secret_of_another_user_is_no_concern_of_ours(bare: LabHost, name: str) -> None:
    other = define(bare, secret_xml(BOB), base64.b64encode(b"another key").decode())
    bare.ok("virtrbd", "define", bare.spec(name, "disks:\n  - size: 16M\n"))
    [made] = set(uuids(bare)) - {other}
    assert used_secrets(bare, name) == {made}


def test_a_secret_cut_off_before_it_got_its_value_is_mended(bare: LabHost, name: str, usage: str) -> None:
    spec = bare.spec(name, "disks:\n  - size: 16M\n")
    bare.ok("virtrbd", "define", spec)
    [made] = uuids(bare)
    whole = bare.ok("virsh", "secret-dumpxml", made)
    # What a kill -9 between defining and setting leaves.
    bare.ok("virsh", "secret-undefine", made)
    half = secret_xml(usage, description="virtrbd: cephx key, value not set yet")
    define(bare, re.sub("<uuid>.*</uuid>", f"<uuid>{made}</uuid>", half))
    assert f"define secret {made}" in bare.ok("virtrbd", "define", "--start", spec)
    assert bare.ok("virsh", "secret-dumpxml", made) == whole
    assert bare.inspect(name)["state"] == "running"
    assert bare.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"


def test_a_secret_that_was_undefined_is_made_again(bare: LabHost, name: str) -> None:
    spec = bare.spec(name, "disks:\n  - size: 16M\n")
    bare.ok("virtrbd", "define", spec)
    [made] = uuids(bare)
    bare.ok("virsh", "secret-undefine", made)
    assert f"define secret {made}" in bare.ok("virtrbd", "define", "--start", spec)
    assert uuids(bare) == [made]


def test_the_key_shows_nowhere(bare: LabHost, lab: Path, name: str) -> None:
    """No verb prints it, in text or JSON, in success or failure; nor is it in XML, state files or argv."""
    key = key_of(lab)
    spec = bare.spec(name, "disks:\n  - size: 16M\n")
    bad = bare.spec(f"{name}bad", "disks:\n  - clone: golden/nowhere@v1\n")
    runs = [
        ("validate", spec), ("render", spec), ("define", "--start", spec), ("define", spec), ("define", bad), ("list",),
        ("inspect", name), ("start", name), ("console", name), ("image", "info", f"vms/{name}.vda"), ("reboot", name),
        ("shutdown", "--timeout", "0", name), ("destroy", name, "--allow", "interrupts-guest"), ("undefine", name),
    ]  # fmt: skip
    said = []
    for words in runs:
        for more in (("-v", "--output", "json"), ("-v",)) if words[0] != "console" else (("-v", "--output", "json"),):
            done = bare.virtrbd(*words, *more)
            said.append(done.stdout + done.stderr)
            if words[0] == "define" and "--start" in words:
                said.append(bare.ok("virsh", "dumpxml", "--inactive", name) + bare.ok("virsh", "dumpxml", name))
                said.append(argv_of_all_processes())
    state = lab / "hosts/kvm-2/virtrbd"
    said += [file.read_text() for file in state.rglob("*") if file.is_file()]
    forms = {key, base64.b64decode(key).hex(), repr(base64.b64decode(key))[2:-1]}
    assert not [text for text in said for form in forms if form in text]


def argv_of_all_processes() -> str:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)
