"""Runs that something holds up: a template that loops, a look that hangs. They end, say so, and let go of the lock."""

import fcntl
import json

from support.fleets import DISK, Fleet
from support.web import Handler, serving

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

# virtrbd whose look number COUNT never comes to an end.
HANGING = """
import itertools, time
import virtrbd.engine.converge as converge
import virtrbd.commands.reconcile as reconcile
look, count = converge.look, itertools.count(1)
reconcile._GRACE_S = 1
converge._LAST_LOOK_S = 3
converge.look = lambda *words: time.sleep(60) if next(count) == COUNT else look(*words)
from virtrbd.__main__ import main
main()
"""


def test_a_template_that_loops_fails_its_own_domain(fleet: Fleet) -> None:
    looping, good = fleet.spec("a", f"template: loop.xml.j2\n{DISK}"), fleet.spec("b")
    (fleet.folder / "templates").mkdir()
    (fleet.folder / "templates/loop.xml.j2").write_text(f"\n{LOOP}")
    fleet.set(template_dir=str(fleet.folder / "templates"))
    done = fleet.reconcile()
    assert done.code == 65, done
    assert f"{good}: define domain\n" in done.out
    assert "template loop.xml.j2:2: " in done.err
    assert "not rendered within 10 s; look for a loop that does not end" in done.err
    assert looping not in {found.name() for found in fleet.connection.listAllDomains()}
    assert done.took_s < 50
    (fleet.folder / "templates/loop.xml.j2").write_text('{% extends "domain.xml.j2" %}')
    fleet.converges(f"specs/{looping}.yaml", f"specs/{good}.yaml")


def test_a_file_that_is_never_ready_fails_its_own_domain(fleet: Fleet) -> None:
    def dripping(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.web.released.wait(0.05):
            handler.wfile.write(bytes(8192))

    with serving(None) as web:
        web.answers["/never.raw"] = dripping
        url, checksum = web.url("/never.raw"), f"sha256:{'0' * 64}"
        waiting = fleet.spec("a", f"disks:\n  - import: {url}\n    checksum: {checksum}\n")
        good = fleet.spec("b")
        fleet.set(timeouts="{reconcile: 16}")
        done = fleet.reconcile()
    assert done.code == 69, done
    assert f"{good}: define domain\n" in done.out
    assert done.err.startswith(f"{waiting}: FAILED: ")
    assert f": {url}: not ready in its part of the 16 s of a run; virtrbd plan by hand waits" in done.err
    assert {found.name() for found in fleet.connection.listAllDomains()} & {waiting, good} == {good}


def test_a_look_that_hangs_ends_the_run_before_anything_is_done(fleet: Fleet) -> None:
    name = fleet.spec("a")
    fleet.set(timeouts="{reconcile: 20}")
    done = fleet.run("reconcile", program=("-c", HANGING.replace("COUNT", "2")))
    assert (done.code, done.out) == (69, ""), done
    assert done.err == (
        "reconcile: looking again before anything is done: not done within 20 s (timeouts: reconcile); the run was "
        "ended there, and the next one goes on\n"
    )
    assert name not in {found.name() for found in fleet.connection.listAllDomains()}
    with (fleet.state / "locks/%20reconcile").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fleet.set(timeouts="{watcher: 10}")
    fleet.converges(f"specs/{name}.yaml")


def test_a_look_that_hangs_afterwards_leaves_what_was_done_in_the_document(fleet: Fleet) -> None:
    name = fleet.spec("a")
    fleet.set(timeouts="{reconcile: 20}")
    program = HANGING.replace("COUNT", "3")
    done = fleet.run("reconcile", "--output", "json", program=("-c", program))
    assert done.code == 69, done
    document = json.loads(done.out)
    assert "checking whether everything is as wanted" in document["errors"][0]
    assert {"name": name, "text": "define domain", "result": "done"} in document["outcomes"]
    fleet.is_in_sync(f"specs/{name}.yaml")
