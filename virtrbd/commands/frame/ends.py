"""The ends of a run: the exit code and the message of what is raised."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import click

from virtrbd.commands.frame.answer import complain
from virtrbd.commands.frame.run import Run
from virtrbd.commands.output.printing import OutputError
from virtrbd.ending import EndedError, ask_again, asked
from virtrbd.errors import DefectError, ExitCode, SpecError, UsageError, VirtrbdError, worst
from virtrbd.printable import quoted

# The errors of click's own writes where there is no room, or the disk is broken.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# By signal: the exit code, and the word for it.
_ENDS = {
    signal.SIGHUP: (ExitCode.HUNG_UP, "the terminal is closed"),
    signal.SIGINT: (ExitCode.INTERRUPTED, "interrupted"),
    signal.SIGTERM: (ExitCode.TERMINATED, "terminated"),
    signal.SIGPIPE: (ExitCode.CLOSED_PIPE, "the reader closed the pipe"),
}


def ending_of(error: BaseException) -> ExitCode:
    """Return the exit code of a run that this exception ends."""
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


def ended(invoke: Callable[[Run], ExitCode], run: Run) -> ExitCode:
    """Run, and return the exit code also where not even the reason can be written."""
    try:
        return guarded(invoke, run)
    except BrokenPipeError:
        return ExitCode.CLOSED_PIPE
    except OSError:
        return ExitCode.FAILED
    except EndedError as error:
        # While that was written.
        return ending_of(error)


def guarded(invoke: Callable[[Run], ExitCode], run: Run) -> ExitCode:
    """Run, and return the exit code; report what was raised."""
    try:
        code = _spoken(invoke, run)
        # It came while a step was finished, and the step failed, or its report is lost.
        return worst(code, _say_ended(asked(), run)) if asked() else code
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.CLOSED_PIPE
    except click.Abort:
        return _say_ended(signal.SIGINT, run)
    except EndedError as error:
        return _say_ended(error.number, run)
    except Exception as error:
        # Writers of virtrbd's files report a full disk themselves: this is the answer's, or click's help.
        if isinstance(error, OutputError) or (isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS):
            fact = f"{error.filename or 'standard output'}: {(error.strerror or '').lower()}"
            return run.refuse(ExitCode.FAILED, f"virtrbd: {fact}; make room or write elsewhere, then run again")
        complain(_trace_lines(error))
        return run.refuse(ExitCode.BUG, "virtrbd: this is a bug in virtrbd; please report it with the lines above")


def complain_of_lost(lost: "sys.UnraisableHookArgs | threading.ExceptHookArgs") -> None:
    """Report what was raised where nothing can catch it; Python would print its whole text."""
    if isinstance(lost.exc_value, EndedError):
        ask_again()
    elif lost.exc_value is not None:
        complain(_trace_lines(lost.exc_value))


def _say_ended(number: int, run: Run) -> ExitCode:
    """Report what was done before a signal ended the run; the next run does the rest."""
    code, word = _ENDS[signal.Signals(number)]
    lines = [*dict.fromkeys(run.done), f"virtrbd: {word}; run again to finish what was begun"]
    if number == signal.SIGHUP:
        # A closed terminal accepts no text, and that does not change the exit code.
        with suppress(OSError):
            run.refuse(code, *lines)
        return code
    return run.refuse(code, *lines)


def _spoken(invoke: Callable[[Run], ExitCode], run: Run) -> ExitCode:
    """Run, and return the exit code; report what is wrong with the command line, or with the world."""
    try:
        return invoke(run)
    except click.exceptions.Exit as done:
        return ExitCode(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.UsageError as error:
        if error.ctx:
            complain(error.ctx.get_usage().splitlines())
        return run.refuse(ExitCode.USAGE, f"virtrbd: {_as_written(error.format_message())}")
    except VirtrbdError as error:
        complain(_defect_lines(error))
        prefix = "virtrbd: " if isinstance(error, UsageError) else ""
        # A run that began has its own message: that the effect is unknown, or what was done before.
        is_idle = error.exit_code is ExitCode.UNAVAILABLE and not run.begun
        suffix = "; nothing was begun" if is_idle else ""
        return run.refuse(error.exit_code, *(prefix + message + suffix for message in error.messages))


def _as_written(message: str) -> str:
    """Return click's message with the words of the command line as they are; their repr() would be escaped twice."""
    for word in sys.argv[1:]:
        for part in filter(None, (word, *word.split("=", 1), word[2:])):
            message = message.replace(repr(part), quoted(part))
    return message


def _defect_lines(error: VirtrbdError) -> list[str]:
    """Return where in the code virtrbd itself failed: for the report of the bug, not for JSON."""
    defects = error.defects if isinstance(error, SpecError) else (error,)
    return [f"trace: {line}" for defect in defects if isinstance(defect, DefectError) for line in defect.trace]


def _trace_lines(error: BaseException) -> list[str]:
    """Return where in the code the exception came from; without its text, which may hold a secret."""
    # Nothing else of the command line needs it, and Python's own module behind it loads slowly.
    from virtrbd.contained import trace_of

    return [f"virtrbd: trace: {place}" for place in trace_of(error)]
