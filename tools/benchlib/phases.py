"""A no-change reconcile in this process, with the time at each step of its way.

Usage: phases.py BEGUN_AT DIR. BEGUN_AT is time.monotonic() of whoever starts it. Prints JSON: the seconds of each
phase, of the two reads that go on beside each other, and the peak of memory in bytes.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

MARKS = [("", float(sys.argv[1])), ("start Python", time.monotonic())]
BESIDE: dict[str, float] = {}


def main(folder: str) -> None:
    """Run it."""
    from virtrbd.ceph import header_batch, named_images  # noqa: F401 - they are imported here to be counted as imports
    from virtrbd.commands import app, reconcile  # noqa: F401
    from virtrbd.commands.connected import host, specs  # noqa: F401
    from virtrbd.commands.output import reporter  # noqa: F401
    from virtrbd.engine import converge, observe
    from virtrbd.hypervisor import connection  # noqa: F401
    from virtrbd.local import state_dir  # noqa: F401
    from virtrbd.specs import directory

    mark("imports")
    at_its_end(directory, "load_fleet", "settings and specs")
    at_its_begin(converge, "converge", "connect")
    at_its_end(converge, "observe", "read libvirt and Ceph")
    at_its_end(converge, "make_plan", "plan")
    timed(observe, "_read_hypervisor", "- of it libvirt")
    timed(observe, "_read_cluster", "- beside it Ceph")
    vars(app)["leave"] = leave
    sys.argv = ["virtrbd", "reconcile", folder]
    app.run_app()


def mark(phase: str) -> None:
    """A phase has ended."""
    MARKS.append((phase, time.monotonic()))


def at_its_begin(module: Any, name: str, phase: str) -> None:
    """The phase ends when the function is called."""
    whole = getattr(module, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        mark(phase)
        return whole(*args, **named)

    setattr(module, name, wrapped)


def at_its_end(module: Any, name: str, phase: str) -> None:
    """The phase ends when the function returns."""
    whole = getattr(module, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        found = whole(*args, **named)
        mark(phase)
        return found

    setattr(module, name, wrapped)


def timed(module: Any, name: str, phase: str) -> None:
    """The phase is what the function takes, beside others."""
    whole: Callable[..., Any] = getattr(module, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        begun_at = time.monotonic()
        found = whole(*args, **named)
        BESIDE[phase] = time.monotonic() - begun_at
        return found

    setattr(module, name, wrapped)


def leave(code: int) -> NoReturn:
    """Print what was measured, and end."""
    mark("disconnect")
    seconds = {phase: end - begin for (_, begin), (phase, end) in pairwise(MARKS)}
    print(json.dumps({"code": code, "seconds": seconds, "beside": BESIDE, "peak_bytes": peak_bytes()}), flush=True)
    os._exit(code)


def peak_bytes() -> int:
    """Return the most memory that this process has had. Not ru_maxrss, which exec takes over from the parent."""
    [kib] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib) * 1024


main(sys.argv[2])
