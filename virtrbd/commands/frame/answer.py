"""The answer of a run on standard output: once, also where the run fails."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from virtrbd.commands.output.log_lines import print_log
from virtrbd.commands.output.printing import OutputError, print_json
from virtrbd.errors import ExitCode

SCHEMA_VERSION = 1


class JsonAnswer:
    """The one JSON document of a run, which has what was done also when the run fails or is ended."""

    def __init__(self) -> None:
        # Leaving may still fail once it is out, and standard output holds one document.
        self._is_out = False
        self._so_far: dict[str, Any] = {}

    def keep(self, data: dict[str, Any]) -> None:
        """Record what was done, for the document of a run that fails or is ended."""
        self._so_far.update(data)

    def write(self, data: dict[str, Any]) -> None:
        """Print the document."""
        self._is_out = True
        print_json({"schema": SCHEMA_VERSION, **data}, indent=2)

    def refuse(self, code: ExitCode, lines: Sequence[str]) -> ExitCode:
        """Report why the run ends; with --output json also as the document, unless it was written."""
        try:
            complain(lines)
        except OutputError:
            code = ExitCode.FAILED
        if _wants_json("--output") and not self._is_out:
            errors = [line.removeprefix("virtrbd: ") for line in lines]
            self.write({**self._so_far, "errors": errors, "exit_code": int(code)})
        return code


def complain(lines: Sequence[str]) -> None:
    """Report what is wrong, on standard error."""
    print_log(lines, is_error=True, event="problem", as_json=_wants_json("--log"))


def _wants_json(option: str) -> bool:
    """Whether an option asked for JSON; the error may come before the options were taken."""
    words = sys.argv[1:]
    return f"{option}=json" in words or (option, "json") in itertools.pairwise(words)
