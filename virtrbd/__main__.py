"""`virtrbd` and `python -m virtrbd`."""

import gc
import signal

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Until there is something to clean up a signal ends the process by itself: raised while modules load, Python would
    # print where, and some of what loads would catch it. One that is ignored stays so: `nohup`, a shell's background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A short run makes much and drops little: looking for garbage at every 700 new objects took 5 % of it.
    gc.set_threshold(50_000)
    from virtrbd.commands.app import run_app

    run_app()


if __name__ == "__main__":
    main()
