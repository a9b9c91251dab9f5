"""A plan as people and programs read it."""

import json

import pytest

from virtrbd.commands.output.plan import (
    exit_code_of,
    plan_data,
    plan_digest,
    plan_lines,
)
from virtrbd.errors import ExitCode
from virtrbd.model.difference import Difference
from virtrbd.model.domain_actions import DefineDomain, RenewMark, SetAutostart
from virtrbd.model.element_path import ElementPath
from virtrbd.model.hazard import Hazard
from virtrbd.model.live_actions import DetachDevice
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Plan
from virtrbd.model.record import replace

EDIT = DefineDomain(
    domain_uuid="u", xml="<x/>", inputs="i", based_on="<y/>",
    differences=(Difference(path=ElementPath("/vcpu"), wanted="2", found="1"),),
)  # fmt: skip
DETACH = DetachDevice(domain_uuid="u", device="disk:vdb", hazards=(Hazard.INTERRUPTS_GUEST,))
HELD = Finding(domain="b", kind=FindingKind.HELD, text="left alone")
PLAN = Plan(
    domains=(
        DomainPlan(name="a", actions=(EDIT, RenewMark(domain_uuid="u", inputs="i"), DETACH)),
        DomainPlan(name="b", findings=(HELD,)),
        DomainPlan(name="c", problems=("c.yaml:1: no",)),
        DomainPlan(name="d", note="belongs to host kvm-2"),
    )
)


def test_a_plan_reads_domain_by_domain() -> None:
    assert plan_lines(PLAN, frozenset()) == [
        "a: would edit definition (/vcpu: 1 -> 2)",
        "a: BLOCKED: detach disk vdb: needs --allow interrupts-guest",
        "b: held: left alone",
        "c: FAILED: c.yaml:1: no",
        "d: belongs to host kvm-2",
        "4 domains, 2 actions, 1 blocked, 1 problem, 1 finding",
    ]
    assert "a: would detach disk vdb" in plan_lines(PLAN, frozenset({Hazard.INTERRUPTS_GUEST}))


def test_a_plan_is_data_with_paths_and_hazards() -> None:
    [a, b, *_] = json.loads(json.dumps(plan_data(PLAN, frozenset())))["domains"]
    assert [(action["kind"], action["blocked"]) for action in a["actions"]] == [
        ("DefineDomain", False), ("DetachDevice", True)
    ]  # fmt: skip
    assert a["actions"][0]["differences"] == [{"path": "/vcpu", "wanted": "2", "found": "1", "mend": "next-boot"}]
    assert b["findings"] == [{"kind": "held", "subject": "", "text": "left alone"}]


@pytest.mark.parametrize(
    ("domain", "code"),
    [
        (DomainPlan(name="a"), ExitCode.OK),
        (DomainPlan(name="a", actions=(RenewMark(domain_uuid="u", inputs="i"),)), ExitCode.OK),
        (DomainPlan(name="a", actions=(EDIT,)), ExitCode.DRIFT),
        (DomainPlan(name="a", findings=(HELD,)), ExitCode.DRIFT),
        (DomainPlan(name="a", held_back=("saved",)), ExitCode.DRIFT),
        (DomainPlan(name="a", problems=("no",)), ExitCode.SPEC),
    ],
)
def test_a_plan_ends_with_what_it_found(domain: DomainPlan, code: ExitCode) -> None:
    assert exit_code_of(Plan(domains=(domain,))) is code


def test_a_digest_is_of_all_that_would_be_done_and_of_nothing_else() -> None:
    digest = plan_digest(PLAN)
    with_orphan = replace(PLAN, domains=(*PLAN.domains, DomainPlan(name="z", findings=(HELD,))))
    assert plan_digest(with_orphan) == digest, "what others do beside it is told, and moves nothing on"
    a, *others = PLAN.domains
    for other in (
        replace(a, actions=a.actions[:1]),
        replace(a, actions=(replace(EDIT, based_on="<z/>"), *a.actions[1:])),
        replace(a, name="z"),
        replace(a, problems=("no",)),
    ):
        assert plan_digest(replace(PLAN, domains=(other, *others))) != digest


def test_a_plan_with_actions_is_more_than_quiet_ones() -> None:
    quiet = Plan(domains=(DomainPlan(name="a", actions=(RenewMark(domain_uuid="u", inputs="i"),)),))
    assert plan_lines(quiet, frozenset()) == ["1 domain, 0 actions"]
    loud = Plan(domains=(DomainPlan(name="a", actions=(SetAutostart(domain_uuid="u", autostart=True),)),))
    assert plan_lines(loud, frozenset()) == ["a: would set autostart on", "1 domain, 1 action"]
