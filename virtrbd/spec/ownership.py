"""Who could change what decides: specs that run unwatched, specs that a person names, and templates."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from virtrbd.errors import ConfigError
from virtrbd.model.settings import Settings
from virtrbd.spec.files import folder_of
from virtrbd.trust import Weakness, weakness, weakness_within


def require_owned(paths: Sequence[str]) -> None:
    """Raise ConfigError where another user could put specs into a folder, or put another folder in its place."""
    for folder in dict.fromkeys(map(folder_of, paths)):
        if found := _found(weakness, folder):
            raise ConfigError(
                f"{folder}: {found}, and who can write specs decides what is done here unwatched; {found.command}"
            )


def ownership_warnings(paths: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return a warning for each of the specs' paths, and for the templates, that another user could change.

    A person who names a spec means it, so that is no refusal. Only of root: others act for themselves alone.
    """
    if os.geteuid() != 0:
        return ()
    warnings = [
        f"warning: {found}: who can change a spec decides what root does by it; {found.command}"
        for path in paths
        if (found := _found(weakness_within, path))
    ]
    if settings.template_dir and (found := _found(weakness_within, settings.template_dir)):
        warnings.append(
            f"warning: template_dir: {found}: who can change a template decides what domains are; {found.command}"
        )
    return tuple(dict.fromkeys(warnings))


def _found(look: Callable[[str], Weakness | None], path: str) -> Weakness | None:
    # What is not there, or can't be looked at, is a problem of those who read it.
    with suppress(OSError):
        return look(path)
    return None
