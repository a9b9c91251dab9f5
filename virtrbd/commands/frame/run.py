"""One run of a verb: the global options, and how the verb reports and answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from virtrbd.commands.frame.answer import JsonAnswer
from virtrbd.commands.frame.environment import restore
from virtrbd.commands.output.log_lines import print_log
from virtrbd.commands.output.printing import print_document, print_lines
from virtrbd.ending import ignore_signals
from virtrbd.errors import ExitCode
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings


class Run(Struct, frozen=True, kw_only=True):
    """The command line's side of a run: the global options, and how it reports, answers and ends.

    Its other side is `Host`, which the rooms below the commands work with: they know no command line. A run begins
    before the options are taken, and its copies share what it has done. `log`: the form of the lines on stderr.
    """

    config: str | None = None
    connect: str | None = None
    output: str = "text"
    verbose: bool = False
    quiet: bool = False
    log: str = "text"
    # What root's run dropped of its environment.
    dropped: Mapping[str, str] = field(default_factory=dict)
    json_answer: JsonAnswer = field(default_factory=JsonAnswer)
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    ended: list[ExitCode] = field(default_factory=list)

    @property
    def is_json(self) -> bool:
        return self.output == "json"

    def settings(self) -> Settings:
        """Return the settings with what the command line overrides."""
        # The help needs no settings.
        from virtrbd.specs.settings import load_settings

        settings = load_settings(self.config)
        restore(settings.keep_environment, self.dropped)
        return replace(settings, connect=self.connect) if self.connect else settings

    def say(self, *lines: str) -> None:
        """Print a message for the operator; never on stdout, where the answer goes."""
        if not self.quiet:
            print_log(lines, is_error=False, event="note", as_json=self.log == "json")

    def answer(self, data: dict[str, Any], lines: Sequence[str]) -> None:
        """Print the answer: one JSON document, or the lines."""
        if self.is_json:
            self.json_answer.write(data)
        else:
            print_lines(lines)
        # The work is done and reported: a report now that it was ended would be wrong.
        ignore_signals()

    def answer_change(self, data: dict[str, Any], lines: Sequence[str], *, changed: bool) -> None:
        """Print what a verb changed; with -q the lines only where it changed anything."""
        self.answer({**data, "changed": changed}, lines if changed or not self.quiet else [])

    def answer_document(self, data: dict[str, Any], text: str) -> None:
        """Print the answer: one JSON document, or a document in another form, which may go into a file."""
        if self.is_json:
            self.answer(data, [])
        else:
            print_document(text)

    def did(self, text: str) -> None:
        """Record what was done: a run that a signal ends before its answer reports that."""
        self.done.append(text)

    def so_far(self, data: dict[str, Any]) -> None:
        """Record what was done: the one JSON document has it also when the run fails or is ended."""
        self.json_answer.keep(data)

    def begin(self, what: str) -> None:
        """Record that something is about to be changed: a run that ends early says whether anything was begun."""
        self.begun.append(what)

    def report_call(self, what: str, seconds: float, is_over: bool) -> None:
        """With -v report a call, and how long it took."""
        if not self.verbose:
            return
        fate = "" if is_over else ", and was given up"
        line = f"{what} took {seconds * 1000:.1f} ms{fate}"
        print_log([line], is_error=False, event="call", as_json=self.log == "json")

    def refuse(self, code: ExitCode, *lines: str) -> ExitCode:
        """Report why the run ends, with what was done, and return its exit code."""
        return self.json_answer.refuse(code, lines)

    def end(self, code: ExitCode) -> None:
        """Set the run's exit code, for runs that end without an exception."""
        self.ended.append(code)
