"""How a run is ended from outside: at once, after what must not be cut off, and in all threads."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAD = """
import os, signal, sys, threading, time
from virtrbd import ending
from virtrbd.deadline import call_within
ending.heed_signals()
def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
"""
# What the process prints is what the test asks for.
Run = Callable[[str], str]


@pytest.fixture
def run() -> Run:
    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", HEAD + program], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.stderr == "", done
        return done.stdout

    return run


def test_a_signal_is_raised_with_its_number(run: Run) -> None:
    for number in ("SIGINT", "SIGTERM", "SIGHUP"):
        program = f"""
try:
    send(signal.{number})
    time.sleep(20)
except ending.EndedError as error:
    print(error.number == signal.{number})
"""
        assert run(program) == "True\n"


def test_what_must_not_be_cut_off_is_finished_first(run: Run) -> None:
    program = """
try:
    with ending.finishing():
        send()
        time.sleep(0.05)
        print("finished")
    print("not here")
except ending.EndedError:
    print("ended")
"""
    assert run(program) == "finished\nended\n"


def test_who_asks_again_waits_no_longer(run: Run) -> None:
    program = """
ending._ONE_BREATH_S = 0.1
try:
    with ending.finishing():
        send()
        send(signal.SIGHUP)
        print("in one breath")
        time.sleep(0.2)
        send()
        time.sleep(20)
except ending.EndedError as error:
    print(error.number == signal.SIGTERM)
"""
    assert run(program) == "in one breath\nTrue\n"


def test_what_cleans_up_is_not_ended_by_the_same_signal(run: Run) -> None:
    program = """
try:
    try:
        send()
        time.sleep(20)
    finally:
        with ending.finishing():
            print(call_within(5, "cleaning up", lambda: "cleaned"))
except ending.EndedError:
    print("ended")
"""
    assert run(program) == "cleaned\nended\n"


def test_other_threads_hear_of_it_between_and_in_their_calls(run: Run) -> None:
    program = """
def work():
    try:
        call_within(20, "waiting", lambda: time.sleep(20))
    except ending.EndedError:
        print("the other too")
thread = threading.Thread(target=work)
thread.start()
try:
    send()
    time.sleep(20)
except ending.EndedError:
    thread.join()
    os._exit(print("ended", flush=True) or 0)
"""
    assert run(program) == "the other too\nended\n"


def test_a_call_is_given_a_moment_to_come_to_its_end(run: Run) -> None:
    program = """
def change():
    send()
    time.sleep(0.2)
    print("changed")
try:
    call_within(20, "changing", change)
except ending.EndedError:
    print("ended")
"""
    assert run(program) == "changed\nended\n"


def test_a_signal_that_comes_while_a_module_loads_is_not_lost(run: Run, tmp_path: Path) -> None:
    """Modules catch much: `except: pass` around an import is common."""
    (tmp_path / "catching.py").write_text(
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.05)\n"
        "except BaseException:\n    pass\nprint('loaded')\n"
    )
    program = f"""
sys.path.append({str(tmp_path)!r})
try:
    import catching
    time.sleep(20)
except ending.EndedError:
    print("ended")
"""
    assert run(program) == "loaded\nended\n"


def test_one_that_python_could_raise_nowhere_is_asked_again(run: Run) -> None:
    program = """
class Odd:
    def __del__(self):
        send()
        time.sleep(0.05)
def lost(what):
    if isinstance(what.exc_value, ending.EndedError):
        ending.ask_again()
sys.unraisablehook = lost
try:
    odd = Odd()
    del odd
    print("lost")
    time.sleep(20)
except ending.EndedError:
    print("ended")
"""
    assert run(program).endswith("ended\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_before_virtrbd_has_begun_a_signal_ends_it_without_a_word(number: signal.Signals, tmp_path: Path) -> None:
    """Until then Python would print where it was, and some of what loads would catch it."""
    program = """
import sys, time, types
app = types.ModuleType("virtrbd.commands.app")
app.run_app = lambda: (print("begun", flush=True), time.sleep(20))
sys.modules[app.__name__] = app
from virtrbd.__main__ import main
main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-number, "")


def test_what_it_was_started_to_ignore_it_ignores(run: Run) -> None:
    """`nohup virtrbd …`, and a shell's background."""
    program = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
ending.heed_signals()
send(signal.SIGHUP)
time.sleep(0.05)
print("goes on")
"""
    assert run(program) == "goes on\n"


@pytest.mark.parametrize("after_ms", range(0, 400, 40))
def test_whenever_it_comes_the_run_ends_by_it_or_is_done(after_ms: int, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"host: kvm-1\nstate_dir: {tmp_path}/state\n")
    (tmp_path / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - size: 1G\n")
    with subprocess.Popen(
        [sys.executable, "-m", "virtrbd", "render", "--for", "libvirt=9.0,qemu=7.2", "web.yaml"], cwd=tmp_path,
        env={**os.environ, "VIRTRBD_CONFIG": str(tmp_path / "settings.yaml")}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        time.sleep(after_ms / 1000)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    said = err.splitlines()[-1:] == ["virtrbd: terminated; run again to finish what was begun"]
    is_done = process.returncode == 0 and out.rstrip().endswith("</domain>")
    assert is_done or (process.returncode, said, out) in ((143, True, ""), (-signal.SIGTERM, False, "")), (out, err)
