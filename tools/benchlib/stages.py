"""Load, resolve and render of the specs in a folder, measured in this one process.

Usage: stages.py FOLDER FEW RUNS. Prints JSON: the CPU seconds of each stage in each run, and the memory that the first
run took at its peak beyond what the specs in FEW had taken before it.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from itertools import pairwise
from pathlib import Path

from virtrbd.domainxml.render import render
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.settings import Settings
from virtrbd.specs.load import load
from virtrbd.specs.resolve import resolve

STAGES = ("load", "resolve", "render")
SETTINGS = Settings(host="kvm-1")
CLUSTER = ClusterFacts(
    fsid="b370290b-7470-525e-9051-f8ab7b076b1c",
    monitors=tuple(Monitor(address=f"10.0.0.{number}") for number in (1, 2, 3)),
    user="virtrbd",
)
SECRET_UUID = "b370290b-7470-525e-9051-f8ab7b076b1c"


def main(folder: str, few: str, runs: str) -> None:
    """Measure and print."""
    seconds_of(few)  # what is made once: imports, compiled templates
    before = peak_bytes()
    times = [seconds_of(folder)]
    grown = peak_bytes() - before
    times += [seconds_of(folder) for _ in range(int(runs) - 1)]
    print(json.dumps({"seconds": times, "grown_bytes": grown}))


def seconds_of(folder: str) -> dict[str, float]:
    """Return the CPU seconds of each stage. CPU time: what else the machine does meanwhile is not virtrbd's."""
    gc.collect()
    marks = [time.process_time()]
    loaded = load([folder], SETTINGS)
    marks.append(time.process_time())
    domains = resolve(loaded, SETTINGS)
    marks.append(time.process_time())
    for domain in domains:
        rendered(domain)
    marks.append(time.process_time())
    return {stage: end - begin for stage, (begin, end) in zip(STAGES, pairwise(marks), strict=True)}


def rendered(domain: Domain) -> str:
    """Return the domain's XML."""
    return render(Fitted(domain=domain), CLUSTER, SECRET_UUID).text


def peak_bytes() -> int:
    """Return the most memory that this process has had so far. Not ru_maxrss, which exec takes over from the parent."""
    [kib] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib) * 1024


main(*sys.argv[1:])
