"""A report of a host and its pools: read from libvirt and Ceph; what does not answer is said in it."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from msgspec import Struct

from virtrbd.ceph.families import read_families
from virtrbd.ceph.pool_space import read_pool_spaces
from virtrbd.contained import contained
from virtrbd.engine.converge import look
from virtrbd.errors import ExitCode, VirtrbdError, worst
from virtrbd.images.host import Host
from virtrbd.images.users import read_uses
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.family import Families
from virtrbd.model.image_use import DomainUse
from virtrbd.model.overview import DomainLine, Need, PoolGrowth, Storage
from virtrbd.model.plan import Plan
from virtrbd.model.settings import Settings
from virtrbd.planning.flattens import Flatten, helpful_flattens
from virtrbd.planning.growth import growth_of, with_today
from virtrbd.planning.image_tree import ImageNode, depths, make_tree
from virtrbd.planning.overview import FAILED, needs_of, storage_of
from virtrbd.planning.policy import Policy
from virtrbd.specs.directory import Fleet, load_fleet

T = TypeVar("T")


class Overview(Struct, frozen=True, kw_only=True):
    """A report. `domains` and `needs` are None where they are unknown; `failures` say why, by what they are about.

    `has_specs`: there is a folder of specs, which the domains are held against.
    """

    host: str
    made_at: float
    domains: tuple[DomainLine, ...] | None
    needs: tuple[Need, ...] | None
    has_specs: bool
    pools: tuple[PoolGrowth, ...]
    tree: tuple[ImageNode, ...]
    flattens: tuple[Flatten, ...]
    storage: Storage
    failures: dict[str, Failure]

    @property
    def exit_code(self) -> ExitCode:
        """The worst of what could not be read."""
        return worst(*(failure.exit_code for failure in self.failures.values()))


def make_overview(host: Host, rooms: Sequence[tuple[str, str]]) -> Overview:
    """Return the report of the host and of these pools' namespaces."""
    now, failures, settings = time.time(), _Failures(), host.settings
    uses = failures.of("libvirt", lambda: read_uses(host.hypervisor))
    has_specs = os.path.isdir(settings.spec_dir)
    fleet = failures.of("specs", partial(_fleet, settings)) if has_specs else Fleet(domains=())
    plan = None if uses is None or fleet is None else failures.of("drift", partial(_plan, host, fleet))
    families = read_families(host.cluster, rooms)
    failures.found |= families.unread_pools
    failures.found |= {
        str(each.ref): each.failure for each in families.images.values() if each.is_listed and each.failure
    }
    tree = make_tree(families, uses)
    host_uuid = failures.of("this host's UUID", lambda: host.host_uuid) or ""
    return Overview(
        host=settings.host,
        made_at=now,
        domains=_lines(uses),
        needs=None if plan is None or fleet is None else (*_problems(fleet), *needs_of(plan)),
        has_specs=has_specs,
        pools=_pools(host, families, rooms, now, failures),
        tree=tree,
        flattens=helpful_flattens(families, depths(tree), uses, host_uuid, settings.ceph.clone_depth),
        storage=storage_of(families, uses, host_uuid, now),
        failures=failures.found,
    )


class _Failures(Struct, kw_only=True):
    """What could not be read, by what it is about."""

    found: dict[str, Failure] = {}

    def of(self, what: str, read: Callable[[], T]) -> T | None:
        """Return what `read` returns, None where it fails."""
        try:
            with contained(f"reading {what}"):
                return read()
        except VirtrbdError as error:
            self.found[what] = failure_of(error)
            return None


def _lines(uses: Sequence[DomainUse] | None) -> tuple[DomainLine, ...] | None:
    if uses is None:
        return None
    return tuple(sorted(DomainLine(name=use.name, state=use.state) for use in uses))


def _fleet(settings: Settings) -> Fleet:
    return load_fleet((settings.spec_dir,), settings, strict=False, is_owned=True)


def _plan(host: Host, fleet: Fleet) -> Plan:
    settings = host.settings
    policy = Policy(host=settings.host, template_dir=settings.template_dir, by_spec=True, with_orphans=fleet.is_whole)
    return look(fleet.domains, policy, host)


def _problems(fleet: Fleet) -> list[Need]:
    texts = [*fleet.problems, *(failure.text for failure in fleet.failures)]
    return [Need(domain="", kind=FAILED, text=text) for text in texts]


def _pools(
    host: Host, families: Families, rooms: Sequence[tuple[str, str]], now: float, failures: _Failures
) -> tuple[PoolGrowth, ...]:
    """Return the space of the pools of the report, and keep it for the next one."""
    spaces = failures.of("space of pools", partial(read_pool_spaces, host.cluster))
    if spaces is None:
        return ()
    named = {pool for pool, _ in rooms} | {image.ref.pool for image in families.images.values()}
    history = failures.of("earlier reports", host.state.read_pool_history) or ()
    history = with_today(history, spaces.values(), now)
    failures.of("what the next report compares with", partial(host.state.write_pool_history, history))
    return tuple(growth_of(spaces[name], history) for name in sorted(named & spaces.keys()))
