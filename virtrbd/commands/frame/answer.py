"""The answer of a run on standard output: once, also where the run fails."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from virtrbd.commands.output.log_lines import print_log
from virtrbd.commands.output.printing import OutputError, print_json
from virtrbd.errors import ExitCode

SCHEMA_VERSION = 1

# Not empty once the JSON answer is out: leaving may still fail, and stdout holds one document.
_answered: list[bool] = []

# What a run had done before it failed, for that document.
_so_far: dict[str, Any] = {}


def answer_json(data: dict[str, Any]) -> None:
    """Print the one JSON document."""
    _answered.append(True)
    print_json({"schema": SCHEMA_VERSION, **data}, indent=2)


def keep_so_far(data: dict[str, Any]) -> None:
    """Record what was done: the JSON document has it also when the run fails or is ended."""
    _so_far.update(data)


def refuse(code: ExitCode, lines: Sequence[str]) -> ExitCode:
    """Report why the run ends; with --output json also as the one JSON document, unless an answer was written."""
    try:
        complain(lines)
    except OutputError:
        code = ExitCode.FAILED
    if _wants_json("--output") and not _answered:
        errors = [line.removeprefix("virtrbd: ") for line in lines]
        answer_json({**_so_far, "errors": errors, "exit_code": int(code)})
    return code


def complain(lines: Sequence[str]) -> None:
    """Report what is wrong, on standard error."""
    print_log(lines, is_error=True, event="problem", as_json=_wants_json("--log"))


def _wants_json(option: str) -> bool:
    """Whether an option asked for JSON; the error may come before the options were taken."""
    words = sys.argv[1:]
    return f"{option}=json" in words or (option, "json") in itertools.pairwise(words)
