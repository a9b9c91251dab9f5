"""The desired domains of spec files: by the full check, or from the cache of an earlier check of the same bytes."""

import os
from collections.abc import Sequence

from virtrbd.lazily import lazily
from virtrbd.local.spec_cache import remembered
from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.specs.files import read_files

# Specs that were checked before need neither pydantic nor yaml.
with lazily():
    from virtrbd.specs.load import check_files
    from virtrbd.specs.resolve import resolve


def desired_domains(paths: Sequence[str], settings: Settings, *, is_owned: bool = False) -> tuple[Domain, ...]:
    """Return the desired domains by name, those of other hosts too. Raises SpecError with all problems.

    `is_owned`: a file that another user could change is a problem.
    """
    files = read_files(paths, settings.allowed_dirs, is_owned=is_owned)

    def check() -> tuple[Domain, ...]:
        return resolve(check_files(files, settings), settings)

    if files.problems:
        return check()
    # The folders count: a relative file to import is resolved from them.
    settings_file = settings.file and os.path.abspath(settings.file)
    read = (*files.specs, *files.profiles.values())
    contents = (part for file in read for part in (file.path, os.path.abspath(file.path), file.raw))
    return remembered(tuple[Domain, ...], (repr(settings), settings_file, *contents), check)
