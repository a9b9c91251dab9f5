"""The command line as programs and terminals meet it: the console, JSON from every verb, and every way to end a run."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.lab import LabHost
from support.sources import as_disk

ESCAPE = b"\x1d"  # Ctrl-]
DISK = "disks:\n  - size: 16M\n"


@dataclass(slots=True, kw_only=True)
class Terminal:
    """A terminal with a run of virtrbd on it: what a person types into and reads from."""

    process: subprocess.Popen[bytes]
    controller: int
    line: int
    before: list[object]
    shown: str = field(default="", repr=False)

    def type(self, keys: bytes) -> None:
        os.write(self.controller, keys)

    def read(self, timeout_s: float = 0.0) -> str:
        ready, _, _ = select.select([self.controller], [], [], timeout_s)
        if ready:
            self.shown += os.read(self.controller, 4096).decode(errors="replace")
        return self.shown

    def await_text(self, wanted: str, timeout_s: float = 20) -> None:
        give_up_at = time.monotonic() + timeout_s
        while wanted not in self.read(0.2):
            assert time.monotonic() < give_up_at, f"no {wanted!r} in {self.shown[-2000:]!r}"
            assert self.process.poll() is None, f"it ended before {wanted!r}: {self.shown[-2000:]!r}"

    def await_end(self, timeout_s: float = 20) -> int:
        """Return the exit code; what is still written is read, or the run could not end."""
        give_up_at = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < give_up_at, f"it never ended: {self.shown[-2000:]!r}"
            self.read(0.05)
        self.read()
        return int(self.process.returncode)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.line) == self.before


@pytest.fixture
def open_console(host: LabHost) -> Iterator[Callable[[str], Terminal]]:
    env, terminals = host.env(), []

    def open_one(name: str) -> Terminal:
        controller, line = os.openpty()
        before = termios.tcgetattr(line)
        process = subprocess.Popen(
            ["virtrbd", "console", name],
            env=env, cwd=host.folder, stdin=line, stdout=line, stderr=line, start_new_session=True,
        )  # fmt: skip
        terminal = Terminal(process=process, controller=controller, line=line, before=before)
        terminals.append(terminal)
        return terminal

    yield open_one
    for terminal in terminals:
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGKILL)
            terminal.process.wait()
        os.close(terminal.controller)
        os.close(terminal.line)


@pytest.fixture
def deaf(host: LabHost, name: str) -> str:
    """A running domain whose guest is a BIOS without a system: it says and hears nothing."""
    host.ok("virtrbd", "define", "--start", host.spec(name, DISK))
    return str(name)


@pytest.mark.timeout(180)
def test_a_console_is_seen_typed_into_and_left(
    host: LabHost, name: str, golden: str, open_console: Callable[[str], Terminal]
) -> None:
    host.ok("virtrbd", "define", "--start", host.spec(name, f"disks:\n  - clone: {golden}\n"))
    console = open_console(name)
    console.await_text(f"guest up: {name}", 120)
    assert not console.is_as_before(), "every key is the guest's: Ctrl-C too"
    console.type(b"\r")
    console.await_text("# ")
    # Put together by the guest's shell, so that what is awaited is its answer, not the echo of our keys.
    console.type(b"echo an''swer-$((40 + 2))\r")
    console.await_text("answer-42")
    console.type(ESCAPE)
    assert console.await_end() == 0, console.shown
    assert console.is_as_before()
    assert "Traceback" not in console.shown
    assert host.inspect(name)["state"] == "running", "leaving the console leaves the guest alone"


def test_a_console_that_is_open_elsewhere_is_refused_and_not_taken(
    deaf: str, open_console: Callable[[str], Terminal]
) -> None:
    first = open_console(deaf)
    first.await_text("Escape character")
    second = open_console(deaf)
    assert second.await_end() == 5, second.shown
    assert "is the console open elsewhere?" in second.shown
    assert second.is_as_before()
    assert first.process.poll() is None
    first.type(ESCAPE)
    assert first.await_end() == 0


def test_a_killed_virsh_leaves_a_sane_terminal(deaf: str, open_console: Callable[[str], Terminal]) -> None:
    console = open_console(deaf)
    console.await_text("Escape character")
    [virsh] = Path(f"/proc/{console.process.pid}/task/{console.process.pid}/children").read_text().split()
    os.kill(int(virsh), signal.SIGKILL)
    assert console.await_end() == 5, console.shown
    assert f"{deaf}: virsh ended with" in console.shown
    assert console.is_as_before()


def test_a_console_needs_a_terminal_and_names_its_pty_without_one(host: LabHost, deaf: str) -> None:
    done = host.virtrbd("console", deaf)
    assert (done.returncode, done.stdout) == (64, "")
    assert f"{deaf}: a console needs a terminal; --output json names its pty for programs" in done.stderr
    said = json.loads(host.ok("virtrbd", "console", deaf, "--output", "json"))
    assert said == {"schema": 1, "name": deaf, "pty": host.ok("virsh", "ttyconsole", deaf).strip()}
    assert said["pty"].startswith("/dev/pts/")


def test_a_console_of_what_has_none(host: LabHost, name: str, open_console: Callable[[str], Terminal]) -> None:
    unknown = open_console(name)
    assert unknown.await_end() == 5
    assert f"{name}: no such domain on this host; see virtrbd list" in unknown.shown
    spec = host.spec(name, f"serial_console: false\n{DISK}")
    host.ok("virtrbd", "define", spec)
    off = open_console(name)
    assert off.await_end() == 5
    assert f"{name}: is not running; start it with virtrbd start {name}" in off.shown
    host.ok("virtrbd", "start", name)
    mute = open_console(name)
    assert mute.await_end() == 64
    assert f"{name}: has no serial console; write serial_console: true" in mute.shown
    assert all(terminal.is_as_before() for terminal in (unknown, off, mute))


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON document on stdout; no more and no less than one."""
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert found["schema"] == 1, found
    assert "Traceback" not in done.stderr
    return found


Run = Callable[..., subprocess.CompletedProcess[str]]


def succeeds(run: Run, *words: str, first: bool = False) -> dict[str, Any]:
    done = run("--output", "json", *words) if first else run(*words, "--output", "json")
    assert done.returncode == 0, done
    found = document(done)
    assert "errors" not in found
    assert found.get("exit_code", 0) == 0
    return found


def fails(run: Run, code: int, *words: str) -> None:
    """The same document wherever the option stands; its code is the process's, and stderr says the same to a person."""
    said = []
    for argv in (("--output", "json", *words), (*words, "--output=json")):
        done = run(*argv)
        found = document(done)
        assert done.returncode == code == found["exit_code"], done
        assert found["errors"], found
        for line in found["errors"]:
            assert line in done.stderr
        said.append(found)
    assert said[0] == said[1]


@pytest.mark.timeout(180)
def test_every_verb_answers_with_one_json_document(host: LabHost, name: str) -> None:
    run, spec, image = host.virtrbd, host.spec(name, DISK), f"vms/{name}.other"
    (host.folder / "bad.yaml").write_text("name: bad\n")
    (host.folder / "disk.raw").write_bytes(as_disk(b"x" * 1024**2))
    nowhere = f"{name}nowhere"

    assert succeeds(run, "validate", spec)["domains"] == [{"name": name, "origin": f"{spec}:1", "host": "kvm-1"}]
    assert "<domain" in succeeds(run, "render", spec, first=True)["domains"][0]["xml"]
    [defined] = succeeds(run, "define", spec)["domains"]
    assert (defined["name"], {action["result"] for action in defined["actions"]}) == (name, {"done"})
    assert succeeds(run, "define", spec, first=True)["domains"][0]["actions"] == []
    assert name in [domain["name"] for domain in succeeds(run, "list")["domains"]]
    assert succeeds(run, "inspect", name, first=True)["domain"]["name"] == name
    assert succeeds(run, "shutdown", name)["changed"] is False
    assert succeeds(run, "start", name, first=True)["changed"] is True
    assert succeeds(run, "start", name)["changed"] is False
    assert succeeds(run, "reboot", name, first=True)["asked"] == "reboot"
    assert succeeds(run, "console", name)["pty"].startswith("/dev/pts/")
    for words in (("destroy", name), ("undefine", name)):
        fails(run, 4 if words[0] == "destroy" else 5, *words)
    assert succeeds(run, "destroy", name, "--allow", "interrupts-guest", first=True)["state"] == "shut off"
    assert succeeds(run, "destroy", name)["changed"] is False
    assert succeeds(run, "undefine", name)["done"] == ["undefined", f"kept image vms/{name}.vda"]
    assert succeeds(run, "image", "import", "disk.raw", image, first=True)["size_bytes"] == 1024**2
    assert succeeds(run, "image", "info", image)["image"]["name"] == image
    assert succeeds(run, "image", "snapshot", "create", f"{image}@s", first=True)["changed"] is True
    assert succeeds(run, "image", "snapshot", "create", f"{image}@s")["changed"] is False
    host.ok("rbd", "snap", "rm", "--no-progress", f"{image}@s", admin=True)

    for verb in ("validate", "render", "define"):
        fails(run, 65, verb, "bad.yaml")
    fails(run, 69, "list", "--connect", "qemu:///system?socket=/nonexistent")
    for verb in ("inspect", "start", "shutdown", "reboot", "destroy", "undefine", "console"):
        fails(run, 5, verb, nowhere)
    fails(run, 65, "image", "import", "nowhere.raw", f"vms/{nowhere}")
    fails(run, 5, "image", "import", "disk.raw", image)
    fails(run, 5, "image", "info", f"vms/{nowhere}")
    fails(run, 5, "image", "snapshot", "create", f"vms/{nowhere}@s")
    fails(run, 64, "image", "snapshot", "create", image)


def test_a_define_that_fails_half_way_answers_with_what_became_of_each_action(host: LabHost, name: str) -> None:
    """Not all is lost when one domain is refused: the document has every domain, and the worst exit code."""
    foreign = f"{name}foreign"
    host.ok("rbd", "create", "--size", "16M", f"vms/{foreign}.vda")
    specs = [host.spec(f"{name}a", DISK), host.spec(foreign, DISK)]
    done = host.virtrbd("define", *specs, "--output", "json")
    found = document(done)
    assert done.returncode == found["exit_code"] == 4
    good, bad = found["domains"]
    assert (good["name"], {action["result"] for action in good["actions"]}) == (f"{name}a", {"done"})
    assert bad["name"] == foreign
    assert "takes-over" in json.dumps(bad["actions"])
    assert {action["result"] for action in bad["actions"]} <= {"blocked", "not tried"}


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (("--connect", "qemu:///system?socket=/nonexistent"), 69, "is libvirtd running?"),
        (("--config", "nowhere.yaml"), 78, "nowhere.yaml"),
        (("--output", "yaml"), 64, "'yaml' is not one of 'text', 'json'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_global_options_count_before_and_after_the_verb(
    host: LabHost, options: tuple[str, ...], code: int, why: str
) -> None:
    for words in ((*options, "list"), ("list", *options)):
        done = host.virtrbd(*words)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert why in done.stderr


def test_the_option_after_the_verb_wins(host: LabHost) -> None:
    assert host.ok("virtrbd", "--output", "json", "list", "--output", "text").startswith(("NAME", "no domains"))
    nowhere = ("--connect", "qemu:///system?socket=/nonexistent")
    uri = host.ok("sh", "-c", "echo $LIBVIRT_DEFAULT_URI").strip()
    assert host.virtrbd(*nowhere, "list", "--connect", uri).returncode == 0
    assert host.virtrbd("--connect", uri, "list", *nowhere).returncode == 69


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "Usage: virtrbd"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("image", "frobnicate"), "No such command 'frobnicate'"),
        (("list", "--frobnicate"), "No such option"),
        (("list", "surplus"), "unexpected extra argument"),
        (("define",), "Missing argument 'FILES...'"),
        (("inspect",), "Missing argument 'NAME'"),
        (("start", "x", "--allow", "everything"), "takes-over"),
        (("shutdown", "x", "--timeout", "soon"), "'soon' is not a valid float"),
        (("image", "info", "no-pool"), "no-pool"),
        (("image", "import", "x.raw", "vms/x@s"), "vms/x@s is a snapshot"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors(host: LabHost, words: tuple[str, ...], why: str) -> None:
    done = host.virtrbd(*words)
    assert (done.returncode, done.stdout) == (64, ""), done
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    if words:
        fails(host.virtrbd, 64, *words)


# virtrbd, but it tells when it begins to wait for the guest: the moment for a signal.
TELLING = """
import sys
from virtrbd.__main__ import main
from virtrbd.engine import power
await_off = power.await_off
def told(*words):
    print("waiting", file=sys.stderr, flush=True)
    return await_off(*words)
power.await_off = told
main()
"""


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("output", ["text", "json"])
def test_a_signal_ends_a_wait_at_once(
    host: LabHost, deaf: str, *, sent: signal.Signals, code: int, word: str, output: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TELLING, "shutdown", deaf, "--timeout", "50", "--output", output],
        env=host.env(), cwd=host.folder, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr
        assert process.stderr.readline() == "waiting\n"
        sent_at = time.monotonic()
        process.send_signal(sent)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - sent_at < 5
    line = f"virtrbd: {word}; run again to finish what was begun"
    assert (process.returncode, err) == (code, f"{line}\n")
    if output == "json":
        assert json.loads(out) == {"schema": 1, "errors": [line.removeprefix("virtrbd: ")], "exit_code": code}
    else:
        assert out == ""
    assert host.inspect(deaf)["state"] == "running"


def test_ctrl_c_ends_a_wait_at_the_start_gate(host: LabHost, name: str) -> None:
    host.ok("virtrbd", "define", host.spec(name, DISK))
    env, image = host.env(), f"vms/{name}.vda"
    holding = ["qemu-io", "-f", "raw", f"rbd:{image}:id=virtrbd:conf={env['CEPH_CONF']}"]
    holder = subprocess.Popen(holding, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        give_up_at = time.monotonic() + 20
        while not re.search("watcher=", host.ok("rbd", "status", image)):
            assert time.monotonic() < give_up_at, "qemu-io never opened its image"
        process = subprocess.Popen(
            ["virtrbd", "start", name], env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr
        assert "waiting up to" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        holder.communicate(b"quit\n", timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err == "virtrbd: interrupted; run again to finish what was begun\n"
    assert host.inspect(name)["state"] == "shut off"
    assert host.ok("virtrbd", "start", name) == f"{name}: started\n", "no lock and no watch of the first run is left"


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "--output", "json"),
        ("validate", "SPEC"),
        ("render", "SPEC"),
        ("define", "SPEC"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_a_closed_pipe_ends_quietly(host: LabHost, name: str, words: tuple[str, ...]) -> None:
    """`virtrbd list | head -0`: the reader is gone before the first line."""
    spec = host.spec(name, DISK)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            ["virtrbd", *(spec if word == "SPEC" else word for word in words)],
            env=host.env(), cwd=host.folder, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE,
            text=True, check=False, timeout=50,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    if words[0] == "define":
        # What the pipe cut off is finished by the next run.
        host.ok("virtrbd", "define", spec)
        assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"
