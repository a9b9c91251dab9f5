"""libvirt's hook: the program that libvirt runs, and what it answers without a libvirt and a Ceph."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from virtrbd.ceph.metadata import last_run_of, last_run_value
from virtrbd.engine.start_gate import beyond_source
from virtrbd.errors import UnavailableError, UsageError, VirtrbdError
from virtrbd.hook import answer as answering
from virtrbd.hook.answer import Call, answer
from virtrbd.hook.apart import Said, Say, Verdict, ask_apart
from virtrbd.hook.installed import install, look, remove, require_own_libvirt
from virtrbd.hook.log import log
from virtrbd.hook.program import Program, differences, is_program, read_program
from virtrbd.local.starts import end_start, is_own_start, keep_migration, keep_start, own_start, take_migration
from virtrbd.model.image import ImageRef, LastRun, Watcher
from virtrbd.model.settings import HookSettings, Settings

UUID = "b370290b-7470-525e-9051-f8ab7b076b1c"
MARK = f"<metadata><virtrbd:domain xmlns:virtrbd='urn:virtrbd:domain:1' uuid='{UUID}'/></metadata>"
OWNED = f"<domain><name>web</name><uuid>{UUID}</uuid>{MARK}</domain>"
ODD = 'it\'s a "$(touch /tmp/oops)" `x` \\ \n folder'


def python_that(folder: Path, does: str) -> str:
    """A program in the place of Python."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{does}\n")
    file.chmod(0o755)
    return str(file)


def program(folder: Path, **fields: str) -> Program:
    facts = {"version": "1", "python": "/nowhere/python", "settings": "", "host": UUID, "state_dir": str(folder)}
    return Program(**{**facts, **fields})


def run(wanted: Program, *words: str, xml: str | bytes = OWNED) -> "subprocess.CompletedProcess[bytes]":
    """Run the program as libvirt does."""
    given = xml if isinstance(xml, bytes) else xml.encode()
    argv = ["/bin/sh", "-c", wanted.text, "hook", "web", *words]
    return subprocess.run(argv, input=given, capture_output=True, timeout=60, check=False)


PREPARE = ("prepare", "begin", "-")


@pytest.mark.parametrize("operation", ["start", "stopped", "reconnect", "attach", "of a newer libvirt"])
def test_what_is_no_start_passes(tmp_path: Path, operation: str) -> None:
    refusing = program(tmp_path, python=python_that(tmp_path, "exit 5"))
    assert run(refusing, operation, "begin", "-").returncode == 0


@pytest.mark.parametrize("operation", ["prepare", "restore", "migrate"])
def test_a_refusal_is_libvirts(tmp_path: Path, operation: str) -> None:
    refusing = program(tmp_path, python=python_that(tmp_path, "echo 'because' >&2; exit 5"))
    done = run(refusing, operation, "begin", "-")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"", b"because\n")


def test_a_domain_of_others_passes_without_python(tmp_path: Path) -> None:
    refusing = program(tmp_path, python=python_that(tmp_path, "exit 5"))
    assert run(refusing, *PREPARE, xml=OWNED.replace(MARK, "")).returncode == 0


@pytest.mark.parametrize("end", ["exit 1", "exit 2", "exit 126", "exit 127", None])
def test_a_host_boots_its_guests_where_virtrbd_cannot_be_run(tmp_path: Path, end: str | None) -> None:
    broken = python_that(tmp_path, end) if end else "/nowhere/python"
    assert run(program(tmp_path, python=broken), *PREPARE).returncode == 0
    assert f"{UUID}: prepare: passed without a look: virtrbd cannot be run" in (tmp_path / "hook.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_hook_that_is_killed_refuses(tmp_path: Path, number: int) -> None:
    killed = program(tmp_path, python=python_that(tmp_path, f"kill -{number} $$"))
    assert run(killed, *PREPARE).returncode == 128 + number


def test_paths_are_words_of_the_shell_as_they_are(tmp_path: Path) -> None:
    odd = tmp_path / ODD.replace("/", "|")
    odd.mkdir()
    python = python_that(odd, 'printf "%s\\n" "$@" >&2; printf "%s\\n" "$XDG_CACHE_HOME" >&2; cat >&2; exit 5')
    wanted = program(odd, python=python, settings=ODD, cache=ODD)
    done = run(wanted, "prepare", "begin", ODD)
    words = ["-I", "-m", "virtrbd.hook", ODD, UUID, str(odd), "web", "prepare", "begin", ODD, ODD, OWNED]
    assert done.stderr.decode() == "\n".join(words)
    assert read_program(wanted.text) == wanted
    run(program(odd), *PREPARE)
    assert (odd / "hook.log").exists()


def test_the_environment_of_libvirtd_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEPH_ARGS", "--id admin")
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    done = run(program(tmp_path, python=python_that(tmp_path, "env >&2; exit 5")), *PREPARE)
    names = {line.partition(b"=")[0] for line in done.stderr.splitlines()}
    assert names <= {b"PATH", b"LC_ALL", b"PWD", b"_", b"SHLVL", b"OLDPWD"}


@pytest.mark.parametrize(("words", "is_ended"), [
    (("started", "begin", "-"), True), (("release", "end", "-"), True), (("release", "end", "failed"), True),
    (("prepare", "begin", "-"), False), (("stopped", "end", "-"), False),
])  # fmt: skip
def test_the_end_of_a_start_ends_its_keeper(tmp_path: Path, words: tuple[str, ...], is_ended: bool) -> None:
    (tmp_path / "starts").mkdir()
    kept = keep_start(tmp_path / "starts", UUID)
    assert run(program(tmp_path), *words).returncode == 0
    assert kept.is_over(0) == is_ended


@pytest.mark.parametrize("uuid", ["../victim", "*", "", "-r", "x y", "b370290b/../../victim"])
def test_a_document_ends_nothing_but_a_start(tmp_path: Path, uuid: str) -> None:
    (tmp_path / "starts/b370290b").mkdir(parents=True)
    (tmp_path / "victim").touch()
    kept = keep_start(tmp_path / "starts", UUID)
    hostile = OWNED.replace(f"<uuid>{UUID}", f"<uuid>{uuid}")
    assert run(program(tmp_path), "release", "end", "-", xml=hostile).returncode == 0
    assert (tmp_path / "victim").exists()
    assert not kept.is_over(0)


def test_odd_input_never_makes_the_program_fail(tmp_path: Path) -> None:
    long = b"urn:virtrbd:domain:1" + b"<u>" * 2_000_000
    for xml in (b"", b"\xff\xfe\x00", b"<domain>" * 100_000, b"x" * 9_000_000, long, OWNED.encode() + long):
        assert run(program(tmp_path), *PREPARE, xml=xml).returncode == 0


def call(folder: Path, **fields: str) -> Call:
    facts = {"settings": f"{folder}/settings.yaml", "host": UUID, "state_dir": str(folder), "name": "web"}
    return Call(**{**facts, "operation": "prepare", "reason": "-", "xml": OWNED, **fields})


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(f"host: h\nstate_dir: {tmp_path}/state\nceph: {{conf: {tmp_path}/no.conf}}\n")
    return file


def logged(folder: Path) -> str:
    file = folder / "hook.log"
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize(
    "text", ["hots: h\n", "host: [\n", "\x00", "timeouts: {hook: 0}\n", "hook: {folder: x}\n", None]
)
def test_broken_settings_let_every_start_pass_and_the_log_says_so(
    tmp_path: Path, settings: Path, text: str | None
) -> None:
    settings.unlink() if text is None else settings.write_text(text)
    assert answer(call(tmp_path)) == 0
    assert "web: prepare: passed without a look: the settings cannot be used: " in logged(tmp_path)


def test_settings_that_others_may_change_are_broken(tmp_path: Path, settings: Path) -> None:
    settings.chmod(0o666)
    assert answer(call(tmp_path)) == 0
    assert "is writable by others" in logged(tmp_path)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("xml", [
    OWNED.replace(MARK, ""),
    OWNED.replace(f"uuid='{UUID}'", "uuid='11111111-1111-1111-1111-111111111111'"),
    OWNED.replace(UUID, "../../etc"),
    OWNED.replace("<metadata>", "<description>").replace("</metadata>", "</description>"),
])  # fmt: skip
def test_a_domain_whose_mark_does_not_count_passes(tmp_path: Path, xml: str) -> None:
    assert answer(call(tmp_path, xml=xml)) == 0
    assert logged(tmp_path) == ""


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("xml", [
    f"<!DOCTYPE d [<!ENTITY e 'x'>]>{OWNED}", OWNED[:-3], OWNED + "<" * 200_000, OWNED + "x" * 5 * 1024**2,
])  # fmt: skip
def test_a_document_that_cannot_be_read_is_refused(tmp_path: Path, xml: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(call(tmp_path, xml=xml)) == 5
    said = capfd.readouterr().err
    assert "and it may be a domain of virtrbd's" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("settings")
def test_without_ceph_a_start_is_refused_unless_the_settings_say_otherwise(
    tmp_path: Path, settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert answer(call(tmp_path, name="w\x1b[31m\n" + "x" * 5000)) == 5
    said = capfd.readouterr().err
    assert said.startswith("virtrbd: w\\x1b[31m\\nxxx")
    assert len(said) < 1000
    assert "no.conf" in said
    assert said.count("\n") == 1
    settings.write_text(settings.read_text() + "hook: {ceph_unreachable: allow}\n")
    assert answer(call(tmp_path)) == 0
    assert capfd.readouterr().err == ""
    assert "web: prepare: passed without a look: " in logged(tmp_path)


@pytest.mark.usefixtures("settings")
def test_what_was_not_foreseen_refuses_and_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(answering, "is_own_start", lambda *_: 1 // 0)
    assert answer(call(tmp_path)) == 5
    said = capfd.readouterr().err
    assert "this is a bug" in said
    assert "answer.py" in said


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("operation", ["prepare", "restore"])
def test_virtrbds_own_start_passes_as_long_as_it_lives(tmp_path: Path, operation: str) -> None:
    folder = tmp_path / "state/starts"
    folder.mkdir(parents=True, mode=0o700)
    with own_start(folder, UUID):
        assert answer(call(tmp_path, operation=operation)) == 0
    assert answer(call(tmp_path, operation=operation)) == 5
    # What a killed run leaves.
    (folder / f"{UUID}.own").touch()
    assert answer(call(tmp_path, operation=operation)) == 5


def test_an_own_start_is_known_and_leaves_nothing(tmp_path: Path) -> None:
    with own_start(tmp_path, UUID):
        assert is_own_start(tmp_path, UUID)
    assert not is_own_start(tmp_path, UUID)
    assert list(tmp_path.iterdir()) == []


def test_a_migration_is_taken_for_one_start_only_and_only_while_it_is_kept(tmp_path: Path) -> None:
    kept = keep_migration(tmp_path, UUID)
    assert not kept.is_over(0)
    assert take_migration(tmp_path, UUID)
    assert kept.is_over(0)
    assert not take_migration(tmp_path, UUID)
    (tmp_path / f"{UUID}.incoming").touch()
    assert not take_migration(tmp_path, UUID)


def test_a_later_start_ends_the_keeper_of_an_earlier_one_and_not_the_other_way_round(tmp_path: Path) -> None:
    first, second = keep_start(tmp_path, UUID), keep_start(tmp_path, UUID)
    assert first.is_over(0)
    first.give_up()
    assert not second.is_over(0)
    end_start(tmp_path, UUID)
    assert second.is_over(0)


def test_a_process_apart_outlives_its_answer(tmp_path: Path) -> None:
    def work(say: Say) -> None:
        say(Verdict.WAITING, "for a client")
        say(Verdict.PASSES, "")
        (tmp_path / ("alone" if os.getsid(0) == os.getpid() else "in libvirt's session")).touch()

    assert ask_apart(work, 20) == Said(Verdict.PASSES)
    give_up_at = time.monotonic() + 20
    while not (tmp_path / "alone").exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_process_apart_that_is_killed_refuses() -> None:
    said = ask_apart(lambda _say: os.kill(os.getpid(), signal.SIGKILL), 20)
    assert (said.verdict, "was ended before it answered" in said.text) == (Verdict.REFUSED, True)


def test_a_process_apart_without_the_bindings_of_ceph_cannot_look() -> None:
    def needs_ceph(_say: Say) -> None:
        raise UnavailableError("the Python module rados is missing")

    assert ask_apart(needs_ceph, 20) == Said(Verdict.UNREACHABLE, "the Python module rados is missing")


def test_a_process_apart_that_hangs_is_ended() -> None:
    began_at = time.monotonic()
    assert ask_apart(lambda _say: time.sleep(60), 0.3) == Said(Verdict.UNREACHABLE, "no answer within 0.3 s")

    def waits(say: Say) -> None:
        say(Verdict.WAITING, "image vms/x is open by client.1\n")
        time.sleep(60)

    # A client that is there is no silence of Ceph, which the settings may let pass.
    said = "image vms/x is open by client.1\\n; not started: Ceph gave no further answer within 0.5 s"
    assert ask_apart(waits, 0.5) == Said(Verdict.REFUSED, said)
    assert time.monotonic() - began_at < 30


A, B = ImageRef(pool="vms", name="a"), ImageRef(pool="vms", name="b")


def watcher(host: int, number: int) -> Watcher:
    return Watcher(address=f"10.0.0.{host}:0/{number}", client_id=number)


@pytest.mark.parametrize(("found", "beyond"), [
    ({A: (), B: ()}, {}),
    ({A: (watcher(1, 1),), B: (watcher(1, 2),)}, {}),
    ({A: (watcher(1, 1), watcher(1, 3)), B: (watcher(1, 2),)}, {A: (watcher(1, 1), watcher(1, 3))}),
    ({A: (watcher(1, 1),), B: (watcher(2, 2),)}, {A: (watcher(1, 1),), B: (watcher(2, 2),)}),
    ({A: (watcher(1, 1), watcher(2, 2)), B: ()}, {A: (watcher(1, 1), watcher(2, 2))}),
])  # fmt: skip
def test_of_a_migration_the_clients_of_one_qemu_are_expected(
    found: dict[ImageRef, tuple[Watcher, ...]], beyond: dict[ImageRef, tuple[Watcher, ...]]
) -> None:
    assert beyond_source(found, {A: 1, B: 1}) == beyond


@pytest.mark.parametrize(("name", "kept"), [
    ("web", "web"), ("wéb 'x\"", "wéb 'x\""), ("[" * 40, ""), ("{" * 3, ""), ("x" * 300, ""),
])  # fmt: skip
def test_no_name_of_a_domain_makes_the_trace_of_a_run_unreadable(name: str, kept: str) -> None:
    run = LastRun(host=UUID, host_name="kvm-1", domain=name, generation="g", started_at=1.0)
    found = last_run_of({"virtrbd.last_run": last_run_value(run, "id")}, "id")
    assert found is not None
    assert (found.host, found.generation, found.domain) == (UUID, "g", kept)


@pytest.mark.parametrize("connect", [
    "qemu+ssh://kvm-2/system", "test:///default", "qemu:///session", "qemu://kvm-2/system", "xen:///system",
])  # fmt: skip
def test_the_hook_is_for_this_hosts_libvirt_only(connect: str) -> None:
    with pytest.raises(UsageError, match="run this there"):
        require_own_libvirt(connect)
    require_own_libvirt("qemu:///system?socket=/run/libvirt/libvirt-sock")


@pytest.mark.parametrize(("change", "words"), [
    (lambda text: text + "exit 0\n", "it was changed by hand"),
    (lambda text: text.replace('{"version"', "{version", 1), "it was changed by hand"),
    (lambda text: text.replace('"version":"1"', '"version":"0"'), "its virtrbd is 0, not 1"),
    (lambda text: text.replace('"settings":""', '"settings":"/x"'), "its settings file is /x, not none"),
])  # fmt: skip
def test_what_differs_is_said(tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    wanted = program(tmp_path)
    assert differences(wanted.text, wanted) == ()
    assert is_program(change(wanted.text))
    assert differences(change(wanted.text), wanted) == (words,)


def test_the_hook_is_written_replaced_and_removed(tmp_path: Path) -> None:
    settings = Settings(host="h", state_dir=str(tmp_path), hook=HookSettings(folder=str(tmp_path / "hooks/qemu.d")))
    file, wanted = tmp_path / "hooks/qemu.d/virtrbd", program(tmp_path)
    assert (look(settings, wanted).state, remove(settings)) == ("absent", False)
    assert install(settings, wanted)
    assert (file.read_text(), file.stat().st_mode & 0o777) == (wanted.text, 0o755)
    assert (look(settings, wanted).state, install(settings, wanted)) == ("installed", False)
    file.chmod(0o644)
    assert look(settings, wanted).differences == ("it is not executable, so libvirt does not run it",)
    assert install(settings, wanted)
    assert install(settings, program(tmp_path, version="2"))
    assert remove(settings)
    assert not file.exists()


@pytest.mark.parametrize("kind", ["file", "link", "folder", "bytes"])
def test_a_file_of_others_stays(tmp_path: Path, kind: str) -> None:
    settings, file = Settings(host="h", hook=HookSettings(folder=str(tmp_path))), tmp_path / "virtrbd"
    match kind:
        case "file":
            file.write_text("#!/bin/sh\n# mine\n")
        case "link":
            file.symlink_to(tmp_path / "elsewhere")
        case "folder":
            file.mkdir()
        case _:
            file.write_bytes(b"\xff" * 100_000)
    before = file.lstat()
    with pytest.raises(VirtrbdError, match="is not virtrbd's"):
        install(settings, program(tmp_path))
    with pytest.raises(VirtrbdError, match="is not virtrbd's"):
        remove(settings)
    assert file.lstat() == before


def test_the_log_is_one_line_each_and_bounded(tmp_path: Path) -> None:
    file = str(tmp_path / "made/hook.log")
    log(file, "first\x1b\nforged")
    assert Path(file).read_text().endswith("Z first\\x1b\\nforged\n")
    for _ in range(300):
        log(file, "x" * 10_000)
    assert sum(each.stat().st_size for each in Path(file).parent.iterdir()) < 2.2 * 1024**2
    log("/proc/nowhere/hook.log", "ignored")
