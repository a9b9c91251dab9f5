"""`virtrbd` and `python -m virtrbd`."""

from virtrbd.commands.app import run_app

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    run_app()


if __name__ == "__main__":
    main()
