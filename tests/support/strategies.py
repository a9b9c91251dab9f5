"""Hypothesis strategies: desired domains, and worlds that hold them whole, older, changed, or somebody else's."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from support.simulate import MACHINES, NOW, simulate
from support.xml import parent_of

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, LiveDocument
from virtrbd.domainxml.mark import set_mark
from virtrbd.domainxml.tree import MARK_TAG, to_text
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import ClusterFacts, Monitor, Secret
from virtrbd.model.devices import Interface
from virtrbd.model.disk import Bus, Cdrom, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import Image, ImageMark, ImageRef, Intent
from virtrbd.model.image_state import RollingBack
from virtrbd.model.import_file import ImportFile
from virtrbd.model.live_actions import LiveAction
from virtrbd.model.mark import Hold
from virtrbd.model.power import PowerState, WantedState
from virtrbd.model.record import replace
from virtrbd.model.seed import Seed, SeedDocument, SeedFile
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy
from virtrbd.planning.world import World

MIB = 1024**2
HOST, OTHER_HOST = "kvm-1", "kvm-2"
HOST_UUID, OTHER_HOST_UUID = "aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-0000-0000-0000-000000000002"
SOMEBODY = "ffffffff-0000-0000-0000-00000000000f"
CLUSTER = ClusterFacts(fsid="f51d", monitors=(Monitor(address="10.0.0.1"),), user="virtrbd")
GOLDEN = ImageRef(pool="golden", name="debian", snapshot="v1")
GOLDEN_BYTES = 64 * MIB
ISO, OTHER_ISO = ImageRef(pool="golden", name="iso"), ImageRef(pool="golden", name="other-iso")
FILE, FILE_BYTES = "/srv/images/web.qcow2", 32 * MIB
USER_DATA = "/srv/seeds/user-data"
EMPTY = World(
    host_uuid=HOST_UUID,
    hypervisor_digest="h",
    cluster=CLUSTER,
    images={
        ref: Image(ref=ref, image_id=ref.name, size_bytes=GOLDEN_BYTES, created_at=0)
        for ref in (GOLDEN, ISO, OTHER_ISO)
    },
    file_sizes={ImportFile(name=FILE, beneath=()): FILE_BYTES},
    seed_files={USER_DATA: SeedFile(raw=b"#cloud-config\n")},
    now=NOW,
    capabilities={
        ("qemu", name): Capabilities(libvirt=(9, 0, 0), qemu=(7, 2, 22), machine=machine)
        for alias, machine in MACHINES.items()
        for name in (alias, machine)
    },
)
HERE = Policy(host=HOST)
STARTING = Policy(host=HOST, start=True)
BY_SPEC = Policy(host=HOST, by_spec=True)
sizes = st.sampled_from([64 * MIB, 96 * MIB, 128 * MIB])


def uuid_of(name: str) -> str:
    return f"bbbbbbbb-0000-0000-0000-{name.encode().hex():0>12}"


# One domain whose image is cloned and grown, for tests that need just any.
WEB = Domain(
    name="web",
    uuid=uuid_of("web"),
    memory_bytes=256 * MIB,
    vcpus=1,
    machine="q35",
    hypervisor="qemu",
    host=HOST,
    disks=(
        Disk(
            target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="web.vda"), clone=GOLDEN, size_bytes=96 * MIB
        ),
    ),
    origin="web.yaml:1",
)


limits = st.dictionaries(
    st.sampled_from(["read_iops_sec", "write_iops_sec", "read_bytes_sec"]), st.sampled_from([100, 200]), max_size=2
)


# No disk is sdb.
_drives = st.sampled_from([None, ISO, OTHER_ISO]).map(lambda image: (Cdrom(target="sdb", bus=Bus.SATA, image=image),))
cdroms = st.just(()) | _drives


@st.composite
def disks(draw: st.DrawFn, name: str, target: str) -> Disk:
    """A disk that is made empty, by clone or by import, at least as large as its source."""
    source = draw(st.sampled_from(["empty", "clone", "import"]))
    size_bytes = draw(sizes if source == "empty" else st.none() | sizes)
    return Disk(
        target=target,
        bus=Bus.VIRTIO if target.startswith("vd") else draw(st.sampled_from([Bus.SCSI, Bus.SATA])),
        image=ImageRef(pool="vms", name=f"{name}.{target}"),
        size_bytes=size_bytes,
        clone=GOLDEN if source == "clone" else None,
        import_file=FILE if source == "import" else "",
        iotune=draw(st.just({}) | limits),
        line=3,
    )


def seed_drive(name: str) -> Cdrom:
    return Cdrom(target="sdg", bus=Bus.SCSI, image=ImageRef(pool="vms", name=f"{name}.seed"), is_seed=True)


@st.composite
def seeds(draw: st.DrawFn, name: str) -> Seed | None:
    """A seed with user data of its own or in a file, or none at all."""
    documents = [None, SeedDocument(text="#a"), SeedDocument(text="#b"), SeedDocument(file=USER_DATA)]
    seed = Seed(image=ImageRef(pool="vms", name=f"{name}.seed"), user_data=draw(st.sampled_from(documents)))
    return draw(st.sampled_from([None, seed]))


@st.composite
def domains(draw: st.DrawFn, name: str, hosts: Sequence[str] = (HOST,)) -> Domain:
    """A domain as `resolve` makes it: its digest stands for all that it says."""
    seed = draw(seeds(name))
    macs = draw(st.lists(st.sampled_from(["01", "02"]), unique=True, max_size=2))
    targets = draw(st.sampled_from([("vda",), ("vda",), ("vda", "vdb"), ("vda", "sda")]))
    memory_bytes, vcpus = draw(st.sampled_from([128, 256])) * MIB, draw(st.integers(1, 3))
    domain = Domain(
        name=name,
        uuid=uuid_of(name),
        title=draw(st.sampled_from(["", "", "shop"])),
        description=draw(st.sampled_from(["", "", "sells"])),
        memory_bytes=memory_bytes,
        current_memory_bytes=draw(st.sampled_from([None, None, 64 * MIB, memory_bytes])),
        vcpus=vcpus,
        current_vcpus=draw(st.none() | st.integers(1, vcpus)),
        machine=draw(st.sampled_from(["pc", "q35"])),
        hypervisor="qemu",
        host=draw(st.sampled_from(hosts)),
        disks=tuple(draw(disks(name, target)) for target in targets),
        cdroms=(*draw(cdroms), *((seed_drive(name),) if seed else ())),
        seed=seed,
        interfaces=tuple(
            Interface(
                mac=f"52:54:00:00:{name.encode().hex()[:2]}:{mac}",
                bridge="br0",
                link=draw(st.sampled_from(["", "up", "down"])),
            )
            for mac in macs
        ),
        autostart=draw(st.booleans()),
        state=draw(st.sampled_from(WantedState)),
        origin=f"{name}.yaml:1",
    )
    return replace(domain, digest=repr(domain))


@st.composite
def fleets(draw: st.DrawFn, hosts: Sequence[str] = (HOST,)) -> tuple[Domain, ...]:
    """One or two domains, no two of one name."""
    names = draw(st.sampled_from([("a",), ("b", "a")]))
    return tuple(draw(domains(name, hosts)) for name in names)


def done(plan_of: Sequence[Domain], actual: World, policy: Policy = HERE, *, in_guests: bool = True) -> World:
    """Return the world after the whole plan, every hazard allowed; or after all of it but what is done in guests."""
    for domain in make_plan(plan_of, actual, policy).domains:
        for action in domain.actions:
            if in_guests or not isinstance(action, LiveAction):
                actual = simulate(action, actual)
    return actual


@st.composite
def worlds(draw: st.DrawFn, fleet: Sequence[Domain]) -> World:
    """A world in which each domain was never made, was made from an older spec, or was meddled with since.

    A guest may run with what was defined when it started, older than its definition.
    """
    actual = draw(st.sampled_from([EMPTY, replace(EMPTY, secrets=FOREIGN_SECRETS), WITHOUT_CEPHX]))
    for domain in fleet:
        if draw(st.integers(0, 3)):
            older = replace(draw(domains(domain.name)), uuid=domain.uuid)
            actual = done([older], actual)
            if draw(st.booleans()):
                actual = changed_domain(actual, domain.uuid, started)
                newer = draw(st.sampled_from([None, domain, replace(draw(domains(domain.name)), uuid=domain.uuid)]))
                actual = done([newer], actual, in_guests=False) if newer else actual
        for disk in domain.disks:
            actual = draw(_meddled_images(actual, disk.image, domain.uuid))
        if domain.seed:
            actual = draw(_meddled_images(actual, domain.seed.image, domain.uuid))
        actual = draw(_meddled_domains(actual, domain))
    # The file may have changed since, or be gone.
    file = draw(st.sampled_from([SeedFile(raw=b"#cloud-config\n"), SeedFile(raw=b"#new\n"), SeedFile(problem="gone")]))
    return replace(actual, seed_files={USER_DATA: file})


def changed_domain(actual: World, domain_uuid: str, change: Callable[[DefinedDomain], DefinedDomain | None]) -> World:
    """Return the world with one domain changed, or gone; as it is where there is none."""
    domains = [change(found) if found.uuid == domain_uuid else found for found in actual.domains]
    return replace(actual, domains=tuple(found for found in domains if found))


def started(found: DefinedDomain) -> DefinedDomain:
    """The domain as `virsh start` leaves it."""
    return replace(found, state=PowerState.RUNNING, live=LiveDocument(found.definition.text))


WITHOUT_CEPHX = replace(EMPTY, cluster=replace(CLUSTER, cephx=False))
FOREIGN_SECRETS = (Secret(uuid=SOMEBODY, usage="client.virtrbd secret", is_set=True, holds_key=True),)


@st.composite
def _meddled_images(draw: st.DrawFn, actual: World, ref: ImageRef, domain_uuid: str) -> World:
    held = actual.images.get(ref)
    image = held or Image(
        ref=ref, image_id="foreign", size_bytes=draw(sizes), created_at=NOW - 3600, allocated_bytes=MIB
    )
    strange = ImageMark(domain_uuid=SOMEBODY, image_id=image.image_id, host=HOST_UUID)
    elsewhere = ImageMark(domain_uuid=domain_uuid, image_id=image.image_id, host=OTHER_HOST_UUID)
    outcomes: list[Image | None] = [
        held, held, held, held,
        replace(image, mark=None), replace(image, mark=strange), replace(image, mark=elsewhere),
        replace(image, size_bytes=256 * MIB), replace(image, running_on=OTHER_HOST_UUID),
        replace(image, seed=""), replace(image, object_bytes=MIB),
        # A rollback that was killed; to a snapshot that is gone since, it can't be finished.
        replace(image, state=RollingBack("s1"), snapshots=("s1",)), replace(image, state=RollingBack("s1")),
    ]  # fmt: skip
    changed = replace(
        actual,
        images={**actual.images, ref: draw(st.sampled_from(outcomes))},
        # A rollback that this host began, and a mark that anyone may have written.
        rollbacks={**actual.rollbacks, **draw(st.sampled_from([{}, {ref: "s1"}]))},
        unknown_marks=actual.unknown_marks | draw(st.sampled_from([frozenset(), frozenset(), frozenset({ref})])),
    )
    if draw(st.integers(0, 4)):
        return changed
    # Written down after the image was there, by a run that was killed before it made one: it proves nothing.
    intent = Intent(
        ref=ref, domain_uuid=domain_uuid, size_bytes=image.size_bytes, parent=None, nonce="e" * 32,
        written_at=NOW + 60, importing=draw(st.booleans()),
    )  # fmt: skip
    return replace(changed, intents={**changed.intents, ref: intent})


@st.composite
def _meddled_domains(draw: st.DrawFn, actual: World, domain: Domain) -> World:
    held = next((found for found in actual.domains if found.uuid == domain.uuid), None)
    if held is None:
        return actual
    outcomes = [held, held, without_mark(held), replace(held, autostart=not held.autostart)]
    outcomes += [edited(held), edited(held), guest_edited(held)]
    saved = replace(held, state=PowerState.SAVED, live=None)
    outcomes += [saved, replace(held, state=PowerState.PAUSED) if held.live else held]
    if held.live and is_ours(held):
        # After `virsh undefine` of a guest that runs on.
        outcomes.append(replace(held, persistent=False, autostart=False))
    changed = draw(st.sampled_from(outcomes))
    if is_ours(changed) and not draw(st.integers(0, 3)):
        changed = marked(changed, hold=draw(holds), ignored=tuple(map(ElementPath, sorted(draw(ignored_paths)))))
    return changed_domain(actual, domain.uuid, lambda _: changed)


holds = st.none() | st.sampled_from([Hold(), Hold(until=NOW - 60), Hold(until=NOW + 60, why="disks move")])
ignored_paths = st.sets(
    st.sampled_from(
        [
            "title", "vcpu", "vcpu/@current", "currentMemory", "os/boot", "devices/watchdog",
            "devices/disk:vdb", "devices/disk:vda/iotune/read_iops_sec", "devices/disk:vda/driver/@cache",
            "devices/disk:sdb/source",
        ]
    ),
    max_size=3,
)  # fmt: skip


def marked(found: DefinedDomain, **changes: Any) -> DefinedDomain:
    """The domain after virtrbd hold or ignore."""
    mark = found.definition.mark
    assert mark is not None
    if "ignored" in changes:
        changes["inputs"] = ""
    root = found.definition.copy()
    set_mark(root, replace(mark, **changes))
    return replace(found, definition=Definition(to_text(root)))


def without_mark(found: DefinedDomain) -> DefinedDomain:
    """The domain as somebody would have defined it without virtrbd."""
    root = found.definition.copy()
    for mark in root.iter(MARK_TAG):
        parent_of(mark).remove(mark)
    return replace(found, definition=Definition(to_text(root)))


def edited(found: DefinedDomain) -> DefinedDomain:
    """The domain after `virsh edit`: fewer CPUs, another limit and title, and devices of somebody's own."""
    definition = found.definition.text.replace(">2</vcpu>", ">1</vcpu>").replace(">shop<", ">kiosk<")
    definition = definition.replace(">100</read_iops_sec>", ">150</read_iops_sec>")
    return replace(
        found, definition=Definition(definition.replace("</devices>", "<watchdog model='i6300esb'/></devices>"))
    )


def guest_edited(found: DefinedDomain) -> DefinedDomain:
    """The domain after `virsh attach-disk --live`, `blkdeviotune` and `setmem`: the guest alone is another one."""
    foreign = "<disk type='network' device='disk'><target dev='vdz' bus='virtio'/></disk>"
    if found.live is None:
        return found
    live = found.live.text.replace("</devices>", f"{foreign}</devices>").replace(">100</read_iops", ">150</read_iops")
    return replace(found, live=LiveDocument(live.replace(">65536</currentMemory>", ">32768</currentMemory>")))


def is_ours(found: DefinedDomain) -> bool:
    return found.definition.mark is not None
