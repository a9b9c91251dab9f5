"""The terminal, lent to another program."""

import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

from virtrbd.errors import HypervisorError, UnavailableError, UsageError


def lend_terminal(name: str, command: Sequence[str]) -> None:
    """Run a program on the terminal, and restore the terminal afterwards. Raises UsageError, HypervisorError."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"{name}: a console needs a terminal; --output json names its pty for programs")
    before = termios.tcgetattr(sys.stdin)
    try:
        # Not exec: virsh ends with 1 for everything, which a script cannot use.
        code = subprocess.call(command)
    except FileNotFoundError:
        raise UnavailableError(f"{command[0]} is missing; apt install libvirt-clients") from None
    finally:
        # A closed terminal cannot be restored.
        with suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
    if code:
        raise HypervisorError(f"{name}: {command[0]} ended with {code}; is the console open elsewhere?")
