"""What cron tells once: what is new, what came again, and what was told of domains that a run was not about."""

from collections.abc import Container

from virtrbd.errors import ExitCode
from virtrbd.model.plan import Finding, FindingKind, Outcome, Result
from virtrbd.planning.report_once import is_reported_once, message_of, news


def held(domain: str, text: str = "left alone") -> Finding:
    return Finding(domain=domain, kind=FindingKind.HELD, text=text)


def told_of(
    *findings: Finding, told: dict[str, str], about: Container[str] | None = None
) -> tuple[set[str], dict[str, str]]:
    fresh, now = news(map(message_of, findings), told, about)
    return {key.split("|")[0] for key in fresh}, now


def test_a_thing_is_told_when_it_appears_when_it_changes_and_when_it_comes_again() -> None:
    fresh, told = told_of(held("a"), held("b"), told={})
    assert fresh == {"a", "b"}
    assert told_of(held("a"), held("b"), told=told) == (set(), told)
    assert told_of(held("a"), held("b", "until noon"), told=told)[0] == {"b"}
    fresh, less = told_of(held("a"), told=told)
    assert fresh == set()
    assert told_of(held("a"), held("b"), told=less)[0] == {"b"}


def test_a_run_over_some_domains_leaves_told_what_was_told_of_the_others() -> None:
    _, told = told_of(held("a"), held("b"), told={})
    fresh, now = told_of(told=told, about={"", "a"})
    assert fresh == set()
    assert told_of(held("a"), held("b"), told=now)[0] == {"a"}


def test_failures_are_told_every_time() -> None:
    def outcome(result: Result, detail: str) -> Outcome:
        return Outcome(domain="a", text="start domain", result=result, detail=detail, exit_code=ExitCode.FAILED)

    assert is_reported_once(outcome(Result.BLOCKED, "needs --allow takes-over"))
    assert is_reported_once(outcome(Result.PENDING, "the guest does not let go of it"))
    assert not is_reported_once(outcome(Result.FAILED, "libvirt: no"))
    assert not is_reported_once(outcome(Result.UNKNOWN, "no answer"))
    assert not is_reported_once(outcome(Result.BUSY, ""))
