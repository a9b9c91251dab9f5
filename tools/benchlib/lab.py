"""The lab that is measured on."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
LAB = str(CHECKOUT / "tools/lab")
PYTHON = str(CHECKOUT / ".venv/bin/python3")


class BenchError(Exception):
    """It could not be measured; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host of the lab, with the environment that its commands run in."""

    environment: Mapping[str, str]
    folder: Path
    user: str = "virtrbd"

    @property
    def uri(self) -> str:
        return self.environment["LIBVIRT_DEFAULT_URI"]

    @property
    def ceph_conf(self) -> str:
        return self.environment["CEPH_CONF"]

    def run(self, argv: Sequence[str], *, timeout_s: float = 60) -> str:
        """Run a command and return its output. Raises BenchError unless it ends with 0, in time."""
        try:
            done = subprocess.run(
                argv, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{shlex.join(argv)}: no end within {timeout_s:g} s") from None
        if done.returncode:
            raise BenchError(f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def bring_up(folder: Path) -> Host:
    """Return the lab's first host, brought up when it is not. Raises BenchError."""
    here = Host(environment=dict(os.environ), folder=folder)
    compiled(CHECKOUT)
    if subprocess.run([LAB, "status"], capture_output=True, check=False).returncode:
        here.run([LAB, "up"])
    exported = dict(
        shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in here.run([LAB, "env"]).splitlines()
    )
    return Host(environment={**os.environ, **exported}, folder=folder)


def compiled(checkout: Path) -> None:
    """Leave a checkout as pip leaves what it installs. Raises BenchError.

    Where PYTHONDONTWRITEBYTECODE is set, it would be compiled at every start.
    """
    folders = [str(checkout / "virtrbd"), str(checkout / "templates")]
    here = Host(environment=dict(os.environ), folder=checkout)
    here.run([str(checkout / ".venv/bin/python3"), "-m", "compileall", "-q", *folders])
