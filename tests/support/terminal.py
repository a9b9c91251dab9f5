"""A command on a terminal of its own."""

import sys
from collections.abc import Sequence

_PROGRAM = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def on_a_terminal(command: Sequence[str]) -> list[str]:
    """Return the command line for it: the output comes on standard output, and the exit status is its own."""
    return [sys.executable, "-c", _PROGRAM, *command]
