"""Targets under atheris, each in a process of its own: libFuzzer ends the process that it runs in.

They are forked from one that has imported and instrumented virtrbd, which takes longer than many a share of the time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import atheris

from fuzzlib.findings import Kind, keep, kind_of
from fuzzlib.target import Mutate, Target, finding

# What one input may take; more is a finding. A slow machine beside other work takes ten times what it should.
INPUT_TIMEOUT_S = 20
MEMORY_MB = 2048
_FINDING = "finding: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of one target: how much was tried, the lines on its findings, and how its process ended."""

    name: str
    tried: str
    findings: tuple[str, ...]
    exit_status: int
    last_lines: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many findings; a process that ended without one could not even begin."""
        return len(self.findings) or int(self.exit_status != 0)


def load_targets() -> Mapping[str, Target]:
    """Return the targets, with all of virtrbd instrumented: what is imported later is not watched."""
    with _silent(), atheris.instrument_imports(include=["virtrbd"]):
        import virtrbd

        for module in pkgutil.walk_packages(virtrbd.__path__, "virtrbd."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    from fuzzlib.table import TARGETS

    return TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long each target is tried, how many at a time, from which seed (0 draws one), and where all is kept."""

    seconds: int
    jobs: int
    seed: int
    folder: Path


def run_targets(targets: Sequence[Target], effort: Effort) -> Iterator[Ending]:
    """Yield what became of each target, as it ends."""
    waiting, running = list(targets), dict[int, Target]()
    # libFuzzer leaves at once, so what a child writes for an input stays behind it.
    with tempfile.TemporaryDirectory(prefix="virtrbd-fuzz-") as scratch:
        tempfile.tempdir = scratch
        try:
            while waiting or running:
                while waiting and len(running) < effort.jobs:
                    target = waiting.pop(0)
                    running[_started(target, effort)] = target
                pid, status = os.wait()
                if pid in running:
                    yield _ending(running.pop(pid), os.waitstatus_to_exitcode(status), effort.folder)
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            tempfile.tempdir = None


def _started(target: Target, effort: Effort) -> int:
    log = _log(target, effort.folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    if pid := os.fork():
        return pid
    # The child never comes back from here.
    try:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        _fuzz_one(target, effort)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _fuzz_one(target: Target, effort: Effort) -> None:
    from fuzzlib.table import seed_folders, seeds_of
    from fuzzlib.world import rendered_once

    findings, corpus = effort.folder / "findings" / target.name, effort.folder / "corpus" / target.name
    for needed in (findings, corpus):
        needed.mkdir(parents=True, exist_ok=True)

    reported: set[Kind] = set()

    def try_one(data: bytes) -> None:
        error = finding(target, data)
        if error is None:
            return
        kind = kind_of(error)
        file = keep(findings, kind, data)
        if kind not in reported:
            print(f"{_FINDING}{target.name}: {kind}; tools/fuzz {target.name} --repeat {file}", flush=True)
            reported.add(kind)

    # A seed that is longer than the rest may be would be cut off.
    largest = max(target.largest, *(seed.stat().st_size for seed in seeds_of(target)))
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        # libFuzzer takes no empty one.
        words.writelines(f'"{_escaped(word)}"\n' for word in target.words or ("\0",))
        words.flush()
        arguments = [
            sys.argv[0],
            str(corpus),
            *map(str, seed_folders(target)),
            f"-max_total_time={effort.seconds}",
            f"-timeout={INPUT_TIMEOUT_S}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-max_len={largest}",
            f"-artifact_prefix={findings}/",
            f"-dict={words.name}",
            f"-seed={effort.seed}",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
        atheris.Setup(arguments, try_one, custom_mutator=_mutator(target.mutate) if target.mutate else None)
        with rendered_once():
            atheris.Fuzz()


def _mutator(mutate: Mutate) -> Callable[[bytes, int, int], bytes]:
    def mutator(data: bytes, largest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.25:
            return bytes(atheris.Mutate(data, largest))
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = mutate(data, chance)
        return data[:largest]

    return mutator


def _ending(target: Target, exit_status: int, folder: Path) -> Ending:
    lines = _log(target, folder).read_text(errors="replace").splitlines()
    tried = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
    found = [line for line in lines if line.startswith(_FINDING)]
    # A hang, a crash of the interpreter, too much memory: libFuzzer ends the process, and keeps the input.
    ends = (line.rpartition("written to ")[2] for line in lines if "Test unit written to " in line)
    found += [f"{_FINDING}{target.name}: the process ended; tools/fuzz {target.name} --repeat {file}" for file in ends]
    return Ending(
        name=target.name, tried=tried, findings=tuple(found), exit_status=exit_status, last_lines=tuple(lines[-40:])
    )


def _log(target: Target, folder: Path) -> Path:
    return folder / "log" / target.name


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep a line for each module that atheris instruments off the terminal."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass"))
