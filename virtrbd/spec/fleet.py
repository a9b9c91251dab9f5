"""All specs of a directory: the good ones, though others are broken."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from virtrbd.errors import SpecError
from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.spec.desired import desired_domains
from virtrbd.spec.files import SpecFile, SpecFiles, read_files
from virtrbd.spec.ownership import ownership_warnings, require_owned


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The desired domains by name, and every problem; domains of files with a problem are not among them.

    `warnings` hold back nothing.
    """

    domains: tuple[Domain, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load_fleet(paths: Sequence[str], settings: Settings, *, strict: bool, is_owned: bool = False) -> Fleet:
    """Return the fleet. Raises SpecError when something is wrong and `strict`.

    `is_owned`: no other user may be able to change the files; a folder that others may write raises ConfigError.
    """
    if is_owned:
        require_owned(paths)
    warnings = ownership_warnings(() if is_owned else paths, settings)
    try:
        return Fleet(domains=desired_domains(paths, settings, is_owned=is_owned), warnings=warnings)
    except SpecError as error:
        if strict:
            raise
        good = _good(paths, settings, is_owned=is_owned)
        return Fleet(domains=good, problems=error.messages, warnings=warnings)


def _good(paths: Sequence[str], settings: Settings, *, is_owned: bool) -> tuple[Domain, ...]:
    """Return the domains of files that are right by themselves, and contradict none of the others."""
    files = read_files(paths, settings.allowed_dirs, is_owned=is_owned)
    by_file = {spec.path: found for spec in files.specs if (found := _alone(spec, files, settings)) is not None}
    users = Counter(claim for found in by_file.values() for claim in set(_claims(found)))
    good = [found for found in by_file.values() if all(users[claim] == 1 for claim in _claims(found))]
    return tuple(sorted((domain for found in good for domain in found), key=lambda domain: domain.name))


def _alone(spec: SpecFile, files: SpecFiles, settings: Settings) -> tuple[Domain, ...] | None:
    from virtrbd.spec.load import check_files
    from virtrbd.spec.resolve import resolve

    alone = files.alone(spec)
    if alone is None:
        return None
    try:
        return resolve(check_files(alone, settings), settings)
    except SpecError:
        return None


def _claims(domains: Sequence[Domain]) -> Iterator[tuple[str, str]]:
    from virtrbd.spec.resolve import claims

    for domain in domains:
        yield from ((kind, value) for kind, value, _ in claims(domain))
