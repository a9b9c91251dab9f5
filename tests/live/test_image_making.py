"""Images are made once, and only what a run made is its own."""

import pytest
import rbd
from worlds import MIB, World

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


def metadata(world: World, image: str) -> dict[str, str]:
    with rbd.Image(world.vms, image, read_only=True) as opened:
        return dict(opened.metadata_list())


@pytest.mark.parametrize("verb", ["create", "clone", "import"])
def test_an_image_that_somebody_made_in_between_is_never_claimed_nor_removed(world, name, sources, verb) -> None:  # type: ignore[no-untyped-def]
    image = f"vms/{name}.a"
    words = {
        "create": ("image", "create", image, "4M"),
        "clone": ("image", "clone", sources.snapshot, image),
        "import": ("image", "import", str(sources.file), image),
    }[verb]
    beaten = world.virtrbd(*words, program=("-c", BEATEN))
    assert beaten.returncode == 5, beaten
    assert f"image {image} exists: somebody made it just now" in beaten.stderr, beaten
    [image_id] = [found["id"] for found in [world.image(f"{name}.a")]]
    assert world.intents(name) == []
    again = world.virtrbd(*words)
    assert (again.returncode, again.stdout) == (5, ""), again
    assert f"image {image} exists" in again.stderr, again
    assert (world.image(f"{name}.a")["id"], metadata(world, f"{name}.a")) == (image_id, {})
    world.forget(name)


def test_define_takes_over_what_somebody_made_in_between_only_when_that_is_allowed(world, name) -> None:  # type: ignore[no-untyped-def]
    file = world.host.spec(name, "disks:\n  - size: 4M\n")
    beaten = world.virtrbd("define", file, program=("-c", BEATEN))
    assert (beaten.returncode, world.intents(name)) == (5, []), beaten
    again = world.virtrbd("define", file)
    assert again.returncode == 4, again
    assert metadata(world, f"{name}.vda") == {}
    world.ok("define", "--allow", "takes-over", file)
    assert world.image(f"{name}.vda")["size_bytes"] == 4 * MIB
    world.forget(name)


def test_what_is_refused_before_anything_is_made_leaves_no_intent(world, name) -> None:  # type: ignore[no-untyped-def]
    image = f"vms/nowhere/{name}.a"
    refused = world.virtrbd("image", "create", image, "4M")
    assert refused.returncode == 78, refused
    assert not list((world.state / "intents").glob(f"*{name}*"))
