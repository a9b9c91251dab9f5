"""Many cycles of virsh beside reconcile: whatever was done by hand, it ends in sync, and nothing grows."""

import random
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import libvirt
import pytest
import rbd
from support.fleets import Fleet, fleet_on
from support.lab import LabHost

from virtrbd.ceph.metadata import LAST_RUN
from virtrbd.local.state_dir import StateDir

# It disturbs what all tests share.
pytestmark = pytest.mark.alone


CONFIG, LIVE = libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE
FOREIGN = "urn:somebody"
BY_HAND = r"<(interface|watchdog) .*?</\1>|<title>mine</title>"
DISKS = "disks:\n" + 2 * "  - size: 8M\n    iotune: {total_iops_sec: 500}\n"
RUNNING = f"machine: pc\nstate: running\nautostart: true\n{DISKS}"
SHUT_OFF = f"machine: pc\ntitle: by spec\n{DISKS}"
UNMANAGED = f"machine: pc\nautostart: true\n{DISKS}"
# A run that meets an edit in its middle, a guest that does not follow, or a domain that is saved or renamed.
WELL = (0, 4, 5, 65)

Edit = Callable[[libvirt.virDomain, random.Random], object]


def nic(random: random.Random) -> str:
    mac = f"52:54:00:00:00:{random.randrange(2):02x}"
    return f"<interface type='direct'><mac address='{mac}'/><source dev='lo' mode='bridge'/></interface>"


def attach(domain: libvirt.virDomain, random: random.Random) -> None:
    domain.attachDeviceFlags(nic(random), random.choice((CONFIG, LIVE)))


def detach(domain: libvirt.virDomain, random: random.Random) -> None:
    domain.detachDeviceFlags(nic(random), random.choice((CONFIG, LIVE)))


def edit(*replaced: tuple[str, str]) -> Edit:
    """Edit the definition as `virsh edit` does."""

    def change(domain: libvirt.virDomain, random: random.Random) -> None:
        pattern, text = random.choice(replaced)
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        domain.connect().defineXML(re.sub(pattern, text, xml, count=1, flags=re.DOTALL))

    return change


def metadata(domain: libvirt.virDomain, random: random.Random) -> None:
    text = random.choice(("<note/>", "<note>by hand</note>", None))
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "s", FOREIGN, CONFIG)


def save(domain: libvirt.virDomain, _random: random.Random) -> None:
    domain.managedSave()


def rename(domain: libvirt.virDomain, _random: random.Random) -> None:
    name = domain.name()
    domain.rename(name.removesuffix("x") if name.endswith("x") else f"{name}x")


def tune(domain: libvirt.virDomain, random: random.Random) -> None:
    limits = {"total_iops_sec": random.choice((0, 500, 900))}
    domain.setBlockIoTune(random.choice(("vda", "vdb")), limits, random.choice((CONFIG, LIVE)))


EDITS: dict[str, Edit] = {
    "attach": attach,
    "detach": detach,
    "tune": tune,
    "metadata": metadata,
    "rename": rename,
    "autostart": lambda domain, random: domain.setAutostart(random.randrange(2)),
    "title": lambda domain, random: domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_TITLE, random.choice(("mine", None)), None, None, CONFIG
    ),
    "setmem": lambda domain, random: domain.setMemoryFlags(random.choice((64, 96)) * 1024, CONFIG),
    "setvcpus": lambda domain, _: domain.setVcpusFlags(2, CONFIG | libvirt.VIR_DOMAIN_VCPU_MAXIMUM),
    "edit": edit(
        ("<vcpu[^>]*>.*?</vcpu>", "<vcpu>3</vcpu>"),
        (r" discard='unmap'", ""),
        (r"cache='writeback'", "cache='none'"),
        (r"<devices>", "<devices><watchdog model='i6300esb' action='reset'/>"),
        (r"<metadata>.*</metadata>", ""),
        (r"<rng .*?</rng>", ""),
    ),
    "start": lambda domain, _: domain.create(),
    "destroy": lambda domain, _: domain.destroy(),
    "undefine": lambda domain, _: domain.undefine(),
    "managedsave": save,
    "managedsave-remove": lambda domain, _: domain.managedSaveRemove(0),
}


def one_of(connection: libvirt.virConnect, name: str) -> libvirt.virDomain | None:
    found = [domain for domain in connection.listAllDomains() if domain.name().startswith(name)]
    return found[0] if found else None


def size_of(fleet: Fleet) -> dict[str, Any]:
    """All that might grow."""
    mine = [domain for domain in fleet.connection.listAllDomains() if domain.name().startswith(fleet.name)]
    marks = (re.search("<virtrbd:domain.*</virtrbd:domain>", fleet.xml(d.name()), re.DOTALL) for d in mine)
    images = sorted(image for image in rbd.RBD().list(fleet.vms) if image.startswith(fleet.name))
    files = [str(file) for room in (fleet.state, fleet.folder / "cache") for file in room.rglob("*") if file.is_file()]
    return {
        "domains": sorted(domain.name() for domain in mine),
        "metadata": [len(mark[0]) if mark else 0 for mark in marks],
        "secrets": fleet.connection.numOfSecrets(),
        "images": images,
        "image metadata": [image_metadata(fleet, image) for image in images],
        "trash": len(list(rbd.RBD().trash_list(fleet.vms))),
        "files": sorted(file for file in files if not file.endswith("/reconcile/told")),
        "told": StateDir(str(fleet.state)).read_reported(),
    }


def image_metadata(fleet: Fleet, name: str) -> list[str]:
    """Without the one trace that a start leaves for good, also a start by hand that reconcile found."""
    with rbd.Image(fleet.vms, name, read_only=True) as image:
        return sorted(key for key, _ in image.metadata_list() if key != LAST_RUN)


def tidy(connection: libvirt.virConnect, name: str) -> None:
    """What a person does at the end: takes away what is foreign, and resumes or wakes what sleeps."""
    for domain in connection.listAllDomains():
        if not domain.name().startswith(name):
            continue
        is_persistent = domain.isPersistent()
        if domain.isActive():
            domain.destroy()
        # Undefined while it ran, it is gone now.
        if not is_persistent:
            continue
        if domain.hasManagedSaveImage():
            domain.managedSaveRemove(0)
        if domain.name().endswith("x"):
            domain.rename(domain.name().removesuffix("x"))
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        connection.defineXML(re.sub(BY_HAND, "", xml, flags=re.DOTALL))
        with suppress(libvirt.libvirtError):
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, "s", FOREIGN, CONFIG)


def edit_beside_reconcile(fleet: Fleet, names: list[str], cycles: int, dice: random.Random) -> Counter[str]:
    """Run the cycles: edits by hand while a reconcile is at work. Return how often each was done.

    Each cycle tries a kind first that was not done yet: some need another before them, a detach an attach.
    """
    done: Counter[str] = Counter()
    for cycle in range(cycles):
        with fleet.start("reconcile") as run:
            undone = [kind for kind in EDITS if not done[kind]]
            for kind in [dice.choice(undone or list(EDITS)), *dice.choices(list(EDITS), k=dice.randrange(3))]:
                done[kind] += edited(fleet, kind, names, dice)
            out, err = run.communicate(timeout=50)
        assert run.returncode in WELL, (cycle, run.returncode, out, err)
        assert "Traceback" not in err, (cycle, err)
    return done


def edited(fleet: Fleet, kind: str, names: list[str], dice: random.Random) -> bool:
    """Do the edit to one of the domains, any that it fits: what libvirt refuses is no edit."""
    for name in dice.sample(names, len(names)):
        if domain := one_of(fleet.connection, name):
            with suppress(libvirt.libvirtError):
                EDITS[kind](domain, dice)
                return True
    return False


def soak(fleet: Fleet, cycles: int, seed: int) -> Counter[str]:
    dice = random.Random(seed)
    names = [fleet.spec(letter, text) for letter, text in zip("abc", (RUNNING, SHUT_OFF, UNMANAGED), strict=True)]
    fleet.converges()
    tidy(fleet.connection, fleet.name)
    fleet.converges()
    before = size_of(fleet)
    content = {image: dice.randbytes(4096) for image in before["images"]}
    for image, data in content.items():
        with rbd.Image(fleet.vms, image) as opened:
            opened.write(data, 0)
    done = edit_beside_reconcile(fleet, names, cycles, dice)
    tidy(fleet.connection, fleet.name)
    # Who edits the metadata away makes the domain his own: it is taken over by name.
    ended = fleet.reconcile("--allow", "takes-over")
    assert ended.code == 0, ended
    tidy(fleet.connection, fleet.name)
    fleet.converges()
    planned = fleet.run("plan")
    assert (planned.code, planned.out) == (0, "3 domains, 0 actions\n"), planned
    assert size_of(fleet) == before
    for image, data in content.items():
        with rbd.Image(fleet.vms, image, read_only=True) as opened:
            assert opened.read(0, 4096) == data, image
    return done


@pytest.mark.timeout(300)
def test_a_soak_of_edits_by_hand_ends_in_sync_and_nothing_grows(
    fleet: Fleet, make_host: Callable[[str], LabHost], request: pytest.FixtureRequest
) -> None:
    """Half of the cycles on each host, side by side."""
    cycles, seed = request.config.getoption("--soak-cycles"), request.config.getoption("--soak-seed")
    seed = seed or random.randrange(10**6)
    print(f"--soak-seed {seed}")
    second = make_host("kvm-2")
    with fleet_on(second.env(), second.folder) as other, ThreadPoolExecutor(2) as pool:
        halves = [pool.submit(soak, each, cycles // 2, seed + n) for n, each in enumerate((fleet, other))]
        done = sum((half.result() for half in halves), Counter())
    print(dict(done))
    assert cycles < 100 or all(done[kind] for kind in EDITS), done
