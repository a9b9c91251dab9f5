"""`virtrbd` and `python -m virtrbd`."""

from virtrbd.commands import authoring, domains, images, rendering, specs
from virtrbd.commands.app import run_app

__all__ = ["authoring", "domains", "images", "main", "rendering", "specs"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    run_app()


if __name__ == "__main__":
    main()
