"""The command line's frame: global options before and after the verb, and how a run ends."""

import errno
import functools
import itertools
import math
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import click

from virtrbd import __version__
from virtrbd.commands.environment import drop_foreign, restore
from virtrbd.commands.log_lines import print_log
from virtrbd.commands.printing import OutputError, prepare_streams, print_document, print_json, print_lines
from virtrbd.commands.verbs import Verbs
from virtrbd.deadline import has_begun, leave, report_calls
from virtrbd.ending import EndedError, ask_again, asked, heed_signals, ignore_signals, what_was_done
from virtrbd.errors import DefectError, ExitCode, SpecError, UsageError, VirtrbdError, worst
from virtrbd.model.settings import Settings
from virtrbd.printable import is_utf8, quoted

SCHEMA_VERSION = 1

# Not empty once the JSON answer is out: leaving may still fail, and stdout holds one document.
_answered: list[bool] = []

# What a write of click's own ends with where there is no room, or the disk is broken.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# What a run had done before it failed, for that document.
_so_far: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the global options said. `log`: the form of what goes to stderr."""

    config: str | None = None
    connect: str | None = None
    output: str = "text"
    verbose: bool = False
    quiet: bool = False
    log: str = "text"
    ended: list[ExitCode] = field(default_factory=list)

    @property
    def is_json(self) -> bool:
        return self.output == "json"

    def settings(self) -> Settings:
        """Return the settings with what the command line overrides."""
        from virtrbd.specs.settings import load_settings

        settings = load_settings(self.config)
        restore(settings.keep_environment)
        return replace(settings, connect=self.connect) if self.connect else settings

    def say(self, line: str) -> None:
        """Tell the person something; never on stdout, where the answer goes."""
        if not self.quiet:
            print_log([line], is_error=False, event="note", as_json=self.log == "json")

    def answer(self, data: dict[str, Any], lines: Sequence[str]) -> None:
        """Print the answer: one JSON document, or the lines."""
        if self.is_json:
            _answered.append(True)
            print_json({"schema": SCHEMA_VERSION, **data}, indent=2)
        else:
            print_lines(lines)
        # The work is done and said: to say now that it was ended would be wrong.
        ignore_signals()

    def answer_change(self, data: dict[str, Any], lines: Sequence[str], *, changed: bool) -> None:
        """Print what a verb changed; with -q the lines only where it changed anything."""
        self.answer({**data, "changed": changed}, lines if changed or not self.quiet else [])

    def answer_document(self, data: dict[str, Any], text: str) -> None:
        """Print the answer: one JSON document, or a document in a form of its own, which may go into a file."""
        if self.is_json:
            self.answer(data, [])
        else:
            print_document(text)

    def so_far(self, data: dict[str, Any]) -> None:
        """Keep what was done: the one JSON document has it also when the run fails or is ended."""
        _so_far.update(data)

    def report_call(self, what: str, seconds: float, is_over: bool) -> None:
        """Say which call was made, and how long it took; for -v."""
        fate = "" if is_over else ", and was given up"
        line = f"{what} took {seconds * 1000:.1f} ms{fate}"
        print_log([line], is_error=False, event="call", as_json=self.log == "json")

    def refuse(self, code: ExitCode, *lines: str) -> None:
        """Say why the run ends, for a process that is left without coming back here."""
        _refuse(code, *lines)

    def end(self, code: ExitCode) -> None:
        """Set the run's exit code, for runs that end without an exception."""
        self.ended.append(code)


class SecondsRange(click.FloatRange):
    """A number of seconds: nan is no number of anything, and click's own range lets it through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{quoted(value)} is no number of seconds; write one like 30", param, ctx)
        return seconds


# A name that is no UTF-8 is no name in libvirt or Ceph; that of a file may be any bytes.
FILE_TYPE = click.Path(readable=False)


def require_text(context: click.Context, values: Mapping[str, Any]) -> None:
    """Raise UsageError for a word on the command line that is no UTF-8, unless it names a file."""
    for parameter in context.command.params:
        value = None if isinstance(parameter.type, click.Path) else values.get(parameter.name or "")
        for word in value if isinstance(value, tuple) else (value,):
            if isinstance(word, str) and not is_utf8(word):
                raise UsageError(f"{parameter.human_readable_name}: {quoted(word)} is no UTF-8; check the encoding")


_OPTIONS = (
    click.option("--config", type=FILE_TYPE, metavar="FILE", help="Settings file."),
    click.option("--connect", metavar="URI", help="libvirt connection."),
    click.option("--output", type=click.Choice(["text", "json"]), help="Form of the answer."),
    click.option("-v", "--verbose", is_flag=True, help="Say which calls are made, and how long they took."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing where nothing is to be done."),
)


def with_global_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the global options too; they win over those before the verb. It gets a Run."""

    @functools.wraps(command)
    @click.pass_context
    def wrapped(context: click.Context, /, **values: Any) -> None:
        require_text(context, values)
        own = {name: values.pop(name) for name in ("config", "connect", "output", "verbose", "quiet")}
        run: Run = replace(context.find_root().obj, **{name: value for name, value in own.items() if value})
        if run.verbose:
            report_calls(run.report_call)
        command(run, **values)

    for option in _OPTIONS:
        wrapped = option(wrapped)
    return wrapped


ALLOW = click.option(
    "--allow",
    multiple=True,
    metavar="HAZARD",
    help="Allow a hazard: interrupts-guest, forgets-domain, loses-data, takes-over.",
)


# By heading of the help: which module has which verb.
_VERBS = {
    "Specs": {"new": "authoring", "validate": "specs", "render": "rendering", "adopt": "adoption"},
    "Fleet of this host": {
        "list": "domains",
        "inspect": "domains",
        "plan": "fleet",
        "apply": "fleet",
        "define": "specs",
        "reconcile": "reconciling",
        "hold": "holding",
        "release": "holding",
        "ignore": "holding",
        "undefine": "domains",
        "remove": "retiring",
    },
    "Power": dict.fromkeys(("start", "shutdown", "reboot", "destroy", "console"), "domains"),
    "Images": {"image": "images"},
    "Other": {"schema": "authoring"},
}


@click.group(
    cls=Verbs, verbs=_VERBS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="virtrbd")
@click.pass_context
def app(context: click.Context, /, **values: Any) -> None:
    """Manage libvirt domains whose disks are Ceph RBD images."""
    require_text(context, values)
    context.obj = Run(**{name: value for name, value in values.items() if value})


for _option in _OPTIONS:
    app = _option(app)


def run_app() -> None:
    """Run the command line and leave with its exit code; every way out of a run goes through here."""
    drop_foreign()
    # Keys pass through this process: a core dump would hold them.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    heed_signals()
    prepare_streams()
    # Python prints what is raised where nothing can catch it by itself, with all that its text holds.
    sys.unraisablehook = threading.excepthook = _complain_of_lost
    leave(_ended())


# By signal: the exit code, and the word for it.
_ENDS = {
    signal.SIGHUP: (ExitCode.HUNG_UP, "the terminal is gone"),
    signal.SIGINT: (ExitCode.INTERRUPTED, "interrupted"),
    signal.SIGTERM: (ExitCode.TERMINATED, "terminated"),
    signal.SIGPIPE: (ExitCode.CLOSED_PIPE, "nobody reads on"),
}


def ending_of(error: BaseException) -> ExitCode:
    """Return the exit code that a run ends with which this ends."""
    match error:
        case VirtrbdError():
            return error.exit_code
        case EndedError():
            return _ENDS[signal.Signals(error.number)][0]
        case click.Abort():
            return ExitCode.INTERRUPTED
        case BrokenPipeError():
            return ExitCode.CLOSED_PIPE
    return ExitCode.BUG


def _ended() -> ExitCode:
    """Run, and return the exit code also where not even the reason can be said."""
    try:
        return _guarded()
    except BrokenPipeError:
        return ExitCode.CLOSED_PIPE
    except OSError:
        return ExitCode.FAILED
    except EndedError as error:
        # While that was said.
        return ending_of(error)


def _guarded() -> ExitCode:
    try:
        code = _invoke()
        # It came while something was finished, and that failed, or what was told of it is lost.
        return worst(code, _say_ended(asked())) if asked() else code
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.CLOSED_PIPE
    except click.Abort:
        return _say_ended(signal.SIGINT)
    except EndedError as error:
        return _say_ended(error.number)
    except Exception as error:
        # Whoever writes a file of ours tells of a full disk himself: this is the answer's, or click's help.
        if isinstance(error, OutputError) or (isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS):
            fact = f"{error.filename or 'standard output'}: {(error.strerror or '').lower()}"
            return _refuse(ExitCode.FAILED, f"virtrbd: {fact}; make room or write elsewhere, then run again")
        _complain(*_trace_lines(error))
        return _refuse(ExitCode.BUG, "virtrbd: this is a bug in virtrbd; please report it with the lines above")


def _say_ended(number: int) -> ExitCode:
    """Say what was done before a signal ended the run; the next one does the rest."""
    code, word = _ENDS[signal.Signals(number)]
    if number == signal.SIGHUP:
        # A terminal that is gone takes no words, and what was to be said is no reason for another code.
        with suppress(OSError):
            _refuse(code, *what_was_done(), f"virtrbd: {word}; run again to finish what was begun")
        return code
    return _refuse(code, *what_was_done(), f"virtrbd: {word}; run again to finish what was begun")


def _invoke() -> ExitCode:
    try:
        with app.make_context("virtrbd", sys.argv[1:]) as root:
            app.invoke(root)
            run: Run = root.obj
            return worst(*run.ended)
    except click.exceptions.Exit as done:
        return ExitCode(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.UsageError as error:
        if error.ctx:
            _complain(*error.ctx.get_usage().splitlines())
        return _refuse(ExitCode.USAGE, f"virtrbd: {_as_written(error.format_message())}")
    except VirtrbdError as error:
        _complain(*_defect_lines(error))
        prefix = "virtrbd: " if isinstance(error, UsageError) else ""
        # What was begun has its own words: whether it took effect is unknown, or what was done before.
        is_idle = error.exit_code is ExitCode.UNAVAILABLE and not has_begun()
        suffix = "; nothing was begun" if is_idle else ""
        return _refuse(error.exit_code, *(prefix + message + suffix for message in error.messages))


def _as_written(message: str) -> str:
    """Return click's message with the words of the command line as they are; their repr() would be escaped twice."""
    for word in sys.argv[1:]:
        for part in filter(None, (word, *word.split("=", 1), word[2:])):
            message = message.replace(repr(part), quoted(part))
    return message


def _defect_lines(error: VirtrbdError) -> list[str]:
    """Return where in the code virtrbd itself failed; it goes into no JSON, but to whoever reports it."""
    defects = error.defects if isinstance(error, SpecError) else (error,)
    return [f"trace: {line}" for defect in defects if isinstance(defect, DefectError) for line in defect.trace]


def _refuse(code: ExitCode, *lines: str) -> ExitCode:
    """Say why the run ends; as the one JSON document too when that was asked for and no answer is out yet."""
    try:
        _complain(*lines)
    except OutputError:
        code = ExitCode.FAILED
    if _wants_json("--output") and not _answered:
        _answered.append(True)
        errors = [line.removeprefix("virtrbd: ") for line in lines]
        failure = {"errors": errors, "exit_code": int(code)}
        print_json({"schema": SCHEMA_VERSION, **_so_far, **failure}, indent=2)
    return code


def _complain(*lines: str) -> None:
    print_log(lines, is_error=True, event="problem", as_json=_wants_json("--log"))


def _trace_lines(error: BaseException) -> list[str]:
    """Return where in the code the exception came from; without its text, which may hold a secret."""
    from virtrbd.contained import trace_of

    return [f"virtrbd: trace: {place}" for place in trace_of(error)]


def _complain_of_lost(lost: "sys.UnraisableHookArgs | threading.ExceptHookArgs") -> None:
    if isinstance(lost.exc_value, EndedError):
        ask_again()
    elif lost.exc_value is not None:
        _complain(*_trace_lines(lost.exc_value))


def _wants_json(option: str) -> bool:
    """Whether an option asked for JSON; the error may come before the options were taken."""
    words = sys.argv[1:]
    return f"{option}=json" in words or (option, "json") in itertools.pairwise(words)
