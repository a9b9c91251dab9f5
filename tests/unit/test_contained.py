"""What virtrbd did not foresee fails one domain, image or action; the others go on."""

from dataclasses import replace

import pytest
from strategies import EMPTY, HERE, MIB, WEB, uuid_of

from virtrbd.contained import contained
from virtrbd.errors import ClusterError, DefectError, ExitCode
from virtrbd.host.execute import execute
from virtrbd.model.actions import Action, SetAutostart
from virtrbd.model.actual import Actual
from virtrbd.model.domain import Bus, Disk, Domain
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef
from virtrbd.model.plan import DomainPlan, Plan, Result
from virtrbd.planning.plan import make_plan

APP = replace(
    WEB,
    name="app",
    uuid=uuid_of("app"),
    disks=(Disk(target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="app.vda"), size_bytes=MIB),),
    seed=None,
)
UNREADABLE = Failure(text="cannot be read", exit_code=ExitCode.FAILED)


def test_an_error_that_was_foreseen_stays_as_it_is() -> None:
    with pytest.raises(ClusterError, match="no space"), contained("reading vms/web"):
        raise ClusterError("no space")


def test_a_defect_names_what_it_was_met_at_and_where_in_the_code() -> None:
    with (
        pytest.raises(DefectError, match=r"^reading vms/web: .*ZeroDivisionError") as caught,
        contained("reading vms/web"),
    ):
        _ = 1 // 0
    assert caught.value.exit_code is ExitCode.BUG
    assert caught.value.trace[-1] == "ZeroDivisionError"
    assert any("test_contained.py" in frame for frame in caught.value.trace)


def test_a_defect_repeats_no_value() -> None:
    with pytest.raises(DefectError) as caught, contained("loading web.yaml"):
        float("hunter2")
    assert "hunter2" not in "".join((str(caught.value), *caught.value.trace))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("ending", [KeyboardInterrupt, BrokenPipeError, SystemExit])
def test_what_ends_the_run_is_not_contained(ending: type[BaseException]) -> None:
    with pytest.raises(ending), contained("reading vms/web"):
        raise ending


def test_a_recursion_that_ran_too_deep_leaves_a_short_trace() -> None:
    def deeper(level: int) -> int:
        return deeper(level + 1) + 1

    with pytest.raises(DefectError) as caught, contained("reading vms/web"):
        deeper(0)
    assert len(caught.value.trace) < 40


def test_a_defect_in_one_action_fails_its_domain_alone() -> None:
    plans = tuple(
        DomainPlan(name=name, actions=(SetAutostart(domain_uuid=name, autostart=True),)) for name in ("app", "web")
    )

    def perform(action: Action) -> None:
        assert isinstance(action, SetAutostart)
        if action.domain_uuid == "app":
            raise IndexError

    app, web = execute(Plan(domains=plans), frozenset(), perform)
    assert (app.result, app.exit_code, app.trace[-1]) == (Result.FAILED, ExitCode.BUG, "IndexError")
    assert web.result is Result.DONE


def _plans(*desired: Domain, actual: Actual) -> dict[str, DomainPlan]:
    return {plan.name: plan for plan in make_plan(desired, actual, HERE).domains}


@pytest.mark.parametrize("key", ["app", APP.uuid])
def test_a_domain_that_cannot_be_read_is_not_taken_for_absent(key: str) -> None:
    odd = _plans(APP, WEB, actual=replace(EMPTY, unread_domains={key: UNREADABLE}))
    assert (odd["app"].failures, odd["app"].actions) == ((UNREADABLE,), ())
    assert odd["web"] == _plans(WEB, actual=EMPTY)["web"]


def test_an_image_that_cannot_be_read_is_not_made_again() -> None:
    odd = _plans(APP, WEB, actual=replace(EMPTY, unread_images={APP.disks[0].image: UNREADABLE}))
    assert (odd["app"].failures, odd["app"].actions) == ((UNREADABLE,), ())
    assert odd["web"] == _plans(WEB, actual=EMPTY)["web"]


def test_a_defect_in_planning_one_domain_leaves_the_others_theirs() -> None:
    world = replace(EMPTY, images={**EMPTY.images, APP.disks[0].image: None})
    broken = replace(APP, digest="two", cdroms=(None,))  # type: ignore[arg-type]
    odd = _plans(broken, WEB, actual=world)
    assert odd["app"].failures[0].exit_code is ExitCode.BUG
    assert odd["app"].failures[0].text.startswith("planning domain app: ")
    assert odd["web"] == _plans(WEB, actual=world)["web"]
