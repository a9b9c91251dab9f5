"""Kills: a command ended at a chosen step or after a random time, run again, and what it left."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import rbd
from support.lab import LabHost
from support.sources import as_disk
from support.worlds import CRASHING, MIB, WHEN, LabWorld, Sources, world_of

from soaklib.kinds import Kind, Trial

# Mostly what nobody can answer to, and some of each that can be.
SIGNALS = (signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What a run that was ended left open is let go of within some seconds, and verbs wait for it by themselves.
MOST_RUNS = 4
ENDS_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a command is ended: by a signal before or after its n-th step, or after so many seconds."""

    number: signal.Signals
    step: int = 0
    when: str = WHEN[0]
    after_s: float = 0.0

    def __str__(self) -> str:
        moment = f"{self.when} step {self.step}" if self.step else f"after {self.after_s:.3f} s"
        return f"{self.number.name} {moment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a killed command left once it was run again: facts, empty where all is well."""

    kind: str
    way: Way
    code: int
    runs: int
    lost: str = ""
    stuck: str = ""
    odd: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How long a whole run of a kind takes, and to how many steps it comes."""

    took_s: float
    steps: int


@contextmanager
def soaking(host: LabHost, folder: Path) -> Iterator[tuple[LabWorld, Sources]]:
    """The world of a host, with a state directory of its own, and what images are made from."""
    with world_of(host) as shared:
        settings = folder / "settings.yaml"
        text = Path(shared.env["VIRTRBD_CONFIG"]).read_text()
        settings.write_text(re.sub(r"state_dir: .*\n", f'state_dir: "{folder}/state"\n', text))
        world = replace(shared, env={**shared.env, "VIRTRBD_CONFIG": str(settings)})
        parent, file = f"soak{uuid.uuid4().hex[:8]}", folder / "disk.raw"
        content, data = random.randbytes(12 * MIB), as_disk(random.randbytes(12 * MIB))
        file.write_bytes(data)
        rbd.RBD().create(world.vms, parent, len(content), order=20, old_format=False)
        with rbd.Image(world.vms, parent) as image:
            image.write(content, 0)
            image.create_snap("v1")
            image.protect_snap("v1")
        try:
            yield world, Sources(snapshot=f"vms/{parent}@v1", snapshot_content=content, file=file, file_content=data)
        finally:
            with rbd.Image(world.vms, parent) as image:
                image.unprotect_snap("v1")
                image.remove_snap("v1")
            rbd.RBD().remove(world.vms, parent)


def begun(trial: Trial, kind: Kind, program: tuple[str, ...]) -> subprocess.Popen[str]:
    file = trial.sources.file if kind.takes_stdin else Path("/dev/null")
    with file.open("rb") as stdin:
        return subprocess.Popen(
            [sys.executable, *program, *kind.words(trial)], env=trial.world.env, cwd=trial.world.host.folder,
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def run(trial: Trial, kind: Kind, way: Way | None = None) -> tuple[int, str, int, float]:
    """Run the command, ended that way; return its exit code, what it said, its steps and how long it took."""
    log = trial.world.host.folder / f"{uuid.uuid4().hex}.steps"
    number = way.number if way else signal.SIGKILL
    crashing = CRASHING.replace("signal.SIGKILL", f"signal.{number.name}")
    stepping = ("-c", crashing, str(way.step if way else 0), way.when if way else WHEN[0], str(log))
    began = time.monotonic()
    with begun(trial, kind, ("-m", "virtrbd") if way and not way.step else stepping) as process:
        try:
            if way and not way.step:
                try:
                    process.wait(way.after_s)
                except subprocess.TimeoutExpired:
                    process.send_signal(way.number)
            out, err = process.communicate(timeout=ENDS_WITHIN_S)
        finally:
            process.kill()
    steps = len(log.read_text().splitlines()) if log.exists() else 0
    log.unlink(missing_ok=True)
    return process.returncode, out + err, steps, time.monotonic() - began


def measure(world: LabWorld, sources: Sources, kind: Kind) -> Measured:
    """Run the command whole, and require that it does its work."""
    trial = Trial(world=world, sources=sources, name=f"k{uuid.uuid4().hex[:10]}")
    kind.begin(trial)
    code, said, steps, took_s = run(trial, kind)
    assert (code, kind.lacks(trial)) == (0, ""), (kind.name, code, said, kind.lacks(trial))
    forget(trial)
    return Measured(took_s=took_s, steps=steps)


def ways(measured: Measured, dice: random.Random) -> Way:
    """Return a way to end a command: half of them at a step, half after a time."""
    number = dice.choice(SIGNALS)
    if measured.steps and dice.random() < 0.5:
        return Way(number=number, step=dice.randint(1, measured.steps), when=dice.choice(WHEN))
    return Way(number=number, after_s=dice.uniform(0.0, measured.took_s * 1.1))


def end(world: LabWorld, sources: Sources, kind: Kind, way: Way) -> Left:
    """End a command, run it again until its work is done, and say what it left."""
    try:
        return _end(world, sources, kind, way)
    except (AssertionError, rbd.Error) as error:
        # What is looked at is in no state to be looked at.
        return Left(kind=kind.name, way=way, code=0, runs=0, odd=f"{type(error).__name__}: {error}")


def _end(world: LabWorld, sources: Sources, kind: Kind, way: Way) -> Left:
    trial = Trial(world=world, sources=sources, name=f"k{uuid.uuid4().hex[:10]}")
    kind.begin(trial)
    code, said, _, _ = run(trial, kind, way)
    # Python's own start answers Ctrl-C with a traceback, before any of virtrbd's is loaded.
    odd = said if ("Traceback" in said and "/virtrbd/" in said) or "this is a bug" in said else ""
    runs, fact, last = 0, fact_of(trial, kind), ""
    while runs < MOST_RUNS and (fact or not runs):
        _, last, _, _ = run(trial, kind)
        runs += 1
        if fact := fact_of(trial, kind):
            for words in kind.then:
                trial.world.virtrbd(*words)
            fact = fact_of(trial, kind)
    lost = "; ".join(what for name, data in trial.kept.items() if (what := lacking(trial, name, data)))
    if not (fact or lost):
        forget(trial)
    return Left(
        kind=kind.name, way=way, code=code, runs=runs, lost=lost, odd=odd, stuck=f"{fact}: {last}" if fact else ""
    )


def fact_of(trial: Trial, kind: Kind) -> str:
    """Return what the work still lacks; an image without a header can't even be looked at."""
    try:
        return kind.lacks(trial)
    except (KeyError, rbd.Error) as error:
        return f"it cannot be looked at: {type(error).__name__}: {error}"


def lacking(trial: Trial, name: str, data: bytes) -> str:
    """Return what of the data that was written before is not there, in the image or in the trash."""
    [*ids] = [entry["id"] for entry in rbd.RBD().trash_list(trial.world.vms) if entry["name"] == name]
    where = {"name": name} if trial.is_listed(name) else {"image_id": ids[0]} if ids else {}
    if not where:
        return f"{name} is gone"
    with rbd.Image(trial.world.vms, read_only=True, **where) as opened:
        return "" if opened.read(0, len(data)) == data else f"{name} holds other data"


def forget(trial: Trial) -> None:
    """Take away what the trial made."""
    vms, name = trial.world.vms, trial.name
    for number, entry in enumerate(rbd.RBD().trash_list(vms)):
        if entry["name"].startswith(f"{name}."):
            # What was half-made and made again is both there and in the trash.
            rbd.RBD().trash_restore(vms, entry["id"], f"{name}.trashed{number}")
    for image in trial.world.images(name):
        with rbd.Image(vms, image) as opened:
            for each in opened.list_snaps():
                is_made = each["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
                if is_made and opened.is_protected_snap(each["name"]):
                    opened.unprotect_snap(each["name"])
                opened.remove_snap_by_id(each["id"])
    trial.world.forget(name)


def soak(
    world: LabWorld, sources: Sources, kinds: tuple[Kind, ...], *, kills: int, seed: int, jobs: int
) -> Iterator[Left]:
    """End so many commands, several at a time, and yield what each left."""
    dice = random.Random(seed)
    measured = {kind.name: measure(world, sources, kind) for kind in kinds}
    drawn = [kinds[n % len(kinds)] for n in range(kills)]
    planned = [(kind, ways(measured[kind.name], dice)) for kind in drawn]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda each: end(world, sources, *each), planned)
