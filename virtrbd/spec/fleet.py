"""All specs of a directory: the good ones, though others are broken."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from virtrbd.errors import SpecError
from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.spec.desired import desired_domains
from virtrbd.spec.files import SpecFile, SpecFiles, read_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The desired domains by name, and every problem; domains of files with a problem are not among them."""

    domains: tuple[Domain, ...]
    problems: tuple[str, ...] = ()


def load_fleet(paths: Sequence[str], settings: Settings, *, strict: bool) -> Fleet:
    """Return the fleet. Raises SpecError when something is wrong and `strict`."""
    try:
        return Fleet(domains=desired_domains(paths, settings))
    except SpecError as error:
        if strict:
            raise
        return Fleet(domains=_good(paths, settings), problems=error.messages)


def _good(paths: Sequence[str], settings: Settings) -> tuple[Domain, ...]:
    """Return the domains of files that are right by themselves, and contradict none of the others."""
    files = read_files(paths)
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
