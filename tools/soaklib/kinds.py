"""The verbs that write: what is there before, the command, and when its work is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import libvirt
import rbd
from support.worlds import MIB, LabWorld, Sources

SMALL = 8 * MIB
LARGER = 2 * SMALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One command of one kind, with names of its own; `kept` is data by image that must never be lost."""

    world: LabWorld
    sources: Sources
    name: str
    kept: dict[str, bytes] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return f"vms/{self.name}.a"

    def filled(self, name: str, size: int = SMALL) -> None:
        """Make an image by virtrbd that holds data which is to be kept."""
        self.world.ok("image", "create", f"vms/{name}", f"{size // MIB}M")
        data = os.urandom(MIB)
        with rbd.Image(self.world.vms, name) as opened:
            opened.write(data, 0)
        self.kept[name] = data

    def spec(self, text: str) -> str:
        return self.world.host.spec(self.name, text)

    def is_listed(self, name: str) -> bool:
        return name in rbd.RBD().list(self.world.vms)

    def is_in_trash(self, name: str) -> bool:
        return any(entry["name"] == name for entry in rbd.RBD().trash_list(self.world.vms))

    def holds(self, name: str, content: bytes) -> str:
        """Return "" when the image is ready and holds this at its beginning, else the fact."""
        if not self.is_listed(name):
            return f"{name} is not there"
        if (state := self.world.image(name)["state"]) != "ready":
            return f"{name} is {state}"
        with rbd.Image(self.world.vms, name, read_only=True) as opened:
            is_so = opened.read(0, len(content)) == content
        return "" if is_so else f"{name} does not hold what it is to hold"

    def domain(self) -> libvirt.virDomain | None:
        try:
            return self.world.libvirt.lookupByName(self.name)
        except libvirt.libvirtError:
            return None


def nothing(_trial: Trial) -> None:
    """There is nothing before."""


Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A verb: `begin` makes what is there before, `lacks` says what its work still lacks, "" at its end.

    `then` are commands that the documentation names for a killed one, after it was run again. `takes_stdin`: the file
    comes through a pipe.
    """

    name: str
    words: Callable[[Trial], Words]
    lacks: Callable[[Trial], str]
    begin: Callable[[Trial], None] = nothing
    then: tuple[Words, ...] = ()
    takes_stdin: bool = False


DISKS = "disks:\n  - size: 8M\n  - clone: {snapshot}\n  - import: {file}\ncloud_init: {{user_data: {{}}}}\n"
ONE_DISK = "disks:\n  - size: 8M\n"
GROWN = "title: grown\ndisks:\n  - size: 16M\n  - clone: {snapshot}\n"
RETIRES = ("--allow", "interrupts-guest,forgets-domain,loses-data")


def filled(trial: Trial, text: str) -> str:
    return text.format(snapshot=trial.sources.snapshot, file=trial.sources.file)


def of_source(trial: Trial, *letters: str) -> str:
    found = (trial.holds(f"{trial.name}.{letter}", trial.sources.snapshot_content) for letter in letters)
    return next(filter(None, found), "")


def of_file(trial: Trial) -> str:
    return trial.holds(f"{trial.name}.a", trial.sources.file_content)


def clones(trial: Trial) -> str:
    return of_source(trial, "a", "b", "c") or next(
        (
            f"{trial.name}.{letter} has no parent"
            for letter in "abc"
            if trial.world.image(f"{trial.name}.{letter}")["parents"] != [trial.sources.snapshot]
        ),
        "",
    )


def sized(trial: Trial, wanted: int) -> str:
    if not trial.is_listed(f"{trial.name}.a"):
        return "it is not there"
    found = trial.world.image(f"{trial.name}.a")
    if found["state"] != "ready":
        return f"it is {found['state']}"
    return "" if found["size_bytes"] == wanted else f"it has {found['size_bytes']} bytes"


def snapshots(trial: Trial) -> list[str]:
    with rbd.Image(trial.world.vms, f"{trial.name}.a", read_only=True) as opened:
        made = [each["name"] for each in opened.list_snaps() if each["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]
        return [name for name in made if opened.is_protected_snap(name)]


def with_snapshot(trial: Trial) -> None:
    trial.filled(f"{trial.name}.a")
    trial.world.ok("image", "snapshot", "create", "--protect", f"{trial.image}@s")


def written_since(trial: Trial) -> None:
    with_snapshot(trial)
    with rbd.Image(trial.world.vms, f"{trial.name}.a") as opened:
        opened.write(os.urandom(SMALL), 0)


def rolled_back(trial: Trial) -> str:
    return trial.holds(f"{trial.name}.a", trial.kept[f"{trial.name}.a"])


def a_clone(trial: Trial) -> None:
    trial.world.ok("image", "clone", trial.sources.snapshot, trial.image)


def flattened(trial: Trial) -> str:
    if fact := of_source(trial, "a"):
        return fact
    found = trial.world.image(f"{trial.name}.a")
    return "it has a parent" if found["parents"] else "its object map is invalid" if found["flags"] else ""


def trashed(trial: Trial) -> None:
    trial.filled(f"{trial.name}.a")
    rbd.RBD().trash_move(trial.world.vms, f"{trial.name}.a", 3600)


def due(trial: Trial) -> None:
    trial.filled(f"{trial.name}.a")
    rbd.RBD().trash_move(trial.world.vms, f"{trial.name}.a", 0)
    trial.kept.clear()


def to_be_gone(trial: Trial) -> None:
    with_snapshot(trial)
    trial.kept.clear()


def is_gone(trial: Trial) -> str:
    is_there = trial.is_listed(f"{trial.name}.a") or trial.is_in_trash(f"{trial.name}.a")
    return "it is still there" if is_there else ""


def is_trashed(trial: Trial) -> str:
    if trial.is_listed(f"{trial.name}.a"):
        return "it is listed"
    return "" if trial.is_in_trash(f"{trial.name}.a") else "it is not in the trash"


def exported(trial: Trial) -> str:
    folder = trial.world.host.folder
    file = folder / f"{trial.name}.raw"
    if not file.exists():
        return "there is no file"
    return "" if file.read_bytes() == trial.sources.snapshot_content else "the file is not the image"


def define(trial: Trial, text: str) -> Words:
    return ("define", trial.spec(filled(trial, text)))


def defined(text: str) -> Callable[[Trial], None]:
    def begin(trial: Trial) -> None:
        trial.world.ok(*define(trial, text))
        image = f"{trial.name}.vda"
        with rbd.Image(trial.world.vms, image) as opened:
            trial.kept[image] = os.urandom(MIB)
            opened.write(trial.kept[image], 0)

    return begin


def in_sync(trial: Trial, text: str) -> str:
    planned = trial.world.virtrbd("plan", trial.spec(filled(trial, text)))
    return "" if planned.returncode == 0 else f"plan: {planned.stdout}{planned.stderr}"


def made(trial: Trial) -> str:
    return (
        in_sync(trial, DISKS)
        or trial.holds(f"{trial.name}.vdb", trial.sources.snapshot_content)
        or trial.holds(f"{trial.name}.vdc", trial.sources.file_content)
    )


def started(trial: Trial) -> None:
    defined(ONE_DISK)(trial)
    trial.world.ok("start", trial.name)


def power(trial: Trial, *, wanted: bool) -> str:
    domain = trial.domain()
    is_so = domain is not None and bool(domain.isActive()) == wanted
    return "" if is_so else f"the domain is {'off' if wanted else 'on'}, or gone"


def forgotten(trial: Trial) -> str:
    if trial.domain() is not None:
        return "the domain is there"
    return "its image is listed" if trial.is_listed(f"{trial.name}.vda") else ""


PURGE = (("image", "trash", "purge"),)

KINDS = (
    Kind(name="create", words=lambda t: ("image", "create", t.image, "8M"), lacks=lambda t: sized(t, SMALL)),
    Kind(
        name="clone",
        words=lambda t: ("image", "clone", t.sources.snapshot, *(f"vms/{t.name}.{each}" for each in "abc")),
        lacks=clones,
    ),
    Kind(name="import", words=lambda t: ("image", "import", str(t.sources.file), t.image), lacks=of_file),
    Kind(name="import -", words=lambda t: ("image", "import", "-", t.image), lacks=of_file, takes_stdin=True),
    Kind(
        name="import --as-base",
        words=lambda t: ("image", "import", "--as-base", str(t.sources.file), f"{t.image}@v1"),
        lacks=lambda t: of_file(t) or ("" if snapshots(t) == ["v1"] else "it has no base"),
    ),
    Kind(
        name="copy", words=lambda t: ("image", "copy", t.sources.snapshot, t.image), lacks=lambda t: of_source(t, "a")
    ),
    Kind(name="export", words=lambda t: ("image", "export", t.sources.snapshot, f"{t.name}.raw"), lacks=exported),
    Kind(
        name="resize",
        begin=lambda t: t.filled(f"{t.name}.a"),
        words=lambda t: ("image", "resize", t.image, "16M"),
        lacks=lambda t: sized(t, LARGER),
    ),
    Kind(
        name="snapshot create",
        begin=lambda t: t.filled(f"{t.name}.a"),
        words=lambda t: ("image", "snapshot", "create", "--protect", f"{t.image}@s"),
        lacks=lambda t: "" if snapshots(t) == ["s"] else "it is not there, or not protected",
    ),
    Kind(
        name="snapshot rollback",
        begin=written_since,
        words=lambda t: ("image", "snapshot", "rollback", "--allow", "loses-data", f"{t.image}@s"),
        lacks=rolled_back,
    ),
    Kind(
        name="snapshot remove",
        begin=with_snapshot,
        words=lambda t: ("image", "snapshot", "remove", "--clear", f"{t.image}@s"),
        lacks=lambda t: "it is there" if snapshots(t) or t.world.image(f"{t.name}.a")["snapshots"] else "",
    ),
    Kind(name="flatten", begin=a_clone, words=lambda t: ("image", "flatten", t.image), lacks=flattened),
    Kind(
        name="remove", begin=lambda t: t.filled(f"{t.name}.a"), words=lambda t: ("image", "remove", t.image),
        lacks=is_trashed,
    ),
    Kind(
        name="remove --now",
        begin=to_be_gone,
        words=lambda t: ("image", "remove", "--now", "--clear", "--allow", "loses-data", t.image),
        lacks=is_gone,
        then=PURGE,
    ),
    Kind(name="trash purge", begin=due, words=lambda _: PURGE[0], lacks=is_gone),
    Kind(
        name="restore",
        begin=trashed,
        words=lambda t: ("image", "restore", t.image),
        lacks=lambda t: "" if t.is_listed(f"{t.name}.a") and not t.is_in_trash(f"{t.name}.a") else "it is not back",
    ),
    Kind(name="define", words=lambda t: define(t, DISKS), lacks=made),
    Kind(
        name="define, grown", begin=defined(ONE_DISK), words=lambda t: define(t, GROWN),
        lacks=lambda t: in_sync(t, GROWN),
    ),
    Kind(
        name="start", begin=defined(ONE_DISK), words=lambda t: ("start", t.name), lacks=lambda t: power(t, wanted=True)
    ),
    Kind(
        name="destroy",
        begin=started,
        words=lambda t: ("destroy", "--allow", "interrupts-guest", t.name),
        lacks=lambda t: power(t, wanted=False),
    ),
    Kind(
        name="undefine",
        begin=defined(ONE_DISK),
        words=lambda t: ("undefine", "--trash-images", *RETIRES, t.name),
        lacks=forgotten,
    ),
    Kind(
        name="retire", begin=defined(ONE_DISK), words=lambda t: ("remove", *RETIRES, t.name), lacks=forgotten
    ),
)  # fmt: skip
