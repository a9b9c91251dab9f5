"""The planner's laws: what holds of every plan, for all specs and all worlds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from support.laws import actions_of, cases, is_held, laws, mark_of, policies, problems
from support.simulate import simulate
from support.strategies import (
    HOST,
    HOST_UUID,
    OTHER_HOST,
    domains,
    done,
    is_ours,
)

from virtrbd.domainxml.document import Document, LiveDocument
from virtrbd.domainxml.live import current_memory, current_vcpus
from virtrbd.domainxml.tree import steps
from virtrbd.engine.execute import execute
from virtrbd.model.actions import Action
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import (
    DefineDomain,
    DefineSecret,
    DropManagedSave,
    ShutDownDomain,
    StartDomain,
    UndefineDomain,
)
from virtrbd.model.element_path import ElementPath
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.image_actions import (
    CloneImage,
    CreateImage,
    GrowImage,
    ImportImage,
    MarkImage,
    RemoveHalfImage,
    WriteSeed,
)
from virtrbd.model.live_actions import ChangeMedia, DetachDevice, SetLink, SetMemory, SetVcpus
from virtrbd.model.plan import DomainPlan, FindingKind, Plan
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.model.removal_actions import TrashImage
from virtrbd.model.seed import seed_digest
from virtrbd.planning.judged import still_judged
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy
from virtrbd.planning.world import World

# Some hundred worlds, each planned several times: more than one test's minute on a machine that has other work.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("rendered_once")]


@laws
@given(case=cases(), policy=policies)
def test_after_a_run_there_is_nothing_left_to_do(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, before = case
    first = make_plan(fleet, before, policy)
    second = make_plan(fleet, done(fleet, before, policy), policy)
    assert actions_of(second) == []
    assert problems(second) == problems(first)


@laws
@given(case=cases(hosts=(HOST, OTHER_HOST)), policy=policies, data=st.data())
def test_the_order_of_inputs_is_irrelevant(
    case: tuple[tuple[Domain, ...], World], policy: Policy, data: st.DataObject
) -> None:
    fleet, actual = case
    shuffled = replace(
        actual,
        domains=tuple(data.draw(st.permutations(actual.domains))),
        secrets=tuple(data.draw(st.permutations(actual.secrets))),
        images=dict(data.draw(st.permutations(list(actual.images.items())))),
    )
    assert make_plan(data.draw(st.permutations(fleet)), shuffled, policy) == make_plan(fleet, actual, policy)


@laws
@given(case=cases(), policy=policies)
def test_a_run_that_may_take_over_nothing_leaves_what_is_not_ours_as_it_was(
    case: tuple[tuple[Domain, ...], World], policy: Policy
) -> None:
    fleet, before = case
    after = run(make_plan(fleet, before, policy), before, frozenset(Hazard) - {Hazard.TAKES_OVER})
    for found in before.domains:
        if not is_ours(found):
            assert found in after.domains
    for ref, image in before.images.items():
        owners = {domain.uuid for domain in fleet if ref in images_of(domain)}
        if image and not (image.mark and image.mark.host == HOST_UUID and image.mark.domain_uuid in owners):
            left = after.images[ref]
            # Where its guest is, is kept with every image that a guest has, whoever made it.
            assert left is not None
            assert replace(left, running_on=image.running_on, last_run=image.last_run) == image
    assert set(before.secrets) <= set(after.secrets)


def images_of(domain: Domain) -> set[ImageRef]:
    return {disk.image for disk in domain.disks} | ({domain.seed.image} if domain.seed else set())


def run(plan: Plan, actual: World, allowed: frozenset[Hazard]) -> World:
    """Execute the plan as a run does, on the simulated host; return the world after it."""
    world = [actual]

    def perform(action: Action) -> None:
        world.append(simulate(action, world[-1]))

    list(execute(plan, allowed, perform))
    return world[-1]


@laws
@given(case=cases(), policy=policies)
def test_images_never_shrink(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, world = case
    for action in actions_of(make_plan(fleet, world, policy)):
        after = simulate(action, world)
        for ref, image in world.images.items():
            grown = after.images[ref]
            if image and grown:
                assert grown.size_bytes >= image.size_bytes, action
                assert not isinstance(action, GrowImage) or ref != action.ref or grown.size_bytes > image.size_bytes
            # Nothing but an import of ours that was cut off is ever removed.
            assert (
                grown
                or not image
                or (isinstance(action, RemoveHalfImage) and (world.intents[ref].importing or world.intents[ref].parent))
            )
        world = after


@laws
@given(case=cases(), policy=policies)
def test_secret_then_images_then_definition_then_start(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    images = (CreateImage, CloneImage, ImportImage, MarkImage, RemoveHalfImage, GrowImage, WriteSeed)
    stages = ((DefineSecret,), images, (DefineDomain,), (StartDomain,))
    for domain in make_plan(*case, policy).domains:
        order = [n for action in domain.actions for n, kinds in enumerate(stages) if isinstance(action, kinds)]
        assert order == sorted(order)


@laws
@given(case=cases(), policy=policies, data=st.data())
def test_changing_one_spec_leaves_the_plans_of_the_others_alike(
    case: tuple[tuple[Domain, ...], World], policy: Policy, data: st.DataObject
) -> None:
    fleet, actual = case
    changed = data.draw(st.sampled_from(fleet))
    other = replace(data.draw(domains(changed.name, (HOST, OTHER_HOST))), uuid=changed.uuid)
    after = tuple(other if domain is changed else domain for domain in fleet)
    assert others(make_plan(after, actual, policy), changed) == others(make_plan(fleet, actual, policy), changed)


def others(plan: Plan, changed: Domain) -> list[DomainPlan]:
    """The plans of the other domains, but for the secret: it is the host's, the first that needs it makes it."""
    return [
        replace(domain, actions=tuple(a for a in domain.actions if not isinstance(a, DefineSecret)))
        for domain in plan.domains
        if domain.name != changed.name
    ]


@laws
@given(case=cases(hosts=(HOST, OTHER_HOST)), policy=policies)
def test_domains_of_other_hosts_get_no_action(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, actual = case
    plans = {domain.name: domain for domain in make_plan(fleet, actual, policy).domains}
    assert plans.keys() == {domain.name for domain in fleet}
    for domain in fleet:
        if domain.host != HOST:
            assert plans[domain.name].actions == ()
            assert plans[domain.name].note == f"belongs to host {OTHER_HOST}; left alone on {HOST}"


@laws
@given(case=cases(), policy=policies)
def test_what_is_planned_is_what_the_spec_says(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, before = case
    plan = make_plan(fleet, before, policy)
    held_back = {name for name, _ in problems(plan)} | {domain.name for domain in plan.domains if domain.held_back}
    after = done(fleet, before, policy)
    found = {domain.name: domain for domain in after.domains}
    for domain in fleet:
        mark = mark_of(domain, before)
        if domain.name in held_back or (mark and (mark.ignored or is_held(mark, before))):
            continue
        definition = found[domain.name].definition
        assert (definition.memory_bytes, definition.vcpus) == (domain.memory_bytes, domain.vcpus)
        assert {d.image for d in found[domain.name].definition.disks} >= {d.image for d in domain.disks}
        if domain.seed:
            seed = after.images[domain.seed.image]
            assert seed is not None
            assert seed.is_of(domain.uuid)
            assert seed.seed == digest_of_seed(domain, after)
        for disk in domain.disks:
            image = after.images[disk.image]
            assert image is not None
            assert image.is_of(domain.uuid)
            assert disk.size_bytes is None or image.size_bytes == disk.size_bytes


def digest_of_seed(domain: Domain, actual: World) -> str:
    assert domain.seed is not None
    contents = {
        name: actual.seed_files[document.file].raw if document.file else document.text.encode()
        for name, document in domain.seed.documents.items()
    }
    return seed_digest(domain.uuid, domain.name, contents)


@laws
@given(case=cases(), policy=policies)
def test_a_guest_loses_nothing_without_leave(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    for domain in make_plan(*case, policy).domains:
        for action in domain.actions:
            assert not isinstance(action, UndefineDomain | DropManagedSave | TrashImage), (
                "nothing here forgets anything"
            )
            match action:
                case DetachDevice() | ShutDownDomain() | SetLink(up=False) | ChangeMedia(medium=""):
                    assert Hazard.INTERRUPTS_GUEST in action.hazards
                case SetMemory(from_bytes=has, to_bytes=wanted) | SetVcpus(from_count=has, to_count=wanted):
                    assert (Hazard.INTERRUPTS_GUEST in action.hazards) is (wanted < has)
                case DefineDomain(differences=differences):
                    goes = any(d.path.is_device and d.path.kind == "disk" and not d.wanted for d in differences)
                    assert goes or Hazard.INTERRUPTS_GUEST not in action.hazards
                case _:
                    assert Hazard.INTERRUPTS_GUEST not in action.hazards


@laws
@given(case=cases(), policy=policies)
def test_a_cron_run_takes_no_device_from_a_guest_and_no_guest_down(
    case: tuple[tuple[Domain, ...], World], policy: Policy
) -> None:
    fleet, before = case
    after = {found.uuid: found for found in run(make_plan(fleet, before, policy), before, frozenset()).domains}
    for found in before.domains:
        left = after[found.uuid]
        assert left.state is found.state or (left.state is PowerState.RUNNING and not found.state.is_active)
        assert devices_of(found.live) <= devices_of(left.live)
        if found.live:
            assert left.live is not None
            assert current_memory(left.live.tree).current >= current_memory(found.live.tree).current
            assert current_vcpus(left.live.tree).current >= current_vcpus(found.live.tree).current


def devices_of(live: LiveDocument | None) -> set[tuple[str | None, ImageRef | None]]:
    """The disks of a guest with their images, media apart, and its interfaces."""
    if not live:
        return set()
    macs = [mac.get("address") for mac in live.tree.iterfind("devices/interface/mac")]
    disks = [(disk.target, disk.image if disk.device == "disk" else None) for disk in live.disks]
    return {*((mac, None) for mac in macs), *disks}


@laws
@given(case=cases(), policy=policies)
def test_hands_are_kept_off_a_held_domain(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, actual = case
    plans = {domain.name: domain for domain in make_plan(fleet, actual, policy).domains}
    for domain in fleet:
        if is_held(mark_of(domain, actual), actual):
            assert plans[domain.name].actions == ()
            assert [finding.kind for finding in plans[domain.name].findings] == [FindingKind.HELD]


@laws
@given(case=cases(), policy=policies)
def test_ignored_paths_are_never_touched(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, before = case
    after = {found.uuid: found for found in done(fleet, before, policy).domains}
    for found in before.domains:
        mark = found.definition.mark
        for path in mark.ignored if mark else ():
            assert at(after[found.uuid].definition, path) == at(found.definition, path)
            if found.live and (live := after[found.uuid].live):
                assert at(live, path) == at(found.live, path)


def at(document: Document, path: ElementPath) -> str | None:
    """What stands at a path, without what libvirt gives and takes by itself."""
    element = document.copy()
    for name in path.steps:
        below = dict(steps(element)).get(name)
        if below is None:
            return None
        element = below
    if path.attribute:
        return element.get(path.attribute)
    for address in element.findall("address"):
        element.remove(address)
    return etree.tostring(element, method="c14n").decode()


@laws
@given(case=cases(), policy=policies)
def test_what_others_added_stays(case: tuple[tuple[Domain, ...], World], policy: Policy) -> None:
    fleet, before = case
    plan = make_plan(fleet, before, policy)
    after = {found.uuid: found for found in done(fleet, before, policy).domains}
    told = {(each.domain, each.subject) for domain in plan.domains for each in domain.findings}
    for found in before.domains:
        mark = found.definition.mark
        if "<watchdog" in found.definition.text:
            assert "<watchdog" in after[found.uuid].definition.text
            is_silent = mark is None or ElementPath("/devices/watchdog") in mark.ignored or is_held(mark, before)
            is_silent |= found.name in {name for name, _ in problems(plan)}
            assert is_silent or (found.name, "/devices/watchdog") in told
        if found.live and "vdz" in found.live.text and (live := after[found.uuid].live):
            assert "vdz" in live.text
            assert is_held(mark, before) or any("vdz" in subject for _, subject in told) or problems(plan)


@laws
@given(case=cases(), policy=policies)
def test_what_was_judged_is_planned_as_if_it_had_not_been(
    case: tuple[tuple[Domain, ...], World], policy: Policy
) -> None:
    fleet, before = case
    actual = done(fleet, before, policy)
    for world in (before, actual):
        plan = make_plan(fleet, world, policy)
        judged = {domain.uuid: domain.judged for domain in plan.domains if domain.judged}
        # Of other documents it says nothing.
        for again in (world, before):
            held = still_judged(fleet, again, policy, judged)
            assert make_plan(fleet, replace(again, judged=held), policy) == make_plan(fleet, again, policy)
