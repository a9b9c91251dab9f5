"""`virtrbd` and `python -m virtrbd`."""

import gc
import os
import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    _open_standard_streams()
    # Until there is something to clean up a signal ends the process by itself: raised while modules load, Python would
    # print where, and some of what loads would catch it. One that is ignored stays so: `nohup`, a shell's background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A short run makes much and drops little: looking for garbage at every 700 new objects took 5 % of it.
    gc.set_threshold(50_000)
    from virtrbd.commands.app import run_app

    run_app()


def _open_standard_streams() -> None:
    """Open /dev/null in the place of each standard stream that the caller closed (`>&-`, a daemon).

    Else the next file that is opened gets its number: a socket of librados is taken for standard output, and what
    qemu-img is to have open for its standard input.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the lowest number that is free, in this order the stream's own.
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, errors="backslashreplace"))


if __name__ == "__main__":
    main()
