"""Domains with one image each on the lab, made by virtrbd itself and swept away whatever happens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchlib.lab import CHECKOUT, PYTHON, Host

VIRTRBD = str(CHECKOUT / ".venv/bin/virtrbd")
SWEEP = str(CHECKOUT / "tools/benchlib/sweep.py")
POOL = "vms"
# Making a thousand domains on a busy machine.
LONG_S = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A directory of specs on a host; all its domains and images begin with `prefix`."""

    host: Host
    specs: Path
    prefix: str
    virtrbd: str

    def name(self, number: int) -> str:
        """Return a domain's name."""
        return f"{self.prefix}{number:04}"

    def write(self, count: int, spec: str) -> None:
        """Write so many specs; `{name}` stands for each one's own."""
        for number in range(count):
            name = self.name(number)
            (self.specs / f"{name}.yaml").write_text(spec.replace("{name}", name))

    def bring_about(self) -> None:
        """Make all that the specs say, and a second time what caches are filled by. Raises BenchError."""
        for _ in range(2):
            self.host.run([self.virtrbd, "reconcile", str(self.specs)], timeout_s=LONG_S)

    def sweep(self) -> None:
        """Remove all domains and images. Raises BenchError."""
        argv = [PYTHON, SWEEP, self.host.uri, self.host.ceph_conf, self.host.user, POOL, self.prefix]
        self.host.run(argv, timeout_s=LONG_S)


@contextmanager
def fleet(host: Host, *, parallel: int, virtrbd: str = VIRTRBD) -> Iterator[Fleet]:
    """Yield a fleet without domains, with settings and a state directory of its own; leave nothing behind."""
    prefix = f"bench-{uuid.uuid4().hex[:6]}-"
    settings, specs = host.folder / f"{prefix}settings.yaml", host.folder / f"{prefix}specs"
    specs.mkdir()
    # JSON is YAML.
    settings.write_text(
        json.dumps(
            {
                "connect": host.uri,
                "host": "bench",
                "state_dir": str(host.folder / f"{prefix}state"),
                "ceph": {"conf": host.ceph_conf, "user": host.user, "pool": POOL},
                "timeouts": {"reconcile": LONG_S},
                "parallel": parallel,
                "defaults": {"hypervisor": "qemu"},
            }
        )
    )
    environment = {**host.environment, "VIRTRBD_CONFIG": str(settings), "XDG_CACHE_HOME": str(host.folder / "cache")}
    made = Fleet(host=replace(host, environment=environment), specs=specs, prefix=prefix, virtrbd=virtrbd)
    try:
        yield made
    finally:
        made.sweep()
