"""Images are made once, and only what a run made is its own."""

import pytest
import rbd
from support.worlds import MIB, LabWorld, Sources

# virtrbd, beside somebody who makes the very same image at the last moment.
BEATEN = """
import rbd
from virtrbd.__main__ import main

def beaten(call, at):
    def run(*words, **more):
        call(*words, **more)
        with rbd.Image(words[at], words[at + 1]) as image:
            for key in list(dict(image.metadata_list())):
                image.metadata_remove(key)
        call(*words, **more)
    return run

rbd.RBD.create = beaten(rbd.RBD.create, 1)
rbd.RBD.clone = beaten(rbd.RBD.clone, 4)
main()
"""


def metadata(world: LabWorld, image: str) -> dict[str, str]:
    with rbd.Image(world.vms, image, read_only=True) as opened:
        return dict(opened.metadata_list())


@pytest.mark.parametrize("verb", ["create", "clone", "import"])
def test_an_image_that_somebody_made_in_between_is_never_claimed_nor_removed(
    world: LabWorld, name: str, sources: Sources, verb: str
) -> None:
    image = f"vms/{name}.a"
    words = {
        "create": ("image", "create", image, "4M"),
        "clone": ("image", "clone", sources.snapshot, image),
        "import": ("image", "import", str(sources.file), image),
    }[verb]
    beaten = world.virtrbd(*words, program=("-c", BEATEN))
    assert beaten.returncode == 5, beaten
    assert f"image {image} exists: another client made it just now" in beaten.stderr, beaten
    [image_id] = [found["id"] for found in [world.image(f"{name}.a")]]
    assert world.intents(name) == []
    again = world.virtrbd(*words)
    assert (again.returncode, again.stdout) == (5, ""), again
    assert f"image {image} exists" in again.stderr, again
    assert (world.image(f"{name}.a")["id"], metadata(world, f"{name}.a")) == (image_id, {})
    world.forget(name)


def test_define_takes_over_what_somebody_made_in_between_only_when_that_is_allowed(world: LabWorld, name: str) -> None:
    file = world.host.spec(name, "disks:\n  - size: 4M\n")
    beaten = world.virtrbd("define", file, program=("-c", BEATEN))
    assert (beaten.returncode, world.intents(name)) == (5, []), beaten
    again = world.virtrbd("define", file)
    assert again.returncode == 4, again
    assert metadata(world, f"{name}.vda") == {}
    world.ok("define", "--allow", "takes-over", file)
    assert world.image(f"{name}.vda")["size_bytes"] == 4 * MIB
    world.forget(name)


def test_what_is_refused_before_anything_is_made_leaves_no_intent(world: LabWorld, name: str) -> None:
    image = f"vms/nowhere/{name}.a"
    refused = world.virtrbd("image", "create", image, "4M")
    assert refused.returncode == 78, refused
    assert not list((world.state / "intents").glob(f"*{name}*"))


# virtrbd, beside somebody who replaces an image once it was looked at.
REPLACED = """
import importlib, os, sys
import rados, rbd
from virtrbd.__main__ import main
module, function, name = (sys.argv.pop(1) for _ in range(3))
conf = os.environ["CEPH_CONF"]
found = importlib.import_module(module)
looks = getattr(found, function)

def replace(*words, **more):
    result = looks(*words, **more)
    with rados.Rados(conffile=conf, rados_id="virtrbd") as ceph, ceph.open_ioctx("vms") as vms:
        rbd.RBD().remove(vms, name)
        rbd.RBD().create(vms, name, 8 * 1024**2, old_format=False)
    return result

setattr(found, function, replace)
main()
"""


@pytest.mark.parametrize(
    ("words", "look"),
    [
        (("image", "remove"), "virtrbd.planning.removal:plan_removal"),
        (("image", "remove", "--now", "--allow", "loses-data"), "virtrbd.planning.removal:plan_removal"),
        (
            ("remove", "--allow", "forgets-domain", "--allow", "loses-data"),
            "virtrbd.planning.retirement:plan_retirement",
        ),
        (("undefine", "--trash-images", "--allow", "loses-data"), "virtrbd.engine.power:note_clean_stop"),
    ],
)
def test_an_image_that_replaced_the_one_looked_at_is_not_taken_away(
    world: LabWorld, name: str, words: tuple[str, ...], look: str
) -> None:
    image, subject = f"{name}.vda", name
    world.ok("define", world.host.spec(name, "disks:\n  - size: 4M\n"))
    if words[0] == "image":
        world.ok("undefine", name)
        subject = f"vms/{image}"
    done = world.virtrbd(*words, subject, program=("-c", REPLACED, *look.split(":"), image))
    says_so = f"image vms/{image} was replaced meanwhile; run again" in done.stderr + done.stdout
    assert (done.returncode, says_so) == (5, True), done
    assert world.image(image)["size_bytes"] == 8 * MIB
    assert image not in [entry["name"] for entry in rbd.RBD().trash_list(world.vms)]
    world.forget(name)
