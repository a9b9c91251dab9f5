"""Options of librbd's that beat the spec are seen wherever the cluster can be reached."""

import json

from support.lab import LabHost


def test_an_option_on_an_image_is_told_by_define_render_and_inspect(host: LabHost, name: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    host.ok("rbd", "config", "image", "set", f"vms/{name}.vda", "rbd_cache", "false")
    told = host.virtrbd("define", spec)
    assert (told.returncode, told.stdout) == (0, f"{name}: nothing to do\n")
    assert "(silence: [cache-override])" in told.stderr
    assert host.virtrbd("define", spec).stderr == "", "once"
    assert "(silence: [cache-override])" in host.virtrbd("render", spec).stderr
    explained = json.loads(host.ok("virtrbd", "render", "--explain", spec, "--output", "json"))["domains"][0]
    assert [lint["code"] for lint in explained["lints"]] == ["cache-override"]
    assert f"vms/{name}.vda: rbd_cache=false" in host.ok("virtrbd", "inspect", name)
    assert host.virtrbd("render", "--for", "libvirt=9.0,qemu=7.2", spec).stderr == "", "somewhere else"
