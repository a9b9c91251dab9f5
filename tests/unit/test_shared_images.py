"""No spec gets an image that another domain uses in a way that needs it for itself, whatever way that is (law 14)."""

import ast
from pathlib import Path

import pytest
from support.image_details import uses_in
from support.strategies import EMPTY, HERE, MIB, WEB, uuid_of

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, Document, LiveDocument
from virtrbd.errors import ExitCode
from virtrbd.images.users import use_of
from virtrbd.model.disk import Bus, Cdrom, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.shared_images import neighbours
from virtrbd.planning.world import World

GOLD = ImageRef(pool="vms", name="gold & silver")
APP = replace(
    WEB, name="app", uuid=uuid_of("app"), seed=None,
    disks=(Disk(target="vda", bus=Bus.VIRTIO, image=GOLD, size_bytes=MIB),),
)  # fmt: skip
READER = replace(APP, disks=(), cdroms=(Cdrom(target="sda", bus=Bus.SATA, image=GOLD, line=9),))
NAME = "vms/gold &amp; silver"
DISK = f"<disk type='network'><source protocol='rbd' name='{NAME}'/>{{more}}<target dev='vdx'/></disk>"
# What another domain's XML says, and how that domain uses the image by it.
EXCLUDING = {
    DISK.format(more=""): "written by domain other",
    f"<disk type='file'><source file='/o'/><backingStore type='network'><source protocol='rbd' name='{NAME}'/>"
    "</backingStore><target dev='vdx'/></disk>": "backing file of disk vdx of domain other",
    f"<disk type='file'><source file='/o'/><mirror><source protocol='rbd' name='{NAME}'/></mirror>"
    "<target dev='vdx'/></disk>": "target of a block copy of disk vdx of domain other",
    f"<disk type='block'><source dev='/dev/rbd/{NAME}'/><target dev='vdx'/></disk>": "written by domain other",
    f"<hostdev><source><block>/dev/rbd/{NAME}</block></source></hostdev>": "hostdev of domain other",
    f"<tpm><backend><source path='/dev/rbd/{NAME}'/></backend></tpm>": "tpm of domain other",
}
SHARING = (
    DISK.format(more="<shareable/>"),
    DISK.format(more="<readonly/>"),
    DISK.replace("'/>", "'><snapshot name='v1'/></source>", 1).format(more=""),
    DISK.replace(NAME, NAME + "2").format(more=""),
    f"<disk type='block'><source dev='/dev/rbd/{NAME}@v1'/><target dev='vdx'/></disk>",
)


def world(devices: str = "", *, inside: str = "", live: str = "") -> World:
    xml = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>other</name>{}</domain>"
    other = DefinedDomain(
        name="other",
        uuid=uuid_of("other"),
        state=PowerState.RUNNING if live else PowerState.SHUT_OFF,
        definition=Definition(xml.format(f"{inside}<devices>{devices}</devices>")),
        live=LiveDocument(xml.format(f"<devices>{live}</devices>") if live else ""),
    )
    found = neighbours((APP,), (other,), {})
    return replace(uses_in(replace(EMPTY, domains=found)), domains=(other,))


def problems(actual: World, domain: Domain = APP) -> tuple[str, ...]:
    [plan] = [plan for plan in make_plan((domain,), actual, HERE).domains if plan.name == "app"]
    return plan.problems


@pytest.mark.parametrize("devices", EXCLUDING)
@pytest.mark.parametrize("is_live", [False, True])
def test_an_image_that_another_domain_needs_for_itself_is_refused(devices: str, is_live: bool) -> None:
    actual = world("" if is_live else devices, live=devices if is_live else "")
    [problem] = problems(actual)
    assert f"disk vda: image {GOLD} is already {EXCLUDING[devices]}; give it" in problem
    [problem] = [each for each in problems(actual, READER) if "of domain other" in each]
    assert f"cdrom sda: image {GOLD} is " in problem


@pytest.mark.parametrize(
    ("inside", "how"),
    [
        (f"<os><nvram type='network'><source protocol='rbd' name='{NAME}'/></nvram></os>", "NVRAM"),
        (f"<qemu:commandline><qemu:arg value='file=rbd:{NAME}'/></qemu:commandline>", "an argument of QEMU"),
    ],
)
def test_what_is_no_device_uses_an_image_too(inside: str, how: str) -> None:
    [problem] = problems(world(inside=inside))
    assert f"is already {how} of domain other" in problem


@pytest.mark.parametrize("devices", SHARING)
def test_who_shares_an_image_or_has_a_snapshot_of_it_is_no_reason(devices: str) -> None:
    assert problems(world(devices)) == ()


def test_a_save_or_a_snapshot_of_another_domain_is_named_as_that() -> None:
    other = DefinedDomain(
        name="other",
        uuid=uuid_of("other"),
        state=PowerState.SAVED,
        definition=Definition("<domain><name>other</name></domain>"),
    )
    kept = (Document(f"<domain><devices>{DISK.format(more='')}</devices></domain>"),)
    assert neighbours((APP,), (other,), {}) == ()
    assert neighbours((APP,), (other,), {other.uuid: kept}) == (other,)
    [problem] = problems(replace(EMPTY, uses=(use_of(other, kept, lambda _pool: None),)))
    assert "is already written by domain other (disk vdx of its managed save)" in problem


def test_a_save_that_cannot_be_read_may_name_any_image_and_holds_up_no_spec() -> None:
    (other,) = world(DISK.format(more="<readonly/>")).domains
    damaged = (Failure(text="image magic is incorrect", exit_code=ExitCode.FAILED),)
    assert neighbours((APP,), (other,), {other.uuid: damaged}) == (other,)
    use = use_of(other, damaged, lambda _pool: None)
    assert use.unknown == ("everything that it names (image magic is incorrect)",)
    assert problems(replace(EMPTY, uses=(use,))) == ()


def test_a_volume_is_the_image_that_its_storage_pool_says() -> None:
    disk = "<disk type='volume'><source pool='rbd' volume='gold &amp; silver'/><target dev='vdx'/></disk>"
    (other,) = world(disk).domains
    assert neighbours((APP,), (other,), {}) == (other,)
    for pool, said in (("vms", "domain other;"), (None, "domain other, perhaps: virtrbd cannot read disk vdx: volume")):
        [problem] = problems(replace(EMPTY, uses=(use_of(other, (), {"rbd": pool}.get),)))
        assert f"is already written by {said}" in problem
    assert problems(replace(EMPTY, uses=(use_of(other, (), lambda _pool: "backup"),))) == ()


def test_a_domain_is_not_its_own_neighbour() -> None:
    own = DefinedDomain(
        name="app", uuid=APP.uuid, state=PowerState.SHUT_OFF,
        definition=Definition(f"<domain><name>app</name><devices>{DISK.format(more='')}</devices></domain>"),
    )  # fmt: skip
    assert neighbours((APP,), (own,), {}) == ()


# What may look at a domain's disks by themselves, for that is what they are about: as that domain has them, by target.
BY_TARGET = {
    "adoption", "commands/inspect", "commands/list", "domainxml", "fitting", "hypervisor/reading",
    "images/change", "planning/definition", "planning/images", "planning/live", "planning/plan", "qemu",
}  # fmt: skip
ASKING = {"parse_disks", "disks_of", "parse_image", "source_image", "images_in_argument"}


@pytest.mark.slow
def test_who_uses_an_image_is_asked_in_one_place() -> None:
    """`images/users` answers, by domainxml/image_uses; nobody else looks for images in a domain's XML."""
    root = Path(__file__).parent.parent.parent / "virtrbd"
    found = set()
    for file in root.rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        room = file.relative_to(root).with_suffix("")
        if names & ASKING and str(room) not in BY_TARGET and room.parts[0] not in BY_TARGET:
            found.add(str(room))
    assert found == set()
