"""A plan carried out: what is stopped by what, and how the run ends."""

import time
from collections.abc import Mapping
from threading import Event

import pytest

from virtrbd import deadline
from virtrbd.deadline import is_abandoned
from virtrbd.engine.execute import execute, execute_on_image
from virtrbd.errors import (
    BlockedError,
    BusyError,
    ClusterError,
    DefectError,
    DeniedError,
    ExitCode,
    NotDoneError,
    NotLiveError,
    UnavailableError,
    VirtrbdError,
    worst,
)
from virtrbd.model.actions import Action
from virtrbd.model.domain_actions import DefineSecret, RenewMark, SetAutostart, StartDomain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.plan import DomainPlan, Outcome, Plan, Result
from virtrbd.model.record import replace

TAKES_OVER = (Hazard.TAKES_OVER,)


def step(name: str, *hazards: Hazard) -> SetAutostart:
    """An action that is like any other here, and known by its name."""
    return SetAutostart(domain_uuid=name, autostart=True, hazards=hazards)


def run(
    *domains: DomainPlan, failing: Mapping[str, VirtrbdError] | None = None, allowed: tuple[Hazard, ...] = ()
) -> tuple[list[Outcome], list[str]]:
    """Execute; return the outcomes, and the names of the steps that were tried."""
    tried: list[str] = []

    def perform(action: Action) -> None:
        name = getattr(action, "domain_uuid", "")
        tried.append(name)
        if failing and name in failing:
            raise failing[name]

    return list(execute(Plan(domains=domains), frozenset(allowed), perform)), tried


def plan(name: str, *actions: Action) -> DomainPlan:
    return DomainPlan(name=name, actions=actions)


def results(outcomes: list[Outcome]) -> list[tuple[str, Result]]:
    return [(outcome.domain, outcome.result) for outcome in outcomes]


def test_does_all_in_order() -> None:
    outcomes, tried = run(plan("a", step("1"), step("2")), plan("b", step("3")))
    assert tried == ["1", "2", "3"]
    assert {outcome.result for outcome in outcomes} == {Result.DONE}
    assert worst(*(outcome.exit_code for outcome in outcomes)) is ExitCode.OK


def test_a_failure_stops_its_own_domain_only() -> None:
    failing = {"1": ClusterError("no space")}
    outcomes, tried = run(plan("a", step("1"), step("2")), plan("b", step("3")), failing=failing)
    assert tried == ["1", "3"]
    assert results(outcomes) == [("a", Result.FAILED), ("a", Result.NOT_TRIED), ("b", Result.DONE)]
    assert outcomes[0].detail == "no space"


def test_a_blocked_step_holds_back_its_whole_domain_and_names_the_flag() -> None:
    outcomes, tried = run(plan("a", step("1"), step("2", Hazard.TAKES_OVER), step("3")), plan("b", step("4")))
    assert tried == ["4"]
    assert [result for _, result in results(outcomes)] == [
        Result.NOT_TRIED, Result.BLOCKED, Result.NOT_TRIED, Result.DONE
    ]  # fmt: skip
    assert outcomes[1].detail == "needs --allow takes-over"
    assert outcomes[1].exit_code is ExitCode.BLOCKED


def test_a_blocked_start_holds_back_nothing_before_it() -> None:
    outcomes, tried = run(plan("a", step("1"), StartDomain(domain_uuid="2", hazards=TAKES_OVER)))
    assert tried == ["1"]
    assert [result for _, result in results(outcomes)] == [Result.DONE, Result.BLOCKED]


def test_the_secret_is_for_all_so_a_blocked_domain_does_not_hold_it_back() -> None:
    secret = DefineSecret(uuid="s", usage="u")
    outcomes, tried = run(plan("a", secret, step("1"), step("2", Hazard.TAKES_OVER)), plan("b", step("3")))
    assert tried == ["", "3"]
    expected = [Result.DONE, Result.NOT_TRIED, Result.BLOCKED, Result.DONE]
    assert [result for _, result in results(outcomes)] == expected


def test_where_all_is_one_step_a_blocked_domain_holds_back_the_secret_too() -> None:
    secret, tried = DefineSecret(uuid="s", usage="u"), list[Action]()
    blocked = Plan(domains=(plan("a", secret, step("1", Hazard.TAKES_OVER)),))
    outcomes = execute(blocked, frozenset(), tried.append, whole=True)
    assert [outcome.result for outcome in outcomes] == [Result.NOT_TRIED, Result.BLOCKED]
    assert tried == []


def test_what_guests_do_not_take_now_holds_nothing_back() -> None:
    outcomes, tried = run(plan("a", step("1"), step("2")), failing={"1": NotLiveError("no more slots")})
    assert tried == ["1", "2"]
    assert results(outcomes) == [("a", Result.PENDING), ("a", Result.DONE)]
    assert worst(*(outcome.exit_code for outcome in outcomes)) is ExitCode.OK


def test_a_run_that_is_stopped_says_why_once() -> None:
    stopped = replace(Plan(domains=(plan("a", step("1")), plan("b", step("2")))), stopped="too many")
    tried: list[Action] = []
    outcomes = list(execute(stopped, frozenset(), tried.append))
    assert tried == []
    assert [(o.domain, o.text, o.result) for o in outcomes if o.exit_code is ExitCode.BLOCKED] == [
        ("all domains", "too many", Result.BLOCKED)
    ]
    assert results(outcomes[1:]) == [("a", Result.NOT_TRIED), ("b", Result.NOT_TRIED)]


def test_after_the_deadline_nothing_more_is_begun() -> None:
    tried: list[Action] = []
    plans = Plan(domains=(plan("a", step("1"), step("2")), plan("b", step("3"))))
    outcomes = list(execute(plans, frozenset(), tried.append, is_over=lambda: len(tried) >= 1))
    assert tried == [step("1")]
    late = [o for o in outcomes if o.result is Result.NOT_TRIED]
    assert [(o.domain, o.exit_code) for o in late] == [("a", ExitCode.UNAVAILABLE), ("b", ExitCode.UNAVAILABLE)]
    assert "timeouts: reconcile" in late[0].detail


def test_domains_at_a_time_are_told_in_the_plans_order() -> None:
    """The first waits for the second: with one at a time this would never end."""
    second_is_done = Event()

    def perform(action: Action) -> None:
        if action == step("1"):
            assert second_is_done.wait(20)
        if action == step("2"):
            second_is_done.set()

    plans = Plan(domains=(plan("a", step("1")), plan("b", step("2")), plan("c", step("3"))))
    outcomes = list(execute(plans, frozenset(), perform, parallel=2))
    assert results(outcomes) == [("a", Result.DONE), ("b", Result.DONE), ("c", Result.DONE)]


def test_the_secret_is_there_before_any_other_domain_begins() -> None:
    tried: list[Action] = []
    secret = DefineSecret(uuid="s", usage="u")
    plans = Plan(domains=(plan("a", step("1")), plan("b", secret, step("2")), plan("c", step("3"))))
    outcomes = list(execute(plans, frozenset(), tried.append, parallel=3))
    assert tried[:2] == [secret, step("2")]
    assert [outcome.domain for outcome in outcomes] == ["a", "b", "b", "c"]


def test_a_run_that_is_interrupted_begins_no_other_domain() -> None:
    tried: list[Action] = []

    def perform(action: Action) -> None:
        tried.append(action)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(execute(Plan(domains=(plan("a", step("1")), plan("b", step("2")))), frozenset(), perform))
    assert tried == [step("1")]


@pytest.mark.slow
def test_what_others_are_at_work_on_when_it_is_interrupted_keeps_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """librados crashes when it is taken away under another thread's call."""
    monkeypatch.setattr(deadline, "_process", deadline.Process())
    other_is_at_work, is_over = Event(), Event()

    def perform(action: Action) -> None:
        if action == step("1"):
            assert other_is_at_work.wait(20)
            raise KeyboardInterrupt
        other_is_at_work.set()
        assert is_over.wait(20)

    assert not is_abandoned()
    with pytest.raises(KeyboardInterrupt):
        list(execute(Plan(domains=(plan("a", step("1")), plan("b", step("2")))), frozenset(), perform, parallel=2))
    is_over.set()
    assert is_abandoned()


def test_only_the_hazards_that_were_allowed_are_taken() -> None:
    both = step("1", Hazard.TAKES_OVER, Hazard.LOSES_DATA)
    outcomes, tried = run(plan("a", both), allowed=TAKES_OVER)
    assert (tried, outcomes[0].detail) == ([], "needs --allow loses-data")
    _, tried = run(plan("a", both), allowed=(Hazard.TAKES_OVER, Hazard.LOSES_DATA))
    assert tried == ["1"]


def test_a_problem_is_a_failure_with_the_specs_code() -> None:
    outcomes, tried = run(DomainPlan(name="a", problems=("too small",)), plan("b", step("1")))
    assert tried == ["1"]
    assert (outcomes[0].text, outcomes[0].exit_code) == ("too small", ExitCode.SPEC)


@pytest.mark.parametrize(
    ("error", "result", "code"),
    [
        (UnavailableError("no answer"), Result.UNKNOWN, ExitCode.UNAVAILABLE),
        (BlockedError("last started elsewhere"), Result.BLOCKED, ExitCode.BLOCKED),
        (DeniedError("caps"), Result.FAILED, ExitCode.DENIED),
        (ClusterError("no space"), Result.FAILED, ExitCode.FAILED),
        (BusyError("locked"), Result.FAILED, ExitCode.BUSY),
    ],
)
def test_an_error_keeps_its_exit_code(error: VirtrbdError, result: Result, code: ExitCode) -> None:
    [outcome], _ = run(plan("a", step("1")), failing={"1": error})
    assert (outcome.result, outcome.exit_code, outcome.detail) == (result, code, str(error))
    with pytest.raises(NotDoneError, match=str(error)) as raised:
        on_image(error)
    assert raised.value.exit_code is code


def on_image(error: VirtrbdError | None = None) -> list[str]:
    """Two steps on an image, of which the second fails; return what was done."""

    def perform(action: Action) -> None:
        if error and action == step("2"):
            raise error

    subject = ImageRef(pool="vms", name="web.vda")
    return [outcome.text for outcome in execute_on_image(subject, (step("1"), step("2")), frozenset(), perform)]


def test_on_an_image_a_defect_keeps_its_trace() -> None:
    with pytest.raises(DefectError, match="a bug") as raised:
        on_image(DefectError("a bug", ("perform.py:1 in perform",)))
    assert raised.value.trace == ("perform.py:1 in perform",)
    assert on_image() == ["set autostart on"] * 2


def test_the_worst_end_wins() -> None:
    failing = {"1": ClusterError("x"), "2": UnavailableError("y")}
    outcomes, _ = run(
        plan("a", step("1")), plan("b", step("2")), plan("c", step("3", Hazard.TAKES_OVER)), plan("d", step("4")),
        failing=failing,
    )  # fmt: skip
    assert {outcome.exit_code for outcome in outcomes} == {
        ExitCode.FAILED, ExitCode.UNAVAILABLE, ExitCode.BLOCKED, ExitCode.OK
    }  # fmt: skip
    assert worst(*(outcome.exit_code for outcome in outcomes)) is ExitCode.UNAVAILABLE


def test_every_exit_code_has_its_place_in_the_order() -> None:
    assert all(worst(ExitCode.OK, code) is code for code in ExitCode)
    assert worst() is ExitCode.OK


@pytest.mark.parametrize(("action", "is_quiet"), [(step("1"), False), (RenewMark(domain_uuid="1", inputs=""), True)])
def test_what_is_not_worth_a_word_is_quiet(action: Action, is_quiet: bool) -> None:
    [outcome], _ = run(plan("a", action))
    assert outcome.quiet is is_quiet


def test_what_is_not_worth_a_word_is_loud_when_it_fails() -> None:
    [outcome], _ = run(plan("a", RenewMark(domain_uuid="1", inputs="")), failing={"1": ClusterError("no")})
    assert (outcome.quiet, outcome.exit_code) == (False, ExitCode.FAILED)


def test_who_interrupts_waits_for_no_domain_that_was_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_process", deadline.Process())

    def perform(_action: Action) -> None:
        raise KeyboardInterrupt

    many = tuple(plan(name, step(name)) for name in "abcdefgh")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(execute(Plan(domains=many), frozenset(), perform, parallel=2))
    assert time.monotonic() - began < 5
    assert not is_abandoned()
