"""The templates as files, without Jinja2, which costs more to import than a no-change run may take."""

import importlib
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path

from virtrbd.errors import ConfigError
from virtrbd.model.digest import digest_of

_Stamp = tuple[str, int, int]

# Far beyond any site's templates: `template_dir: /` must not read the whole disk.
_MAX_FILES = 1_000
_MAX_BYTES = 16 * 1024**2


def templates_digest(template_dir: str = "") -> str:
    """Return the digest of all templates: a definition rendered by other templates must be compared again.

    Raises ConfigError when the site's directory can't be read, or holds more than templates.
    """
    if not template_dir:
        return _packaged()
    try:
        # A site's files are read again only when one changed: a run over 200 domains asks 200 times.
        return digest_of(_packaged(), _site(template_dir, _stamps(template_dir)))
    except OSError as error:
        raise ConfigError(f"template_dir: {error.filename or template_dir}: {error.strerror}") from error


@cache
def _packaged() -> str:
    return digest_of(*(file.read_bytes() for file in sorted(_folder().glob("*.j2"))))


def _folder() -> Path:
    # Not importlib.resources, which costs 10 ms to import and serves zip files; pip always unpacks.
    return Path(importlib.import_module("virtrbd.templates").__path__[0])


def _stamps(template_dir: str) -> tuple[_Stamp, ...]:
    folder = Path(template_dir)
    folder.stat()
    files = list(islice((file for file in folder.rglob("*") if file.is_file()), _MAX_FILES + 1))
    stamps = tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in sorted(files))
    if len(files) > _MAX_FILES or sum(size for *_, size in stamps) > _MAX_BYTES:
        most = f"{_MAX_FILES} files and {_MAX_BYTES // 1024**2} MiB"
        raise ConfigError(f"template_dir: {template_dir}: more than {most}; put templates into a separate folder")
    return stamps


@lru_cache(maxsize=8)
def _site(template_dir: str, stamps: tuple[_Stamp, ...]) -> str:
    parts: list[str | bytes] = []
    for file, _, _ in stamps:
        parts += [str(Path(file).relative_to(template_dir)), Path(file).read_bytes()]
    return digest_of(*parts)
