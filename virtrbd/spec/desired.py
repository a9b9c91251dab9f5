"""The desired domains of spec files: by the full check, or as it came out for the same bytes before."""

import os
from collections.abc import Sequence

from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.spec.cache import remembered
from virtrbd.spec.files import read_files


def desired_domains(paths: Sequence[str], settings: Settings) -> tuple[Domain, ...]:
    """Return the desired domains by name, those of other hosts too. Raises SpecError with all problems."""
    files = read_files(paths)

    def check() -> tuple[Domain, ...]:
        # Here, not above: specs that were checked before need neither pydantic nor yaml.
        from virtrbd.spec.load import check_files
        from virtrbd.spec.resolve import resolve

        return resolve(check_files(files, settings), settings)

    if files.problems:
        return check()
    # The folder counts: a relative file to import is resolved from it.
    contents = (part for file in (*files.specs, *files.profiles.values()) for part in (file.path, file.raw))
    return remembered(tuple[Domain, ...], (repr(settings), _working_directory(), *contents), check)


def _working_directory() -> str:
    """Return the working directory, empty where it has been removed: paths from the root on need none."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""
