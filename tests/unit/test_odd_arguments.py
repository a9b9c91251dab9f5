"""Whatever stands on the command line: a sentence and one of the codes, never a bug of virtrbd's.

In process, for all verbs: neither libvirt nor Ceph is there, which a run that gets so far says with 69 or 78.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import pytest

from virtrbd.commands import reconcile
from virtrbd.commands.app import app, invoke
from virtrbd.commands.frame import run as frame_run
from virtrbd.commands.frame.ends import ended as run_ended
from virtrbd.commands.frame.run import Run
from virtrbd.errors import ExitCode

pytestmark = pytest.mark.slow

# What a shell hands on of bytes that are no UTF-8.
BYTES = os.fsdecode(b"\xff")
ODD = {
    "bytes": BYTES,
    "long": "a" * 5000,
    "long image": f"vms/{'y' * 5000}",
    "empty": "",
    "blank": " ",
    "newline": "a\nb",
    "newline in an image": "vms/a\nb",
    "bytes in an image": f"vms/{BYTES}",
    "escape": "\x1b[31m",
    "override": "vms/\u202e",
    "dash": "-",
    "dashes": "---",
    "many parts": "a/b/c/d",
    "no image": "vms/",
    "no snapshot": "vms/x@",
    "two snapshots": "vms/x@y@z",
    "root": "/",
    "folder": "folder",
    "folder that is named as a spec": "folder.yaml",
    "file": "web.yaml",
    "file as a folder": "web.yaml/x",
    "pipe": "pipe",
    "dangling": "dangling.yaml",
    "binary": "binary.yaml",
    "empty file": "empty.yaml",
    "missing": "nowhere/x.yaml",
    "device": "/dev/null",
    "zero": "0",
    "nan": "nan",
    "negative": "-1",
    "huge": f"{'9' * 400}G",
    "other digits": "٣G",
    "half a character": os.fsdecode(b"vms/\xf0\x9f"),
}
# Beside what is wrong with a word: nothing answers here, and a right one may be done.
CODES = {ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE, ExitCode.SPEC, ExitCode.UNAVAILABLE, ExitCode.CONFIG}
CONNECT = "qemu:///system?socket=/nowhere"
# A word for each parameter, so that the odd one is reached.
USUAL = {
    "size": "8M", "refs": "vms/b", "parent": "vms/a@s", "source": "vms/a", "ref": "vms/a@s", "file": "web.yaml",
    "files": "web.yaml", "paths": "web.yaml", "name": "web", "path": "title", "names": "vms", "pools": "vms",
}  # fmt: skip


def verbs(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, (*words, name))
        else:
            yield (*words, name), command


def _line(before: Sequence[str], after: Sequence[str]) -> Callable[[str], list[str]]:
    return lambda odd: [*before, odd, *after]


def lines() -> Iterator[tuple[str, Callable[[str], list[str]]]]:
    """Yield a command line for each parameter of each verb, with that parameter's word left open.

    Options that verbs share are tried with one of them.
    """
    seen = {option.opts[-1] for option in app.params}
    for words, command in verbs(app):
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        options = [each for each in command.params if isinstance(each, click.Option) and not each.is_flag]
        usual = [USUAL[each.name or ""] for each in arguments]
        for at, argument in enumerate(arguments):
            before, after = [*words, "--", *usual[:at]], usual[at + 1 :]
            yield f"{' '.join(words)} {argument.name}", _line(before, after)
        for option in options:
            flag = option.opts[-1]
            if flag not in seen:
                seen.add(flag)
                yield f"{' '.join(words)} {flag}", _line([*words, flag], ["--", *usual])


LINES = dict(lines())
Ended = Callable[..., tuple[ExitCode, str]]


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """Run a command line in this process; return its exit code and what it said on standard error."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - size: 8M\n")
    (tmp_path / "binary.yaml").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "dangling.yaml").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "pipe")
    settings = f"host: kvm-1\nstate_dir: {tmp_path}/state\nspec_dir: {tmp_path}/folder\n"
    settings += f"connect: {CONNECT}\nceph: {{conf: {tmp_path}/no.conf}}\n"
    (tmp_path / "settings.yaml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIRTRBD_CONFIG", str(tmp_path / "settings.yaml"))
    # What is done at the end of a process is not to be done to this one.
    monkeypatch.setattr(frame_run, "ignore_signals", lambda: None)
    # Nor is this process as old as a run: a reconcile past its deadline would leave it.
    monkeypatch.setattr(reconcile, "PROCESS_BEGAN", time.monotonic())

    def run(*words: str) -> tuple[ExitCode, str]:
        monkeypatch.setattr(sys, "argv", ["virtrbd", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        code = run_ended(invoke, Run())
        err.seek(0)
        return code, err.read()

    return run


@pytest.mark.parametrize("line", LINES)
def test_an_odd_word_ends_with_a_sentence(line: str, ended: Ended) -> None:
    wrong = []
    for what, word in ODD.items():
        code, said = ended(*LINES[line](word))
        is_said = code is ExitCode.OK or any(text.strip() for text in said.splitlines())
        if code not in CODES or not is_said or "bug" in said or "trace:" in said or "\x1b" in said:
            wrong.append((what, code, said[-500:]))
        assert all(len(text) < 6000 for text in said.splitlines()), (what, "a line is as long as what was typed")
    assert wrong == []


@pytest.mark.parametrize("what", ODD)
def test_an_odd_verb_or_global_option_ends_with_a_sentence(what: str, ended: Ended) -> None:
    word = ODD[what]
    for words in (
        (word,), ("image", word), ("--config", word, "list"), ("--connect", word, "list"), ("--output", word, "list"),
        ("list", "--config", word), ("image", "snapshot", word),
    ):  # fmt: skip
        code, said = ended(*words)
        assert code in CODES, (words, code, said)
        assert said.strip(), words
        assert "bug" not in said, (words, said)


def test_in_a_working_directory_that_is_gone_every_verb_ends_with_a_sentence(
    ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    wrong = []
    for line, words in LINES.items():
        code, said = ended(*words("web.yaml"))
        if code not in CODES or (code is not ExitCode.OK and not said.strip()) or "bug" in said:
            wrong.append((line, code, said[-500:]))
    assert wrong == []
    monkeypatch.chdir(tmp_path)
