"""All text leaves virtrbd at one place, which lets nothing through that a terminal obeys."""

import ast
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import virtrbd
from virtrbd.commands.app import app
from virtrbd.commands.output.log_lines import print_log
from virtrbd.commands.output.plan import plan_lines
from virtrbd.commands.output.printing import print_lines
from virtrbd.commands.output.table import table
from virtrbd.errors import SpecError
from virtrbd.model.difference import Difference
from virtrbd.model.domain_actions import DefineDomain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import ForeignChange
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Plan
from virtrbd.printable import LINE_LENGTH, VALUE_LENGTH

pytestmark = pytest.mark.slow

Virtrbd = Callable[..., subprocess.CompletedProcess[str]]
HOSTILE = "a\x1b[2J\x9b31m\x07\r\nweb-02: would start domain\u202e\u200b\u2028\udcff\0" + "x" * 1000
ROOT = Path(virtrbd.__file__).parent
# `leave` flushes, a console lends the terminal to virsh, and the bar is rich's.
WRITERS = {
    *(f"commands/output/{name}.py" for name in ("printing", "terminal", "progress")),
    "deadline.py",
    # libvirt reads what a hook says.
    "hook/answer.py",
}


def calls_that_write(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Call | ast.Attribute) else ""
        if text.startswith(("click.echo", "click.secho", "click.prompt", "click.confirm", "click.style", "print(")):
            yield text
        if text in ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"):
            yield text


def test_nothing_else_writes_to_the_terminal() -> None:
    found = {
        str(file.relative_to(ROOT)): list(calls_that_write(ast.parse(file.read_text())))
        for file in ROOT.rglob("*.py")
        if str(file.relative_to(ROOT)) not in WRITERS
    }
    # Where the pipe is closed, standard output is pointed elsewhere.
    assert {file: calls for file, calls in found.items() if calls} == {"commands/frame/ends.py": ["sys.stdout"]}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(categories=None), max_size=50))
def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_lines([text], to_stderr=True)
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert said[:-1].isprintable()


def test_a_line_for_programs_is_one_line_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = HOSTILE + "y" * LINE_LENGTH
    print_log([long], is_error=True, event="problem", as_json=True, domain=HOSTILE)
    [line] = capsys.readouterr().err.splitlines()
    assert line.isascii()
    entry = json.loads(line)
    assert (entry["line"], entry["domain"]) == (long, HOSTILE)


def test_a_table_is_as_wide_as_what_is_shown() -> None:
    lines = table(("image", "size"), [("vms/a\x1b[31m", "1 GiB"), ("vms/\\x1b", "2 GiB"), ("x" * 5000, "3 GiB")])
    print_lines(lines)
    assert lines[1].startswith("vms/a\\x1b[31m ")
    assert lines[2].startswith("vms/\\\\x1b ")
    assert len({line.index(size) for line, size in zip(lines[1:], ("1 GiB", "2 GiB", "3 GiB"), strict=True)}) == 1
    assert all(len(line) < VALUE_LENGTH + 60 for line in lines)


def test_no_value_forges_a_line_of_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    title = "fine\nweb-02: would start domain"
    edit = DefineDomain(
        domain_uuid="u", xml="", inputs="", based_on="<domain/>",
        differences=(Difference(path=ElementPath("/title"), wanted=title, found="x" * 4_000_000),),
    )  # fmt: skip
    foreign = Finding(
        domain="web-01", kind=FindingKind.FOREIGN,
        text=str(ForeignChange(path=ElementPath(f"/metadata/{title}"), was="", found="\u202e" * 4_000_000)),
    )  # fmt: skip
    domain = DomainPlan(name="web-01", actions=(edit,), findings=(foreign,), problems=(f"web.yaml:1: {title}",))
    print_lines(plan_lines(Plan(domains=(domain,)), frozenset()))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("web-01: ") for line in lines[:3])
    assert "/title: " + "x" * VALUE_LENGTH + "… (3999800 characters more) -> fine\\nweb-02: would start" in lines[1]
    assert all(len(line) < 4_000 for line in lines)


def test_an_error_of_several_messages_is_as_many_lines() -> None:
    error = SpecError("web.yaml:1: one", "web.yaml:2: two\nweb.yaml:3: forged")
    assert error.messages == ("web.yaml:1: one", "web.yaml:2: two\nweb.yaml:3: forged")
    assert error.as_line == "web.yaml:1: one; web.yaml:2: two\nweb.yaml:3: forged"


def verbs_below(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        if isinstance(command, click.Group):
            yield from verbs_below(command, (*path, verb))
        elif command:
            yield (*path, verb), command


VERBS = dict(verbs_below(app))
BYTES = b"vms/web\xff\x1b[31m".decode(errors="surrogateescape")


def words_for(command: click.Command, word: str) -> list[str]:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    sizes = {"size": "1G"}
    return [sizes.get(each.type.name, word) for each in arguments]


@pytest.mark.parametrize("path", [path for path, verb in VERBS.items() if words_for(verb, "")], ids=" ".join)
def test_a_word_that_is_no_utf8_ends_with_a_sentence_on_every_verb(virtrbd: Virtrbd, path: tuple[str, ...]) -> None:
    words = words_for(VERBS[path], BYTES)
    if any("--strict" in option.opts for option in VERBS[path].params):
        # Else the run goes on to libvirt, which there is none of here.
        words.append("--strict")
    done = virtrbd(*path, *words)
    assert done.returncode in (64, 65), done.stderr
    assert "udcff" in done.stderr
    assert "trace" not in done.stderr
    assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
    document = json.loads(virtrbd(*path, *words, "--output", "json").stdout)
    assert document["exit_code"] == done.returncode


OPTIONS = [
    (path, option.opts[0])
    for path, verb in {(): app, **VERBS}.items()
    for option in verb.params
    if isinstance(option, click.Option) and not option.is_flag and not option.count and "--help" not in option.opts
    if not isinstance(option.type, click.Path)
]


def test_an_option_that_is_no_utf8_ends_with_a_sentence_too(virtrbd: Virtrbd) -> None:
    # Each once: the options that many verbs share are the same.
    for option, path in {option: path for path, option in OPTIONS}.items():
        words = words_for(VERBS[path], "vms/a@s") if path else ["list"]
        done = virtrbd(*path, *words, option, BYTES)
        assert done.returncode == 64, (path, option, done.stderr)
        assert all(line.isprintable() for line in done.stderr.split("\n")), (path, option)


@pytest.mark.parametrize("words", [(HOSTILE[:-1001],), ("--" + HOSTILE[:40],), ("list", HOSTILE[:40]), ("start",)])
def test_a_wrong_command_line_is_repeated_without_its_control_characters(
    virtrbd: Virtrbd, words: tuple[str, ...]
) -> None:
    done = virtrbd(*words)
    assert done.returncode == 64
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    assert not any(line.startswith("web-02") for line in done.stderr.split("\n"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a\x1bb"], r"No such command 'a\x1bb'."),
        (["list", "--a\x1bb"], r"No such option '--a\x1bb'."),
        (["list", "--output=a\x1bb"], r"'a\x1bb' is not one of "),
        (["list", "--output", r"a\d"], r"'a\d' is not one of "),
    ],
)
def test_a_wrong_word_is_escaped_once(virtrbd: Virtrbd, words: list[str], said: str) -> None:
    assert said in virtrbd(*words).stderr


SPEC = 'name: web-01\nmemory: 1G\ntitle: "Grüße"\ndescription: "a\\u2713b"\ndisks:\n  - size: 1G\n'


def rendering(tmp_path: Path) -> list[str]:
    (tmp_path / "web.yaml").write_text(SPEC)
    (tmp_path / "settings.yaml").write_text(f"host: kvm-1\nceph:\n  conf: {tmp_path}/ceph.conf\n")
    return [sys.executable, "-m", "virtrbd", "render", "--for", "libvirt=9.0,qemu=7.2", str(tmp_path / "web.yaml")]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_document_goes_into_a_pipe_as_utf8_whatever_the_locale(tmp_path: Path, encoding: str) -> None:
    env = {**os.environ, "VIRTRBD_CONFIG": str(tmp_path / "settings.yaml"), "PYTHONIOENCODING": encoding}
    done = subprocess.run(rendering(tmp_path), env=env, capture_output=True, check=True)
    assert "Grüße" in done.stdout.decode()
    assert "✓" in done.stdout.decode()


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", b"\\u2713"), ("ascii", "✓".encode()), ("utf-8", "✓".encode())]
)
def test_no_encoding_ends_a_run(tmp_path: Path, encoding: str, shown: bytes) -> None:
    (tmp_path / "settings.yaml").write_text("host: kvm-1\n")
    env = {**os.environ, "VIRTRBD_CONFIG": str(tmp_path / "settings.yaml"), "PYTHONIOENCODING": encoding}
    (tmp_path / "✓.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "virtrbd", "validate", "✓.yaml"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True)
    # Where it is ASCII, click takes it for a slip and writes UTF-8.
    assert done.stdout == b"web-01: valid (" + shown + b".yaml:1)\n"


def test_a_closed_standard_output_ends_no_run(tmp_path: Path) -> None:
    command = rendering(tmp_path)
    env = {**os.environ, "VIRTRBD_CONFIG": str(tmp_path / "settings.yaml")}
    assert subprocess.run(["bash", "-c", 'exec "$@" >&-', "bash", *command], env=env, check=False).returncode == 0


NO_ROOM = {
    "a full disk": ('exec "$@" >/dev/full', "no space left on device"),
    "a limit": ('ulimit -f 0; exec "$@" >answer', "file too large"),
}


@pytest.mark.parametrize("words", [["schema"], ["schema", "--output", "json"], ["validate", "--help"]], ids=" ".join)
@pytest.mark.parametrize("why", ["a full disk", "a limit"])
def test_an_answer_that_cannot_be_written_is_5_with_a_sentence(why: str, words: list[str], tmp_path: Path) -> None:
    script, fact = NO_ROOM[why]
    command = ["bash", "-c", script, "bash", sys.executable, "-m", "virtrbd", *words]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    said = f"virtrbd: standard output: {fact}; make room or write elsewhere, then run again\n"
    assert (done.returncode, done.stderr) == (5, said)


@pytest.mark.parametrize("script", ['exec "$@" 2>/dev/full', 'exec "$@" >/dev/full 2>&1'])
@pytest.mark.parametrize("words", [["validate", "nowhere.yaml"], ["validate", "--nonsense"], ["schema", "x"]])
def test_a_reason_that_cannot_be_written_is_5(script: str, words: list[str], tmp_path: Path) -> None:
    command = ["bash", "-c", script, "bash", sys.executable, "-m", "virtrbd", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (5, "")
    if "2>/dev/full" in script:
        command += ["--output", "json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (5, 5)


def test_a_document_is_escaped_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/odd.xml.j2").write_text(
        '{% extends "domain.xml.j2" %}{% block extra %}'
        '<metadata><a xmlns="urn:a" b="\x9b31m\u202e"/></metadata>{% endblock %}'
    )
    command = rendering(tmp_path)
    (tmp_path / "settings.yaml").write_text(
        f"host: kvm-1\ntemplate_dir: {tmp_path}/templates\nceph:\n  conf: {tmp_path}/ceph.conf\n"
    )
    (tmp_path / "web.yaml").write_text(SPEC + "template: odd.xml.j2\n")
    env = {**os.environ, "VIRTRBD_CONFIG": str(tmp_path / "settings.yaml")}
    piped = subprocess.run(command, env=env, capture_output=True, check=False)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=env, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = read_all(ours)
    assert process.returncode == piped.returncode == 0, piped.stderr
    assert "\x9b31m\u202e" in piped.stdout.decode()
    assert "\\x9b31m\\u202e" in shown
    assert all(line.isprintable() for line in shown.replace("\r\n", "\n").split("\n"))
    assert "Grüße" in shown


def read_all(terminal: int) -> str:
    found = b""
    try:
        while chunk := os.read(terminal, 65536):
            found += chunk
    except OSError:
        # What a terminal says when its other end is closed.
        pass
    os.close(terminal)
    return found.decode()
