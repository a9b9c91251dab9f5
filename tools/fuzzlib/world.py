"""A small host on which each odd datum is tried: three domains, of which the others must not notice it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

from support.simulate import simulate
from support.strategies import (
    EMPTY,
    FILE,
    GOLDEN,
    HOST,
    MIB,
    USER_DATA,
    WEB,
    changed_domain,
    seed_drive,
    started,
    uuid_of,
)

from fuzzlib.target import require
from virtrbd.commands.output.plan import exit_code_of, plan_data, plan_digest, plan_lines
from virtrbd.domainxml import rendered
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.render import render
from virtrbd.domainxml.validate import schema_problems
from virtrbd.errors import DefectError, ExitCode
from virtrbd.model.devices import Interface
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.plan import DomainPlan, Plan
from virtrbd.model.power import WantedState
from virtrbd.model.record import replace
from virtrbd.model.seed import Seed, SeedDocument
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy
from virtrbd.planning.world import World

# Inputs that change what is rendered are many, and what they render to is not met again.
_MOST_KNOWN = 200
POLICY = Policy(host=HOST, by_spec=True, with_orphans=True)


def _disk(name: str, target: str, **more: Any) -> Disk:
    return Disk(target=target, bus=Bus.VIRTIO, image=ImageRef(pool="vms", name=f"{name}.{target}"), **more)


ODD = replace(
    WEB,
    title="shop",
    description="sells",
    interfaces=(Interface(mac="52:54:00:00:00:01", bridge="br0"),),
    seed=Seed(image=ImageRef(pool="vms", name="web.seed"), user_data=SeedDocument(file=USER_DATA)),
    cdroms=(seed_drive("web"),),
    digest="web",
)
DB = replace(
    WEB,
    name="db",
    uuid=uuid_of("db"),
    origin="db.yaml:1",
    disks=(_disk("db", "vda", size_bytes=64 * MIB), _disk("db", "vdb", import_file=FILE)),
    digest="db",
)
MAIL = replace(
    WEB,
    name="mail",
    uuid=uuid_of("mail"),
    origin="mail.yaml:1",
    disks=(_disk("mail", "vda", clone=GOLDEN),),
    digest="m",
)
FLEET = (ODD, DB, MAIL)
# What the specs say since. Each has something to be done; the others' definitions are as they are to be, which is
# seen without rendering.
NEWER = (
    replace(ODD, title="new", memory_bytes=512 * MIB, digest="newer", autostart=True),
    replace(DB, disks=(replace(DB.disks[0], size_bytes=96 * MIB), DB.disks[1])),
    replace(MAIL, autostart=True, state=WantedState.RUNNING),
)


@cache
def world() -> World:
    """Return the host with all three as older specs had them; the first one runs."""
    actual = EMPTY
    for domain in make_plan(FLEET, actual, POLICY).domains:
        for action in domain.actions:
            actual = simulate(action, actual)
    return changed_domain(actual, ODD.uuid, started)


def odd_domain() -> DefinedDomain:
    """Return the domain that is meddled with, as libvirt holds it."""
    return next(found for found in world().domains if found.uuid == ODD.uuid)


def with_domain(changed: DefinedDomain) -> World:
    """Return the world with the odd domain in its place."""
    kept = (found for found in world().domains if found.uuid != ODD.uuid)
    return replace(world(), domains=tuple(sorted((*kept, changed), key=lambda found: found.name)))


def with_image(**changes: Any) -> World:
    """Return the world with the odd domain's image changed."""
    ref = ODD.disks[0].image
    image = world().images[ref]
    assert image is not None
    return replace(world(), images={**world().images, ref: replace(image, **changes)})


def odd_image() -> Image:
    """Return the odd domain's image as it should be."""
    image = world().images[ODD.disks[0].image]
    assert image is not None
    return image


@cache
def _undisturbed() -> Plan:
    return make_plan(NEWER, world(), POLICY)


def names_others(text: str) -> bool:
    """Whether a document names what is another domain's: then that domain is told of it, and is meant to be."""
    return any(word in text for other in (DB, MAIL) for word in (other.uuid, f"vms/{other.name}."))


def plan_in(actual: World, *, strangers: Collection[str] = (), odd: str = "") -> Plan:
    """Return the plan of the odd world, in which the other domains must fare as ever. Raises DefectError.

    `strangers`: names of domains beside the three that may have a plan of their own. `odd`: the odd document.
    """
    plan = make_plan(NEWER, actual, POLICY)
    untouched = {ODD.name, *strangers}
    is_alike = _of_others(plan, untouched) == _of_others(_undisturbed(), untouched)
    require(is_alike or names_others(odd), "the plans of the others changed")
    # What is printed of it, and what programs read, must be whole whatever the odd datum was.
    "\n".join(plan_lines(plan, frozenset())).encode(errors="backslashreplace")
    json.loads(json.dumps(plan_data(plan, frozenset())))
    plan_digest(plan)
    exit_code_of(plan)
    raise_defects(plan)
    return plan


def raise_defects(plan: Plan) -> None:
    """Raise the DefectError that a plan holds: contained, and a finding all the same."""
    for failure in (failure for domain in plan.domains for failure in domain.failures):
        if failure.exit_code is ExitCode.BUG:
            raise DefectError(failure.text, failure.trace)


def _of_others(plan: Plan, names: Collection[str]) -> list[DomainPlan]:
    return [domain for domain in plan.domains if domain.name not in names]


@contextmanager
def rendered_once() -> Iterator[None]:
    """Render and validate each document once: both take most of a plan's time, and return the same for the same."""
    once, check = _once(render), _once(schema_problems)
    with patch.object(rendered, "render", once), patch.object(rendered, "schema_problems", check):
        yield


def _once(function: Callable[..., object]) -> Callable[..., object]:
    known: dict[str, object] = {}

    def once(*arguments: object) -> object:
        key = repr(arguments)
        if key not in known:
            if len(known) > _MOST_KNOWN:
                known.clear()
            known[key] = function(*arguments)
        return known[key]

    return once
