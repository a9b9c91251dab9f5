"""`virtrbd` and `python -m virtrbd`."""

from virtrbd.commands import (
    adoption,
    authoring,
    domains,
    fleet,
    holding,
    image_removal,
    image_snapshots,
    image_transfers,
    image_unreferenced,
    images,
    reconciling,
    rendering,
    retiring,
    specs,
)
from virtrbd.commands.app import run_app

__all__ = [
    "adoption",
    "authoring",
    "domains",
    "fleet",
    "holding",
    "image_removal",
    "image_snapshots",
    "image_transfers",
    "image_unreferenced",
    "images",
    "main",
    "reconciling",
    "rendering",
    "retiring",
    "specs",
]


def main() -> None:
    """Run the command line and leave with its exit code."""
    run_app()


if __name__ == "__main__":
    main()
