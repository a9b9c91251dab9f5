"""Names that RBD and libvirt take, odd as they are: a guest opens the very image, and every verb finds its domain."""

import json

import libvirt
import pytest
import rbd
from support.fleets import Fleet
from support.worlds import MIB

# Made by benji, backy, Ganeti and by hand; each beside the image that a careless reader of the name would open.
NAMES = [".10:40:39", ":id=admin:conf=x", " a'b\"c", ".e=f;g", ".p%20q", ".b\\s$HOME", ".ünïß "]
BESIDE = [".10", ".p q", ".ünïß"]


@pytest.fixture
def images(fleet: Fleet) -> list[str]:
    """Images of such names, which start as the fleet's own does, and the ones beside them."""
    for each in (*NAMES, *BESIDE):
        rbd.RBD().create(fleet.vms, fleet.name + each, MIB)
    return [fleet.name + each for each in NAMES]


def open_images(fleet: Fleet) -> list[str]:
    """The fleet's images that a client has open."""
    found = []
    for name in (each for each in rbd.RBD().list(fleet.vms) if each.startswith(fleet.name)):
        with rbd.Image(fleet.vms, name, read_only=True) as image:
            found += [name] if list(image.watchers_list()) else []
    return found


def test_a_domain_of_any_name_has_disks_of_any_name(fleet: Fleet, images: list[str]) -> None:
    disks = "".join(f"  - {{image: {json.dumps(f'vms/{name}')}, size: 1M}}\n" for name in images)
    name = fleet.spec("a", f"disks:\n{disks}")
    done = fleet.run("define", f"specs/{name}.yaml", "--allow", "takes-over")
    assert done.code == 0, done
    domain = fleet.connection.lookupByName(name)
    assert fleet.run("start", name).code == 0
    assert open_images(fleet) == sorted(images)
    domain.destroy()

    odd = f'{fleet.name} "web", x=1:@ü'
    domain.rename(odd)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, None, "urn:virtrbd:domain:1", 0)
    (fleet.specs / f"{name}.yaml").unlink()
    adopted = fleet.run("adopt", odd, "--no-xml", "--into", "specs", "--allow", "takes-over", "--output", "json")
    assert adopted.code == 0, adopted
    spec = json.loads(adopted.out)["domains"][0]["spec"]
    assert spec == f"specs/{fleet.name}_web_x_1-{domain.UUIDString()[:8]}.yaml"
    (fleet.folder / spec).write_text((fleet.folder / spec).read_text().replace("memory: 128M", "memory: 64M"))
    first = fleet.reconcile()
    assert (first.code, first.err) == (0, ""), first
    assert f"{odd}: edit definition (" in first.out
    assert domain.maxMemory() == 64 * 1024
    fleet.is_in_sync(spec)
    assert f"{odd}: started" in fleet.run("start", odd).out
    assert open_images(fleet) == sorted(images)
    assert json.loads(fleet.run("inspect", odd, "--output", "json").out)["domain"]["state"] == "running"
    assert fleet.run("destroy", odd, "--allow", "interrupts-guest").code == 0
    assert fleet.run("undefine", odd).code == 0
    renewed = fleet.reconcile()
    assert renewed.code == 65, renewed
    assert "is not a name for a new domain" in renewed.out + renewed.err


def test_every_image_verb_takes_such_a_name(fleet: Fleet, images: list[str]) -> None:
    image = f"vms/{images[0]}"
    snapshot = f"{image}@2017-04-19T11:33:23"
    for words in (
        ("snapshot", "create", "--protect", snapshot),
        ("clone", snapshot, f"{image} clone:1"),
        ("flatten", f"{image} clone:1"),
        ("copy", snapshot, f"{image}.copy;2"),
        ("export", snapshot, "2017.raw"),
        ("import", "--verify", "--format", "raw", "2017.raw", f"{image}'3"),
        ("resize", image, "2M"),
        ("snapshot", "rollback", snapshot, "--allow", "loses-data"),
        ("snapshot", "remove", snapshot, "--clear", "--allow", "loses-data"),
        ("remove", image, "--allow", "loses-data"),
        ("restore", image, "--as", f"{image}=old"),
    ):
        done = fleet.run("image", *words)
        assert done.code == 0, (words, done)
    found = sorted(each for each in rbd.RBD().list(fleet.vms) if each.startswith(images[0]))
    assert found == [f"{images[0]}{tail}" for tail in (" clone:1", "'3", ".copy;2", "=old")]
