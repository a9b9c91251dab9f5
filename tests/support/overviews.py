"""Reports to draw: a usual host, one with hostile names, one of many images."""

from typing import Any

from support.families import HERE, MIB, families_of, image_of, key_of, snapshot_of

from virtrbd.engine.overview import Overview
from virtrbd.errors import ExitCode
from virtrbd.model.failure import Failure
from virtrbd.model.family import Families, FamilyImage
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.image_use import DomainUse, ImageUse, Role
from virtrbd.model.overview import DomainLine, Need, PoolSpace, PoolsThen
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.flattens import helpful_flattens
from virtrbd.planning.growth import growth_of
from virtrbd.planning.image_tree import depths, make_tree
from virtrbd.planning.overview import storage_of

GIB = 1024 * MIB
DAY = 86_400.0
NOW = 1_800_000_000.0
# Markup, a terminal's escapes, another reading direction, a template's own signs, a character without UTF-8.
HOSTILE = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</svg></style><h1>x", "a\x1b[31m\u202eb",
    "{{ 7*7 }}{% raw %}", "&lt;b&gt;", "\udcff", "javascript:alert(1)", "x" * 5000, "new\nline", "'`${x}", "-->",
)  # fmt: skip


def use_by(name: str, image: str, state: PowerState = PowerState.RUNNING) -> DomainUse:
    ref = ImageRef(pool="vms", name=image)
    return DomainUse(name=name, uuid=name, state=state, images=(ImageUse(ref=ref, role=Role.DISK, place="disk vda"),))


def overview_of(images: Families, uses: tuple[DomainUse, ...] | None, **fields: Any) -> Overview:
    """The report of these images and domains."""
    tree = make_tree(images, uses)
    facts: dict[str, Any] = {
        "host": "kvm-1",
        "made_at": NOW,
        "domains": None if uses is None else tuple(sorted(DomainLine(name=u.name, state=u.state) for u in uses)),
        "needs": (),
        "has_specs": True,
        "pools": (),
        "failures": {},
    }
    return Overview(
        **facts | fields,
        tree=tree,
        flattens=helpful_flattens(images, depths(tree), uses, HERE, 8),
        storage=storage_of(images, uses, HERE, NOW),
    )


def in_pool(image: FamilyImage, pool: str) -> FamilyImage:
    return replace(image, ref=replace(image.ref, pool=pool))


def usual() -> Overview:
    """A host of 64 domains with two golden images, a chain, the trash, and something of everything that waits."""
    names = [f"web-{number:02}" for number in range(1, 41)] + [f"db-{number:02}" for number in range(1, 25)]
    golden = {"web": "debian-12", "db": "alma-9"}
    disks = [
        image_of(
            f"{name}.vda", golden[name.split("-")[0]], used_bytes=(37 * at % 90 + 3) * GIB // 4,
            size_bytes=40 * GIB, snapshots=_daily(at),
        )
        for at, name in enumerate(names)
    ]  # fmt: skip
    base = [
        in_pool(
            image_of(
                name, size_bytes=10 * GIB, used_bytes=0,
                snapshots=(snapshot_of(1, *(d.key.image_id for d in disks), used_bytes=used, created_at=NOW - 200 * DAY,
                                       label="v1", is_protected=True, size_bytes=10 * GIB, allocated_bytes=used),),
            ),
            "golden",
        )
        for name, used in (("debian-12", 2 * GIB), ("alma-9", 3 * GIB))
    ]  # fmt: skip
    kept = snapshot_of(
        9, "web-test", kind=SnapshotKind.TRASH, label="before-upgrade", used_bytes=3 * GIB, allocated_bytes=4 * GIB,
        created_at=NOW - 40 * DAY, size_bytes=40 * GIB,
    )  # fmt: skip
    disks[3] = replace(disks[3], snapshots=(*disks[3].snapshots, kept))
    others = [
        image_of("web-test", "web-04.vda", 9, used_bytes=GIB, size_bytes=40 * GIB),
        image_of("old.vda", expires_at=NOW + 5 * DAY, used_bytes=18 * GIB, size_bytes=40 * GIB),
        image_of("ci-runner", used_bytes=7 * GIB, size_bytes=20 * GIB),
        *(image_of(f"data-{n}", used_bytes=n * GIB, size_bytes=100 * GIB) for n in range(1, 9)),
    ]
    states = {
        "web-07": PowerState.SHUT_OFF,
        "web-19": PowerState.PAUSED,
        "db-03": PowerState.SAVED,
        "db-09": PowerState.CRASHED,
    }
    uses = tuple(use_by(name, f"{name}.vda", states.get(name, PowerState.RUNNING)) for name in names)
    uses += tuple(use_by(f"store-{n}", f"data-{n}", PowerState.SHUT_OFF) for n in range(1, 9))
    return overview_of(
        families_of(*base, *disks, *others), uses, needs=NEEDS, pools=_pools(),
        failures={"vms/half": HALF},
    )  # fmt: skip


HALF = Failure(
    text="has no header; `virtrbd image repair vms/half --plan` shows what is left of it", exit_code=ExitCode.FAILED
)
NEEDS = (
    Need(domain="", kind="failed", text="web-31.yaml:4: image: 'vms//x' is not the name of an image; write pool/image"),
    Need(domain="db-09", kind="blocked", text="start domain: needs --allow takes-over"),
    Need(domain="web-12", kind="blocked", text="detach disk vdb (vms/web-12.vdb): needs --allow interrupts-guest"),
    Need(domain="db-03", kind="managed save", text="it is saved; start resumes it"),
    Need(domain="web-02", kind="pending restart", text="memory 4 GiB takes effect after a shutdown and start"),
    Need(domain="web-19", kind="paused", text="the guest is paused; virsh resume web-19 resumes it"),
    Need(domain="web-22", kind="changed by others", text="/devices/interface:net0/mtu: wanted nothing, found 9000"),
    Need(domain="web-07", kind="next run", text="start domain"),
)  # fmt: skip


def _daily(number: int) -> tuple[Any, ...]:
    ages = (0.4, 3, 12, 25, 70, 250, 500)[: number % 8]
    return tuple(
        snapshot_of(at + 2, created_at=NOW - age * DAY, used_bytes=(at + 1) * 200 * MIB, label=f"day-{at}")
        for at, age in enumerate(reversed(ages))
    )


def _pools() -> tuple[Any, ...]:
    spaces = (
        PoolSpace(name="golden", stored_bytes=180 * GIB, free_bytes=2400 * GIB),
        PoolSpace(name="vms", stored_bytes=7100 * GIB, free_bytes=2400 * GIB),
        PoolSpace(name="fast", stored_bytes=915 * GIB, free_bytes=2400 * GIB, quota_bytes=1000 * GIB),
    )
    history = [
        PoolsThen(
            at=NOW - age * DAY,
            stored={"golden": 180 * GIB - age // 30 * 12 * GIB, "vms": (7100 - age * 14 - age * age // 20) * GIB,
                    "fast": (915 - age * 2 + (age % 7) * 6 * (age > 0)) * GIB},
        )
        for age in range(89, -1, -1)
    ]  # fmt: skip
    return tuple(growth_of(space, history) for space in spaces)


def hostile() -> Overview:
    """Every text of the report is of a stranger's making."""
    images = [
        replace(image_of(f"i{at}", "i0" if at else ""), ref=ImageRef(pool="vms", name=name),
                snapshots=(snapshot_of(1, *(["far"] if at else []), label=name, created_at=NOW - 9 * DAY),))
        for at, name in enumerate(HOSTILE)
    ]  # fmt: skip
    images.append(replace(image_of("gone", expires_at=1.0), ref=ImageRef(pool="vms", name=HOSTILE[0])))
    uses = tuple(
        DomainUse(name=name, uuid=str(at), state=PowerState.RUNNING, images=(
            ImageUse(ref=ImageRef(pool="vms", name=HOSTILE[1]), role=Role.DISK, place="disk vda"),
        ))
        for at, name in enumerate(HOSTILE)
    )  # fmt: skip
    needs = tuple(Need(domain=name, kind=name, text=name) for name in HOSTILE)
    pools = tuple(growth_of(PoolSpace(name=name, stored_bytes=1, free_bytes=1), ()) for name in HOSTILE)
    failures = {name: Failure(text=name, exit_code=ExitCode.FAILED) for name in HOSTILE}
    found = {key_of(f"i{at}"): image for at, image in enumerate(images)}
    return overview_of(
        Families(images=found, unread_pools={}), uses, host=HOSTILE[0], needs=needs, pools=pools, failures=failures
    )


def many() -> Overview:
    """A thousand images: one snapshot with 600 clones, 40 chains of 9, others alone."""
    clones = [image_of(f"web-{n:03}", "golden", used_bytes=n * MIB) for n in range(600)]
    chains = [
        image_of(f"chain-{n:02}-{at}", f"chain-{n:02}-{at - 1}" if at else "", snapshots=(snapshot_of(1),))
        for n in range(40)
        for at in range(9)
    ]
    alone = [image_of(f"alone-{n:02}") for n in range(40)]
    golden = image_of("golden", snapshots=(snapshot_of(1, *(c.key.image_id for c in clones)),))
    return overview_of(families_of(golden, *clones, *chains, *alone), ())
