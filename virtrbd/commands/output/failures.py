"""Failures of single domains and images, as they are shown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from virtrbd.commands.frame.run import Run
from virtrbd.errors import VirtrbdError
from virtrbd.model.failure import Failure


@contextmanager
def having_done(text: str) -> Iterator[None]:
    """Put what was done before the block at the begin of the block's errors; "" is nothing."""
    try:
        yield
    except VirtrbdError as error:
        error.messages = (*filter(None, [text]), *error.messages)
        raise


def show_trace(run: Run, domain: str, trace: Sequence[str]) -> None:
    """Print where in the code a defect was met, for the report to virtrbd's authors; also beside JSON."""
    for line in trace:
        run.say(f"{domain}: trace: {line}")


def show_failures(run: Run, failures: Sequence[Failure]) -> list[str]:
    """Print the traces of specs at which virtrbd itself failed; return a line for each."""
    for failure in failures:
        show_trace(run, "specs", failure.trace)
    return [failure.text for failure in failures]


def failure_data(failure: Failure) -> dict[str, Any]:
    """Return a failure for programs."""
    return {"text": failure.text, "exit_code": int(failure.exit_code), "trace": list(failure.trace)}
