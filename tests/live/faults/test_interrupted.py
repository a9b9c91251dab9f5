"""What the model says that a kill -9 in the middle of an action leaves, held against the host."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import pytest
import rbd
from support.fleets import CRASHING_IN_GUESTS
from support.interrupted import interrupted
from support.pictures import look, picture
from support.simulate import simulate
from support.worlds import MIB, LabWorld, Sources

from virtrbd.commands.connected.host import connected
from virtrbd.commands.frame.run import Run
from virtrbd.images.host import Host
from virtrbd.local.state_dir import StateDir
from virtrbd.model.domain import Domain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef, Intent
from virtrbd.model.plan import DomainPlan
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.planning import world as observed
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy
from virtrbd.specs.desired import desired_domains
from virtrbd.specs.settings import load_settings

MADE = """machine: pc
cloud_init: {{user_data: '#a'}}
disks:
  - size: 8M
  - {{clone: {snapshot}, size: 8M}}
  - {{import: {file}, size: 8M}}
"""
RUNS = "machine: pc\ndisks:\n  - size: 8M\n"
GROWN = RUNS + "  - size: 8M\n"


def whole(domain: Domain, actual: observed.World) -> dict[str, str]:
    """The picture of the domain and its own images, with what a crash leaves besides."""
    intents = {ref: intent for ref, intent in actual.intents.items() if ref.name.startswith(f"{domain.name}.")}
    found = {**picture(domain, actual), **{f"intent {ref}": intent.importing for ref, intent in intents.items()}}
    # A nonce is another one each time.
    return {key: repr(value).partition("importing")[0] for key, value in found.items()}


def worlds_of(plan: DomainPlan, actual: observed.World) -> list[observed.World]:
    """All that the model lets a run of the plan leave when it is killed, in order."""
    found: list[observed.World] = []
    for action in plan.actions:
        found += interrupted(action, actual)
        actual = simulate(action, actual)
    return [*found, actual]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Kills a run at one step of many, each with a domain of its own, and looks at what is left."""

    world: LabWorld
    here: Host
    settings: Settings
    begun: str
    text: str
    looking: Lock = field(default_factory=Lock)

    def kill(self, name: str, n: int) -> tuple[list[str], set[int], int]:
        """Return the steps that the run came to, and which of how many worlds of the model it left."""
        policy = Policy(host=self.settings.host, start=True)
        if self.begun:
            self.world.ok("define", "--start", self.world.host.spec(name, self.begun))
        spec = self.world.host.spec(name, self.text)
        [domain] = desired_domains([str(self.world.host.folder / spec)], self.settings)
        with self.looking:
            before = look(domain, self.here, policy)
        [plan] = make_plan([domain], before, policy).domains
        log = self.world.host.folder / f"{name}.steps"
        self.world.virtrbd("define", "--start", spec, program=("-c", CRASHING_IN_GUESTS, str(n), "after", str(log)))
        with self.looking:
            left = whole(domain, look(domain, self.here, policy))
        steps = log.read_text().splitlines()
        models = [whole(domain, world) for world in worlds_of(plan, before)]
        return steps, {number for number, model in enumerate(models) if model == left}, len(models)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("begun", "text"), [("", MADE), (RUNS, GROWN)], ids=["made", "running"])
def test_what_the_model_leaves_of_a_killed_run_the_host_leaves(
    world: LabWorld, name: str, sources: Sources, begun: str, text: str
) -> None:
    settings = load_settings(world.env["VIRTRBD_CONFIG"])
    text = text.format(snapshot=sources.snapshot, file=sources.file)
    with connected(Run(), settings, frozenset(Hazard)) as here, ThreadPoolExecutor(6) as pool:
        bench = Bench(world=world, here=here, settings=settings, begun=begun, text=text)
        steps, fits, count = bench.kill(f"{name}x", 0)
        assert fits == {count - 1}, "the whole run"
        numbers = range(1, len(steps) + 1)
        left = list(pool.map(lambda n: bench.kill(f"{name}{n}x", n), numbers))
        list(pool.map(world.forget, [f"{name}x", *(f"{name}{n}x" for n in numbers)]))
    assert [came for came, _, _ in left] == [steps[:n] for n in numbers]
    unknown = [came[-1] for came, fits, _ in left if not fits]
    assert unknown == [], "after these the host is as the model never is"
    seen = set().union(*(fits for _, fits, _ in left))
    assert seen >= set(range(1, count)), "the host was seen in each world of the model but the one before the run"


class LateState(StateDir):
    """A state directory as a run sees it that looks there before another run has written its intent."""

    looks = 0

    def read_intents(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Intent]:
        self.looks += 1
        return super().read_intents(refs) if self.looks > 1 else {}


def test_an_image_that_another_run_is_making_is_not_one_that_a_crash_left(world: LabWorld, name: str) -> None:
    settings = load_settings(world.env["VIRTRBD_CONFIG"])
    spec = world.host.spec(name, RUNS)
    [domain] = desired_domains([str(world.host.folder / spec)], settings)
    ref = domain.disks[0].image.image
    intent = Intent(
        ref=ref, domain_uuid=domain.uuid, size_bytes=8 * MIB, parent=None, nonce="n" * 32, written_at=time.time()
    )
    late = LateState(str(world.state))
    late.write_intent(intent)
    rbd.RBD().create(world.vms, ref.name, 8 * MIB, old_format=False)
    world.vms.remove_object(f"rbd_header.{world.vms.read(f'rbd_id.{ref.name}')[4:].decode()}")
    policy = Policy(host=settings.host, start=False)
    with connected(Run(), settings, frozenset()) as here:
        actual = look(domain, replace(here, state=late), policy)
    assert (list(actual.half_made), actual.unread_images) == ([ref], {})
    world.ok("define", spec)
    world.forget(name)
