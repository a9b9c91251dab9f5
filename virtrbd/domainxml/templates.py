"""The templates as files: known without Jinja2, which costs more to import than a no-change run may take."""

from functools import cache
from importlib.resources import files

from virtrbd.model.digest import digest_of


@cache
def templates_digest() -> str:
    """Return the digest of all templates: a definition rendered by other ones must be compared again."""
    parts = sorted((item for item in files("virtrbd.templates").iterdir() if item.name.endswith(".j2")), key=str)
    return digest_of(*(item.read_bytes() for item in parts))
