"""A template says things as people write them; libvirt's own words for them are no differences."""

import re
from pathlib import Path

from support.lab import LabHost

TEMPLATE = """\
{% extends "domain.xml.j2" %}
{% block extra %}
  <memtune>
    <soft_limit unit="bytes">536870912</soft_limit>
  </memtune>
  <cputune>
    <shares>02048</shares>
    <emulatorpin cpuset="0,1"/>
  </cputune>
{% endblock %}
{% block devices_extra %}
    <interface type="user">
      <mac address="52:54:00:AA:BB:CC"/>
      <model type="virtio"/>
      <bandwidth><inbound average="01000"/></bandwidth>
      <address type="pci" domain="0" bus="0" slot="16" function="0"/>
    </interface>
    <channel type="unix">
      <source mode="bind"/>
      <target type="virtio" name="org.example.0"/>
    </channel>
    <shmem name="shm0">
      <model type="ivshmem-plain"/>
      <size unit="KiB">4096</size>
      <address type="pci" slot="0xE" bus="0"/>
    </shmem>
{% endblock %}
"""


def test_libvirts_own_words_are_no_differences(host: LabHost, name: str) -> None:
    (host.folder / "own.xml.j2").write_text(TEMPLATE)
    settings = host.folder / "settings.yaml"
    settings.write_text(
        f"{Path(host.ok('printenv', 'VIRTRBD_CONFIG').strip()).read_text()}\ntemplate_dir: {host.folder}\n"
    )
    spec = host.spec(name, "machine: pc\ntemplate: own.xml.j2\ndisks:\n  - size: 16M\n")

    def run(verb: str) -> str:
        return str(host.ok("virtrbd", "--config", str(settings), verb, spec))

    def plan() -> str:
        return str(host.virtrbd("--config", str(settings), "plan", spec).stdout)

    run("define")
    host.ok("virsh", "desc", name, "--config", "--title", "of others")
    host.ok("virtrbd", "start", name)
    assert plan().endswith("1 domain, 0 actions, 1 finding\n"), "the title"

    # What others really change is found, and put back.
    held = host.ok("virsh", "dumpxml", name, "--inactive")
    assert "slot='0x10'" in held
    (host.folder / "edited.xml").write_text(held.replace("slot='0x10'", "slot='0x1b'"))
    host.ok("virsh", "define", str(host.folder / "edited.xml"))
    assert re.search(r"/address/@slot: 0x1b -> 16\b", plan())
    run("define")
    assert "slot='0x10'" in host.ok("virsh", "dumpxml", name, "--inactive")

    # And so is what the template says otherwise.
    (host.folder / "own.xml.j2").write_text(TEMPLATE.replace('"bytes">536870912', '"G">1'))
    assert re.search(r"/memtune/soft_limit: 524288 -> 1\b", plan())
    run("define")
    assert "1048576</soft_limit>" in host.ok("virsh", "dumpxml", name, "--inactive")
