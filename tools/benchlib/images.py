"""How long virtrbd's work on images takes, beside the commands that people use for the same."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchlib.importing import Fact, Source, make_sources, measure_importing
from benchlib.lab import CHECKOUT, LAB, Host

PYTHON = str(CHECKOUT / ".venv/bin/python3")
VIRTRBD = str(CHECKOUT / ".venv/bin/virtrbd")
NAMESPACE = str(CHECKOUT / "tools/benchlib/namespace.py")

POOL = "vms"
FEW, MANY, CLONES = 200, 1000, 50
# What takes long is not repeated for ever: a row ends after so many seconds, with two runs at least.
ROW_TAKES_S = 40.0
LEAST_RUNS = 2
COMMAND_TAKES_S = 300.0

Commands = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Commands that do the same; virtrbd takes at most `limit` times as long (None: nothing is expected)."""

    name: str
    commands: Commands
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One thing to do, by virtrbd and by its peers; `clean` takes away what either made."""

    name: str
    command: Sequence[str]
    peers: Sequence[Peer]
    clean: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job in a room, virtrbd beside one peer."""

    room: str
    job: str
    runs: int
    median_s: float
    peer: str
    peer_s: float
    limit: float | None

    @property
    def ratio(self) -> float:
        return self.median_s / self.peer_s

    @property
    def is_met(self) -> bool | None:
        """Whether the expectation holds, None where there is none."""
        return None if self.limit is None else self.ratio <= self.limit

    def as_data(self) -> dict[str, object]:
        """Return the row for programs; times in milliseconds."""
        return {
            "room": self.room,
            "name": self.job,
            "runs": self.runs,
            "median_ms": round(self.median_s * 1000, 1),
            "peer": self.peer,
            "peer_median_ms": round(self.peer_s * 1000, 1),
            "ratio": round(self.ratio, 3),
            "expected_at_most": self.limit,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        times = [f"{seconds * 1000:.0f} ms" for seconds in (self.median_s, self.peer_s)]
        expected = "" if self.limit is None else f"<= {self.limit:g}"
        word = {None: "", True: "met", False: "MISSED"}[self.is_met]
        return (
            f"{self.job}, {self.room}",
            str(self.runs),
            times[0],
            self.peer,
            times[1],
            f"{self.ratio:.2f}",
            expected,
            word,
        )


TITLES = ("VIRTRBD", "RUNS", "MEDIAN", "BESIDE", "MEDIAN", "RATIO", "EXPECTED", "")


def measure_images(host: Host, runs: int, latency_ms: float) -> tuple[list[Row], list[Fact]]:
    """Return the rows of both rooms, as the lab is and with each message to the OSD delayed, and what imports take."""
    rows: list[Row] = []
    sources = make_sources(host)
    with namespace(host, FEW) as few, namespace(host, MANY) as many, namespace(host, 0) as own:
        make_golden(host, own)
        facts = measure_importing(host, sources, own)
        for latency, room in ((0.0, "loopback"), (latency_ms, f"{latency_ms:g} ms")):
            with latency_of(host, latency):
                for job in jobs(host, sources[0], few, many, own, is_far=latency > 0):
                    rows += measure_job(host, job, room, runs)
    return rows, facts


def jobs(host: Host, source: Source, few: str, many: str, own: str, *, is_far: bool) -> list[Job]:
    """Return what is measured. Against the plain convert only latency counts: it waits for each write. What an import
    does besides, a check and Python's start, counts for less with latency."""
    return [
        import_job(host, source, own, is_far=is_far),
        *(
            Job(
                name=f"list of {count}",
                command=(VIRTRBD, "image", "list", f"{POOL}/{space}"),
                peers=[Peer(name="rbd ls -l", commands=[("rbd", "ls", "-l", f"{POOL}/{space}")], limit=limit)],
            )
            for count, space, limit in ((FEW, few, 0.45), (MANY, many, 0.2))
        ),
        Job(
            name=f"usage of {FEW}",
            command=(VIRTRBD, "image", "usage", f"{POOL}/{few}"),
            peers=[Peer(name="rbd du", commands=[("rbd", "du", "-p", POOL, "--namespace", few)], limit=0.8)],
        ),
        clone_job(host, own),
    ]


def import_job(host: Host, source: Source, own: str, *, is_far: bool) -> Job:
    """Return the import of a qcow2; who names the target to be zero has to make it before."""
    image = f"{POOL}/{own}/imported"
    file, target = str(source.file), f"rbd:{image}:id={host.user}:conf={host.ceph_conf}"
    fastest = ("qemu-img", "convert", "-n", "--target-is-zero", "-W", "-m", "16", "-O", "raw", file, target)
    create = ("rbd", "create", "--size", f"{source.size_bytes // 1024**2}M", image)
    return Job(
        name=f"import of {source.name}",
        command=(VIRTRBD, "image", "import", file, image),
        peers=[
            Peer(
                name="rbd create, convert -n --target-is-zero -W -m 16",
                commands=[create, fastest],
                limit=1.15 if is_far else 1.25,
            ),
            Peer(
                name="qemu-img convert",
                commands=[("qemu-img", "convert", "-O", "raw", file, target)],
                limit=0.6 if is_far else None,
            ),
        ],
        clean=lambda: host.run(["rbd", "rm", "--no-progress", image]),
    )


def clone_job(host: Host, own: str) -> Job:
    """Return the making of many clones, which virtrbd marks as this host's too."""
    snapshot = f"{POOL}/{own}/golden@v1"
    loop = f'for number in $(seq {CLONES}); do rbd clone {snapshot} "{POOL}/{own}/clone-$number" || exit; done'
    return Job(
        name=f"{CLONES} clones",
        command=(VIRTRBD, "image", "clone", snapshot, *(f"{POOL}/{own}/clone-{n}" for n in range(1, CLONES + 1))),
        peers=[Peer(name="loop of rbd clone", commands=[("sh", "-c", loop)], limit=0.5)],
        clean=lambda: edit_namespace(host, "remove", own, "clone-"),
    )


def measure_job(host: Host, job: Job, room: str, runs: int) -> list[Row]:
    """Measure virtrbd and its peers in turn: what disturbs one of them then disturbs all."""
    contenders = {"": [job.command], **{peer.name: peer.commands for peer in job.peers}}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    begun_at = time.monotonic()
    for number in range(runs):
        if number >= LEAST_RUNS and time.monotonic() > begun_at + ROW_TAKES_S:
            break
        for name, commands in contenders.items():
            times[name].append(timed(host, commands))
            job.clean()
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return [
        Row(
            room=room,
            job=job.name,
            runs=len(times[""]),
            median_s=medians[""],
            peer=peer.name,
            peer_s=medians[peer.name],
            limit=peer.limit,
        )
        for peer in job.peers
    ]


def timed(host: Host, commands: Commands) -> float:
    """Return how long the commands take, one after the other."""
    begun_at = time.perf_counter()
    for argv in commands:
        host.run(argv, timeout_s=COMMAND_TAKES_S)
    return time.perf_counter() - begun_at


@contextmanager
def namespace(host: Host, count: int) -> Iterator[str]:
    """Make a namespace with so many images, and leave nothing of it behind."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    try:
        edit_namespace(host, "make", name, str(count))
        yield name
    finally:
        edit_namespace(host, "remove", name)


def edit_namespace(host: Host, verb: str, name: str, *rest: str) -> None:
    """Make images in a namespace, or remove them."""
    words = [verb, host.ceph_conf, host.user, POOL, name, *rest]
    host.run([PYTHON, NAMESPACE, *words], timeout_s=COMMAND_TAKES_S)


def make_golden(host: Host, own: str) -> None:
    """Make the image that is cloned, with the protected snapshot that clones of any format need."""
    image = f"{POOL}/{own}/golden"
    host.run(["rbd", "create", "--size", "1G", image])
    host.run(["rbd", "snap", "create", "--no-progress", f"{image}@v1"])
    host.run(["rbd", "snap", "protect", f"{image}@v1"])


@contextmanager
def latency_of(host: Host, milliseconds: float) -> Iterator[None]:
    """Delay every message to the OSD, and end that whatever happens."""
    try:
        host.run([LAB, "up", "--latency", f"{milliseconds:g}"])
        yield
    finally:
        host.run([LAB, "up", "--latency", "0"])
