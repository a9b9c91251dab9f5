"""The check of who could change specs and templates: of unwatched runs, and specs that the operator names."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from virtrbd.errors import ConfigError
from virtrbd.model.settings import Settings
from virtrbd.specs.files import folder_of, spec_paths
from virtrbd.trust import Weakness, weakness


def require_owned(paths: Sequence[str]) -> None:
    """Raise ConfigError where another user could put specs into a folder, or replace the folder."""
    for folder in dict.fromkeys(map(folder_of, paths)):
        if found := _first_weakness([folder]):
            raise ConfigError(
                f"{folder}: {found.of(folder)}, and a user who can write specs decides what is done here unwatched; "
                f"{found.way_out}"
            )


def ownership_warnings(paths: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return a warning for each of the specs' paths, and for the templates, that another user could change.

    The operator chose the spec, so virtrbd only warns. Only for root: other users act for themselves.
    """
    if os.geteuid() != 0:
        return ()
    warnings = [
        f"warning: {path}: {found.of(path)}: a user who can change a spec decides what root does with it; "
        f"{found.way_out}"
        for path in paths
        if (found := _first_weakness([folder_of(path), *spec_paths(path)]))
    ]
    if settings.template_dir and (found := _first_weakness(_all_in(settings.template_dir))):
        fact = f"{settings.template_dir}: {found.of(settings.template_dir)}"
        warnings.append(f"warning: {fact}: a user who can change a template decides what domains are; {found.way_out}")
    return tuple(dict.fromkeys(warnings))


def _first_weakness(paths: Iterable[str]) -> Weakness | None:
    for path in paths:
        # Its reader reports a file that is missing or can't be looked at.
        with suppress(OSError):
            if found := weakness(path):
                return found
    return None


def _all_in(folder: str) -> Iterator[str]:
    """Yield a folder, and all files and folders below it."""
    yield folder
    for parent, folders, files in os.walk(folder):
        yield from (os.path.join(parent, name) for name in sorted(folders + files))
