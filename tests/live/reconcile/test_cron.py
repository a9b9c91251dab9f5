"""`virtrbd reconcile` as cron runs it: what it says and when, how it ends, and what it leaves for monitoring."""

import fcntl
import json
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import libvirt
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fleets import DISK, MODULE, Fleet
from support.waiting import eventually

NIC = "<interface type='direct'><mac address='52:54:00:00:00:01'/><source dev='lo' mode='bridge'/></interface>"
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG

# What others left on the host is told of as orphans.
pytestmark = pytest.mark.alone


def metrics(file: Path) -> dict[str, float]:
    """What node_exporter reads: `name` or `name{word}`."""
    found = {}
    for family in text_string_to_metric_families(file.read_text()):
        for sample in family.samples:
            words = ",".join(sample.labels.values())
            found[f"{sample.name}{{{words}}}" if words else sample.name] = sample.value
    return found


def logged(err: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in err.splitlines()]


def test_a_run_says_what_it_did_a_line_for_each_and_then_nothing(fleet: Fleet) -> None:
    a, b = fleet.spec("a", f"autostart: true\n{DISK}"), fleet.spec("b")
    first = fleet.reconcile()
    assert (first.code, first.err) == (0, "")
    lines = [line for line in first.out.splitlines() if "define secret" not in line]
    assert lines == [
        f"{a}: create image vms/{a}.vda (8 MiB)", f"{a}: define domain", f"{a}: set autostart on",
        f"{b}: create image vms/{b}.vda (8 MiB)", f"{b}: define domain",
    ]  # fmt: skip
    fleet.is_in_sync()
    fleet.domain(a).setAutostart(0)
    put_back = fleet.reconcile()
    assert (put_back.code, put_back.out, put_back.err) == (0, f"{a}: set autostart on\n", "")
    fleet.is_in_sync()


def test_what_waits_for_a_person_is_told_once(fleet: Fleet) -> None:
    a, b = fleet.spec("a"), fleet.spec("b")
    assert fleet.reconcile().code == 0
    fleet.domain(a).attachDeviceFlags(NIC, CONFIG)
    found = fleet.reconcile()
    assert (found.code, found.err) == (0, "")
    [line] = found.out.splitlines()
    assert line.startswith(f"{a}: changed by others: "), line
    fleet.is_in_sync()
    # What is blocked is told once too; its exit code comes every time.
    (fleet.specs / f"{b}.yaml").write_text(f"name: {b}\nmemory: 128M\ndisks:\n  - image: vms/{b}.other\n    size: 8M\n")
    blocked = fleet.reconcile()
    assert (blocked.code, blocked.out) == (4, ""), blocked
    assert re.fullmatch(rf"{b}: BLOCKED: .* needs --allow loses-data\n", blocked.err), blocked
    assert (again := fleet.reconcile()).said == []
    assert again.code == 4
    # A run over one spec, by hand, leaves told what was told of the others.
    assert fleet.reconcile(str(fleet.specs / f"{b}.yaml")).said == []
    assert fleet.reconcile().said == []
    # A broken spec: told once, held back alone.
    c = fleet.spec("c", "disks: 7\n")
    broken = fleet.reconcile()
    assert (broken.code, broken.out) == (65, ""), broken
    assert f"{c}.yaml:3: disks: " in broken.err
    assert (again := fleet.reconcile()).said == []
    assert again.code == 65
    (fleet.specs / f"{c}.yaml").unlink()
    told = fleet.state / "reconcile/told"
    for text in ("{", "[]"):
        told.write_text(text)
        assert sorted(fleet.reconcile().said) == sorted([line, *blocked.said])
        assert fleet.reconcile().said == []
    # What went away and comes again is news.
    fleet.domain(a).detachDeviceFlags(NIC, CONFIG)
    assert fleet.reconcile().said == []
    fleet.domain(a).attachDeviceFlags(NIC, CONFIG)
    assert fleet.reconcile().said == [line]


def test_the_specs_of_the_settings_directory_are_all_there_are(fleet: Fleet) -> None:
    a = fleet.spec("a")
    assert fleet.reconcile().code == 0
    orphan = fleet.spec("b")
    assert fleet.run("define", f"specs/{orphan}.yaml").code == 0
    (fleet.specs / f"{orphan}.yaml").unlink()
    assert fleet.reconcile(f"specs/{a}.yaml").said == []
    [line] = fleet.reconcile().said
    assert line.startswith(f"{orphan}: orphan: no spec names it; left alone."), line
    (fleet.specs / f"{a}.yaml").unlink()
    empty = fleet.reconcile()
    assert empty.code == 65
    assert f"{fleet.specs}: no spec files (*.yaml) there; check the path" in empty.err
    assert {found.name() for found in fleet.connection.listAllDomains()} >= {a, orphan}


def test_json_for_programs(fleet: Fleet) -> None:
    a, b = fleet.spec("a"), fleet.spec("b")
    done = fleet.reconcile("--log", "json")
    assert (done.code, done.out) == (0, "")
    for entry in logged(done.err):
        assert list(entry) == ["time", "level", "event", "line", "domain", "action", "result", "detail"]
        assert (entry["level"], entry["event"], entry["result"], entry["detail"]) == ("info", "action", "done", "")
        assert abs(datetime.fromisoformat(entry["time"]).timestamp() - time.time()) < 60
    assert {"domain": a, "action": "define domain"}.items() <= logged(done.err)[-3].items()
    assert fleet.reconcile("--log=json").said == []
    fleet.domain(a).attachDeviceFlags(NIC, CONFIG)
    fleet.domain(b).setAutostart(1)
    (fleet.specs / "broken.yaml").write_text("name: broken\n")
    document = fleet.reconcile("--output", "json", "--log", "json")
    report = json.loads(document.out)
    assert (document.code, report["schema"], report["exit_code"]) == (65, 1, 65)
    assert [domain["name"] for domain in report["domains"]] == [a, b]
    assert report["domains"][0]["findings"][0]["kind"] == "changed by others"
    assert report["domains"][1]["actions"] == [{"text": "set autostart off", "result": "done", "detail": ""}]
    assert report["problems"]
    entries = {entry["event"]: entry for entry in logged(document.err)}
    assert list(entries["finding"]) == ["time", "level", "event", "line", "domain", "kind", "subject", "text"]
    assert list(entries["problem"]) == ["time", "level", "event", "line"]
    assert entries["problem"]["level"] == "error"
    for words in (("--connect", "qemu:///system?socket=/nowhere"), ("--strict",), ("--limit", "many"), ("--bad",)):
        failed = fleet.reconcile("--output=json", "--log=json", *words)
        assert failed.code in (64, 65, 69), failed
        assert json.loads(failed.out)["exit_code"] == failed.code
        assert {entry["event"] for entry in logged(failed.err)} == {"problem"}, failed


def test_a_summary_for_node_exporter(fleet: Fleet) -> None:
    file = fleet.folder / "virtrbd.prom"
    fleet.set(textfile=str(file))
    a, b = fleet.spec("a"), fleet.spec("b")
    began_at = time.time()
    assert fleet.reconcile().code == 0
    first = metrics(file)
    assert first["virtrbd_reconcile_exit_code"] == first["virtrbd_reconcile_spec_problems"] == 0
    assert began_at <= first["virtrbd_reconcile_last_success_timestamp_seconds"] <= time.time()
    assert first["virtrbd_reconcile_actions{done}"] >= 4
    assert first["virtrbd_reconcile_actions{blocked}"] == first["virtrbd_reconcile_actions{failed}"] == 0
    assert 0 < first["virtrbd_reconcile_seconds{observe}"] < first["virtrbd_reconcile_seconds{all}"] < 60
    fleet.domain(a).attachDeviceFlags(NIC, CONFIG)
    xml = fleet.xml(b)
    fleet.connection.defineXML(re.sub(r"<vcpu.*</vcpu>", "<vcpu>3</vcpu>", xml))
    assert fleet.reconcile().code == 0
    second = metrics(file)
    assert second["virtrbd_findings{changed by others}"] == 1
    assert second["virtrbd_findings{orphan}"] == 0
    assert second["virtrbd_differences{next-boot}"] >= 1
    assert second["virtrbd_domains{shut off}"] >= 2
    assert set(first) == set(second), "a series that comes and goes can't be alerted on"
    # A run that fails leaves what it knows: how it ended, and when it last went well.
    for words, code in (((), 69), (("--limit", "x"), 64), (("--strict",), 65)):
        (fleet.specs / "broken.yaml").write_text("name: broken\n")
        connect = ["--connect", "qemu:///system?socket=/nowhere"] if not words else []
        assert fleet.reconcile(*connect, *words).code == code
        failed = metrics(file)
        last = "virtrbd_reconcile_last_success_timestamp_seconds"
        assert (failed["virtrbd_reconcile_exit_code"], failed[last]) == (code, second[last])
        assert "virtrbd_domains{shut off}" not in failed
    (fleet.specs / "broken.yaml").unlink()
    # Never half there: whoever looks sees a whole one, and nothing beside it that ends like one.
    with fleet.start("reconcile") as run:
        while run.poll() is None:
            assert "virtrbd_reconcile_exit_code" in metrics(file)
            assert [found.name for found in fleet.folder.glob("*.prom")] == [file.name]
    unwritable = fleet.reconcile("--textfile", "/nowhere/virtrbd.prom")
    assert (unwritable.code, unwritable.out) == (0, "")
    assert unwritable.err.startswith("/nowhere/virtrbd.prom: No such file or directory; ")


def test_one_at_a_time(fleet: Fleet) -> None:
    a, b = fleet.spec("a"), fleet.spec("b")
    assert fleet.reconcile().code == 0
    fleet.domain(a).setAutostart(1)
    fleet.domain(b).setAutostart(1)
    with (fleet.state / "locks/%20reconcile").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        busy = fleet.reconcile()
        assert (busy.code, busy.said) == (75, []), "the other run does the work"
        document = fleet.reconcile("--output", "json")
        assert (document.code, json.loads(document.out)["exit_code"], document.err) == (75, 75, "")
    # A domain on which somebody is at work is left to them; the others are done.
    lock = fleet.state / f"locks/{a}"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        lock.write_text("virtrbd define (pid 1)")
        done = fleet.reconcile()
    assert (done.code, done.out) == (75, f"{b}: set autostart off\n")
    assert done.err == f"{a}: BUSY: {a}: virtrbd define (pid 1) is at work on it; try again when it is done\n"
    fleet.converges()
    # Two at once, over the same work: one does it.
    c = fleet.spec("c")
    with fleet.start("reconcile") as one, fleet.start("reconcile") as other:
        ends = [(*run.communicate(timeout=50), run.returncode) for run in (one, other)]
    assert sorted(code for *_, code in ends) in ([0, 75], [0, 0]), ends
    assert [line for out, *_ in ends for line in out.splitlines()] == [
        f"{c}: create image vms/{c}.vda (8 MiB)", f"{c}: define domain"
    ], ends  # fmt: skip
    fleet.is_in_sync()


def test_splay_waits_before_it_takes_the_lock(fleet: Fleet) -> None:
    fleet.spec("a")
    assert fleet.reconcile().code == 0
    slept = "import random, time\nrandom.uniform = lambda low, high: high\n" + (
        "time.sleep = lambda s: print('slept', s)\nfrom virtrbd.__main__ import main\nmain()"
    )
    assert fleet.run("reconcile", "--splay", "30", program=("-c", slept)).out == "slept 30.0\n"
    assert fleet.reconcile("--splay", "-1").code == 64


def test_a_run_past_its_deadline_begins_nothing_more(fleet: Fleet) -> None:
    names = [fleet.spec(letter) for letter in "abc"]
    fleet.set(timeouts="{reconcile: 0.001}", textfile=str(fleet.folder / "virtrbd.prom"))
    late = fleet.reconcile()
    assert (late.code, late.out) == (69, ""), late
    for name in names:
        assert (
            f"{name}: NOT TRIED: define domain: the run's deadline is over; the next run goes on (timeouts: reconcile)"
        ) in late.err.splitlines()
    assert metrics(fleet.folder / "virtrbd.prom")["virtrbd_reconcile_actions{not tried}"] >= 6
    assert not [found for found in fleet.connection.listAllDomains() if found.name() in names]
    # In the middle: the first action takes its time.
    fleet.set(timeouts="{reconcile: 4}", parallel="1")
    half = fleet.reconcile_with("__import__('time').sleep(5)")
    assert half.code == 69, half
    [done] = [line for line in half.out.splitlines() if "define secret" not in line] or half.out.splitlines()
    assert done.startswith(f"{names[0]}: "), half
    assert half.err.count("NOT TRIED") == 5, half
    fleet.set(timeouts="{watcher: 10}")
    fleet.converges()


# virtrbd that says when it acts, and is slow at it.
SLOW = """
import time
from virtrbd.__main__ import main
import virtrbd.engine.perform as performing
perform = performing.perform
def slow(action, host):
    perform(action, host)
    print(type(action).__name__, flush=True)
    time.sleep(0.3)
performing.perform = slow
main()
"""


@pytest.mark.parametrize("log", ["text", "json"])
def test_sigterm_in_the_middle(fleet: Fleet, log: str) -> None:
    file = fleet.folder / "virtrbd.prom"
    fleet.set(textfile=str(file))
    for letter in "abcdef":
        fleet.spec(letter)
    with fleet.start("reconcile", "--log", log, program=("-c", SLOW)) as run:
        out = run.stdout
        assert out
        eventually("it is at work", lambda: out.readline().startswith("CreateImage"))
        began_at = time.monotonic()
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=20)
    assert time.monotonic() - began_at < 10
    assert run.returncode == 143, err
    said = "virtrbd: terminated; run again to finish what was begun"
    assert said in ([entry["line"] for entry in logged(err)] if log == "json" else err.splitlines())
    assert metrics(file)["virtrbd_reconcile_exit_code"] == 143
    fleet.converges()


def test_a_state_directory_that_may_not_be_written(fleet: Fleet) -> None:
    fleet.spec("a")
    fleet.set(state_dir="/proc/virtrbd", textfile=str(fleet.folder / "virtrbd.prom"))
    refused = fleet.reconcile()
    assert refused.code in (5, 77), refused
    assert refused.err.startswith("/proc/virtrbd/locks: "), refused
    assert "set state_dir" in refused.err
    assert metrics(fleet.folder / "virtrbd.prom")["virtrbd_reconcile_exit_code"] == refused.code


def test_a_key_that_is_not_allowed(fleet: Fleet) -> None:
    fleet.spec("a")
    keyring = fleet.folder / "wrong.keyring"
    keyring.write_text("[client.virtrbd]\n\tkey = AQAAAAAAAAAAABAAMDAwMDAwMDAwMDAwMDAwMA==\n")
    text = fleet.settings.read_text()
    fleet.settings.write_text(text.replace("ceph:\n", f"ceph:\n  keyring: {keyring}\n", 1))
    for _ in range(2):
        denied = fleet.reconcile()
        assert (denied.code, denied.out) == (77, ""), denied
        assert "client.virtrbd is not allowed" in denied.err, "failures are told every time"


def test_the_environment_of_cron(fleet: Fleet) -> None:
    """Hardly a PATH, no HOME, no terminal, and a folder of nobody's."""
    a = fleet.spec("a")
    kept = {key: fleet.env[key] for key in ("VIRTRBD_CONFIG", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, *MODULE, "reconcile"], env={**kept, "PATH": "/usr/bin:/bin"}, cwd="/",
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{a}: define domain" in done.stdout
