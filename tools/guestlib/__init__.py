"""The parts of `tools/guest`: packages, kernel modules, initramfs, disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class RecipeError(Exception):
    """The image can't be built; the message says what is missing and where it comes from."""


def say(message: str) -> None:
    """Report progress where it does not disturb the path on stdout."""
    print(f"guest: {message}", file=sys.stderr)


def tool(name: str, *, package: str) -> str:
    """Return the path of a program, also when PATH lacks the sbin folders. Raises RecipeError."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise RecipeError(f"{name} is not installed — install the package {package}")
    return found


def run(command: Sequence[str | Path], *, folder: Path | None = None, **environment: str) -> str:
    """Return what a command printed. Raises CalledProcessError with the command's own message in it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
