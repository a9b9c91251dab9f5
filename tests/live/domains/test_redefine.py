"""A second define edits the definition that libvirt holds: addresses, machine version and others' work stay."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from support.lab import LabHost
from support.xml import at

MAC_A, MAC_B, MAC_FOREIGN = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0f"
NOTE = "<note>kept by hand</note>"
DISKS = "disks:\n  - size: 16M\n  - {size: 16M, bus: scsi}\n"
INTERFACES = f'interfaces:\n  - {{bridge: br-a, mac: "{MAC_A}"}}\n  - {{bridge: br-b, mac: "{MAC_B}"}}\n'
# What tells a device from the others.
Key = tuple[str | None, ...]


def definition(host: LabHost, name: str) -> ET.Element:
    return ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name))


def key_of(device: ET.Element) -> Key:
    """What tells a device from the others, without the library's own idea of it."""
    for path, attribute in (("target[@dev]", "dev"), ("mac", "address"), ("target[@name]", "name")):
        found = device.find(path)
        if found is not None:
            return (device.tag, found.get(attribute))
    return (device.tag, device.get("type"), device.get("model"), device.get("index"))


def addresses(root: ET.Element) -> dict[Key, tuple[tuple[str, str], ...]]:
    """Every device's address by the device's key."""
    found = {}
    for device in at(root, "devices"):
        address = device.find("address")
        if address is not None:
            found[key_of(device)] = tuple(sorted(address.attrib.items()))
    return found


def set_by_virsh(host: LabHost, name: str, change: Callable[[str], str]) -> None:
    """Change a definition as `virsh edit` does."""
    text = change(host.ok("virsh", "dumpxml", "--inactive", name))
    file = host.folder / "edited.xml"
    file.write_text(text)
    host.ok("virsh", "define", file.name)


def add_foreign(host: LabHost, name: str) -> None:
    """What somebody else adds beside virtrbd: an interface, a watchdog, a metadata element."""
    (host.folder / "nic.xml").write_text(
        f"<interface type='bridge'><mac address='{MAC_FOREIGN}'/><source bridge='br-c'/>"
        f"<model type='virtio'/></interface>"
    )
    (host.folder / "dog.xml").write_text("<watchdog model='i6300esb' action='reset'/>")
    host.ok("virsh", "attach-device", name, "nic.xml", "--config")
    host.ok("virsh", "attach-device", name, "dog.xml", "--config")
    host.ok("virsh", "metadata", name, "urn:other", "--key", "other", "--set", NOTE, "--config")


@pytest.mark.stack
@pytest.mark.parametrize(("machine", "version"), [("pc", "pc-i440fx-7.1"), ("q35", "pc-q35-7.1")])
def test_an_interface_goes_and_nothing_else_moves(host: LabHost, name: str, machine: str, version: str) -> None:
    spec = host.spec(name, f"machine: {machine}\n{DISKS}{INTERFACES}")
    host.ok("virtrbd", "define", spec)
    newest = at(definition(host, name), "os/type").get("machine", "")
    assert newest.startswith(version.rpartition("-")[0])
    assert newest != version
    set_by_virsh(host, name, lambda xml: xml.replace(newest, version))
    add_foreign(host, name)
    before = definition(host, name)

    host.spec(name, f'machine: {machine}\n{DISKS}interfaces:\n  - {{bridge: br-b, mac: "{MAC_B}"}}\n')
    done = host.virtrbd("define", spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name}: edit definition (/devices/interface:{MAC_A}: present -> absent)" in done.stdout
    after = definition(host, name)

    gone = {("interface", MAC_A)}
    kept = {key: address for key, address in addresses(before).items() if key not in gone}
    assert len(kept) >= 8
    assert addresses(after) == kept
    assert at(after, "os/type").get("machine") == version
    assert ("interface", MAC_FOREIGN) in addresses(after)
    dogs = [dog.get("model") for dog in after.findall("devices/watchdog")]
    # From libvirt 9.1 on q35's own is there before it.
    assert dogs in (["i6300esb"], ["itco", "i6300esb"])
    assert "kept by hand" in host.ok("virsh", "metadata", name, "urn:other", "--config")
    told = host.ok("virtrbd", "define", spec).splitlines()
    dog = f"/devices/watchdog{'#2' * (len(dogs) - 1)}"
    foreign = (f"/devices/interface:{MAC_FOREIGN}", dog, "/metadata/%7Burn:other%7Dnote")
    assert [line.split(": ")[2] for line in told if ": changed by others: " in line] == list(foreign)


def test_a_stated_older_machine_is_kept_and_a_stated_other_version_is_set(host: LabHost, name: str) -> None:
    spec = host.spec(name, "machine: pc-i440fx-7.1\ndisks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    assert at(definition(host, name), "os/type").get("machine") == "pc-i440fx-7.1"
    before = addresses(definition(host, name))
    host.spec(name, "machine: pc\nvcpus: 2\ndisks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    assert at(definition(host, name), "os/type").get("machine") == "pc-i440fx-7.1"
    host.spec(name, "machine: pc-i440fx-7.2\nvcpus: 2\ndisks:\n  - size: 16M\n")
    assert "pc-i440fx-7.1 -> pc-i440fx-7.2" in host.ok("virtrbd", "define", spec)
    assert at(definition(host, name), "os/type").get("machine") == "pc-i440fx-7.2"
    assert addresses(definition(host, name)) == before
    assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"


CHANGES = {
    "cache": ("- size: 16M", "- {size: 16M, cache: none}"),
    "discard": ("- size: 16M", "- {size: 16M, discard: ignore}"),
    "boot order": ("- size: 16M", "- {size: 16M, boot: 1}"),
    "readonly": ("- size: 16M", "- {size: 16M, readonly: true}"),
    "shareable": ("- size: 16M", "- {size: 16M, shareable: true, cache: none}"),
    "another bus": ("- size: 16M\n", "- {size: 16M, bus: sata, target: sda, image: vms/NAME.vda}\n"),
    "a second disk": ("- size: 16M\n", "- size: 16M\n  - size: 16M\n"),
    "an interface": ("disks:", 'interfaces:\n  - {bridge: br-a, mac: "52:54:00:00:00:0a"}\ndisks:'),
    "no agent": ("disks:", "guest_agent: false\ndisks:"),
    "no console": ("disks:", "serial_console: false\ndisks:"),
    "autostart": ("disks:", "autostart: true\ndisks:"),
    "vcpus": ("disks:", "vcpus: 3\ndisks:"),
}


def content(root: ET.Element) -> list[str]:
    """What the definition says, without marks and without the controllers that libvirt adds for devices."""
    parts = [child for child in root if child.tag not in ("metadata", "devices")]
    parts += [device for device in at(root, "devices") if device.tag != "controller"]
    return sorted(ET.canonicalize(ET.tostring(part, encoding="unicode"), strip_text=True) for part in parts)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_unmade_and_leaves_the_first_definition(host: LabHost, name: str, change: str) -> None:
    """There and back again: whatever a spec can add it can take away."""
    plain = "silence: [cache-none, discard-ignored]\ndisks:\n  - size: 16M\n"
    old, new = CHANGES[change]
    spec = host.spec(name, plain)
    host.ok("virtrbd", "define", spec)
    first = content(definition(host, name))
    for text in (plain.replace(old, new.replace("NAME", name)), plain):
        host.spec(name, text)
        done = host.virtrbd("define", spec, "--allow", "interrupts-guest")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "nothing to do" not in done.stdout
        assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"
    assert content(definition(host, name)) == first


def test_memory_and_vcpus_of_a_running_domain_change_from_the_next_boot(host: LabHost, name: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", "--start", spec)
    live = host.ok("virsh", "dumpxml", name)
    (host.folder / spec).write_text(f"name: {name}\nmemory: 256M\nvcpus: 2\ndisks:\n  - size: 16M\n")
    done = host.virtrbd("define", spec)
    assert (done.returncode, done.stderr) == (0, "")
    pending = [
        f"{name}: pending restart: {path}; takes effect after the guest has been shut down and started"
        for path in ("/memory: 131072 -> 262144", "/vcpu: 1 -> 2")
    ]
    edit = f"{name}: edit definition (/memory: 131072 -> 262144; /vcpu: 1 -> 2), takes effect at the next boot"
    assert done.stdout.splitlines() == [edit, *pending]
    held = definition(host, name)
    assert [held.findtext(tag) for tag in ("memory", "currentMemory", "vcpu")] == ["262144", "262144", "2"]
    assert [ET.fromstring(host.ok("virsh", "dumpxml", name)).findtext(t) for t in ("memory", "vcpu")] == ["131072", "1"]
    assert without_metadata(host.ok("virsh", "dumpxml", name)) == without_metadata(live)
    assert host.ok("virtrbd", "define", spec).splitlines() == pending


INTERFACE = 'interfaces:\n  - {END, mac: "52:54:00:00:00:0a"MORE}\n'


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_an_interface_known_by_its_mac_changes_its_end_and_model(host: LabHost, name: str, machine: str) -> None:
    def define(end: str, more: str = "") -> str:
        interface = INTERFACE.replace("END", end).replace("MORE", more)
        spec = host.spec(name, f"machine: {machine}\ndisks:\n  - size: 16M\n{interface}")
        host.ok("virtrbd", "define", spec)
        assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"
        [found] = definition(host, name).findall("devices/interface")
        source, model = at(found, "source"), at(found, "model")
        return " ".join([found.get("type", ""), *source.attrib.values(), model.get("type", "")])

    assert define("bridge: br-a") == "bridge br-a virtio"
    assert define("network: default") == "network default virtio"
    assert define("network: default", ", model: e1000") == "network default e1000"
    assert define("bridge: br-b") == "bridge br-b virtio"


def without_metadata(xml: str) -> str:
    root = ET.fromstring(xml)
    root.remove(at(root, "metadata"))
    return ET.canonicalize(ET.tostring(root, encoding="unicode"), strip_text=True)


def test_another_image_behind_a_known_target_needs_loses_data(host: LabHost, name: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    host.spec(name, f"disks:\n  - {{size: 16M, image: vms/{name}.other}}\n")
    done = host.virtrbd("define", spec)
    assert done.returncode == 4
    assert "needs --allow loses-data" in done.stderr
    assert f"vms/{name}.vda -> vms/{name}.other" in done.stderr
    assert at(definition(host, name), "devices/disk/source").get("name") == f"vms/{name}.vda"
    assert host.virtrbd("define", spec, "--allow", "takes-over,interrupts-guest").returncode == 4
    host.ok("virtrbd", "define", spec, "--allow", "loses-data")
    assert at(definition(host, name), "devices/disk/source").get("name") == f"vms/{name}.other"
    assert {f"{name}.vda", f"{name}.other"} <= set(host.ok("rbd", "ls", "vms").split())


def test_a_running_domains_image_grows_live_and_never_shrinks(host: LabHost, name: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", "--start", spec)
    assert capacity(host, name) == 16 * 1024**2
    host.spec(name, "disks:\n  - size: 48M\n")
    done = host.virtrbd("define", spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name}: grow image vms/{name}.vda from 16 MiB to 48 MiB" in done.stdout
    assert capacity(host, name) == 48 * 1024**2
    assert host.inspect(name)["disks"][0]["size_bytes"] == 48 * 1024**2
    assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"

    host.spec(name, "vcpus: 2\ndisks:\n  - size: 32M\n")
    before = host.ok("virsh", "dumpxml", "--inactive", name)
    done = host.virtrbd("define", spec)
    assert done.returncode == 65
    assert f"disk vda: image vms/{name}.vda is 48 MiB, spec says 32 MiB; images never shrink: raise size" in done.stderr
    assert capacity(host, name) == 48 * 1024**2
    assert host.ok("virsh", "dumpxml", "--inactive", name) == before


def capacity(host: LabHost, name: str) -> int:
    """The size of the disk as QEMU has it."""
    lines = dict(line.split(":") for line in host.ok("virsh", "domblkinfo", name, "vda").splitlines() if ":" in line)
    return int(lines["Capacity"])
