"""A run that finds all in order is quick: it imports nothing that parses or renders."""

import json
import sys

import pytest
from support.lab import LabHost

PROBE = """
import json, os, sys
def leave(code):
    sys.stderr.write("\\n" + json.dumps({"code": code, "modules": sorted(sys.modules)}))
    sys.stderr.flush()
    sys.exit(code)
os._exit = leave
sys.argv = ["virtrbd", *sys.argv[1:]]
from virtrbd.__main__ import main
main()
"""
HEAVY = {"jinja2", "lxml", "prometheus_client", "pydantic", "subprocess", "yaml"}


def heavy_imports(host: LabHost, *words: str) -> set[str]:
    """Run a verb and return which of the heavy modules it imported."""
    done = host.run(sys.executable, "-c", PROBE, *words)
    facts = json.loads(done.stderr.splitlines()[-1])
    assert facts["code"] == 0, done.stderr
    return HEAVY & set(facts["modules"])


# Runs beside it write what they found in order to the same file: what is lost there costs a run its time.
@pytest.mark.alone
def test_a_run_that_finds_all_in_order_imports_nothing_that_parses_or_renders(host: LabHost, name: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    assert heavy_imports(host, "reconcile", spec) >= {"jinja2", "lxml", "pydantic", "yaml"}, "it made the domain"
    assert heavy_imports(host, "reconcile", spec) == set()
    # Changed by somebody else: it is looked at again, and nothing stays remembered of how it was.
    host.ok("virsh", "desc", name, "--config", "--title", "edited")
    assert "lxml" in heavy_imports(host, "reconcile", spec)
