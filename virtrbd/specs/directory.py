"""A directory of specs: the good ones, even when others are broken."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from virtrbd.errors import ExitCode, SpecError, VirtrbdError, worst
from virtrbd.lazily import lazily
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.settings import Settings
from virtrbd.specs.desired import desired_domains
from virtrbd.specs.files import read_files
from virtrbd.specs.ownership import ownership_warnings, require_owned

# Specs that were checked before need neither pydantic nor yaml.
with lazily():
    from virtrbd.specs.load import check_each
    from virtrbd.specs.resolve import claims, resolve

if TYPE_CHECKING:
    from virtrbd.specs.load import CheckedFile


class Fleet(Struct, frozen=True, kw_only=True):
    """The desired domains by name, and all problems; domains of files with a problem are left out.

    `failures`: specs at which virtrbd itself failed. `warnings` hold back nothing.
    """

    domains: tuple[Domain, ...]
    problems: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every spec is among the domains."""
        return not (self.problems or self.failures)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the run, if only the specs counted."""
        return worst(*([ExitCode.SPEC] if self.problems else []), *(failure.exit_code for failure in self.failures))


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
        failures = tuple(failure_of(defect) for defect in error.defects)
        good = _good(paths, settings, is_owned=is_owned)
        return Fleet(domains=good, problems=error.problems, failures=failures, warnings=warnings)


def _good(paths: Sequence[str], settings: Settings, *, is_owned: bool) -> tuple[Domain, ...]:
    """Return the domains of files that are right by themselves, and do not contradict another file."""
    files = read_files(paths, settings.allowed_dirs, is_owned=is_owned)
    # Without its profiles a spec differs.
    readable = files.with_readable_profiles()
    found = [
        domains
        for checked in check_each(readable, settings)
        if checked.is_good and (domains := _alone(checked, settings)) is not None
    ]
    users = Counter(claim for domains in found for claim in set(_claims(domains)))
    good = [domains for domains in found if all(users[claim] == 1 for claim in _claims(domains))]
    return tuple(sorted((domain for domains in good for domain in domains), key=lambda domain: domain.name))


def _alone(checked: "CheckedFile", settings: Settings) -> tuple[Domain, ...] | None:
    try:
        return resolve(checked.specs, settings)
    except VirtrbdError:
        return None


def _claims(domains: Sequence[Domain]) -> Iterator[tuple[str, str]]:
    for domain in domains:
        yield from ((kind, value) for kind, value, _ in claims(domain))
