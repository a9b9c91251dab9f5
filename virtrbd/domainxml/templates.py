"""The templates as files: known without Jinja2, which costs more to import than a no-change run may take."""

import importlib
from functools import cache
from pathlib import Path

from virtrbd.model.digest import digest_of


@cache
def templates_digest() -> str:
    """Return the digest of all templates: a definition rendered by other ones must be compared again."""
    # Not importlib.resources, which costs 10 ms to import and serves zip files; pip always unpacks.
    folder = Path(importlib.import_module("virtrbd.templates").__path__[0])
    return digest_of(*(file.read_bytes() for file in sorted(folder.glob("*.j2"))))
