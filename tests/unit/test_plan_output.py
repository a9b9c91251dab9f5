"""A plan as people and programs read it, and kept in a file until it is applied."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from virtrbd.commands.plan_output import (
    SavedPlan,
    exit_code_of,
    is_saved_plan,
    plan_data,
    plan_digest,
    plan_lines,
    read_plan,
    save_plan,
)
from virtrbd.errors import ConfigError, ExitCode, UsageError, VirtrbdError
from virtrbd.model.actions import DefineDomain, RenewMark, SetAutostart
from virtrbd.model.difference import Difference
from virtrbd.model.hazard import Hazard
from virtrbd.model.live_actions import DetachDevice
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Plan

EDIT = DefineDomain(
    domain_uuid="u", xml="<x/>", inputs="i", based_on="<y/>",
    differences=(Difference(path="/vcpu", wanted="2", found="1"),),
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


def test_a_saved_plan_comes_back_and_can_be_read_by_people(tmp_path: Path) -> None:
    saved = SavedPlan(paths=("/etc/virtrbd/specs",), digest="d", host="kvm-1")
    file = tmp_path / "tonight.plan"
    file.write_text("something that was there")
    save_plan(str(file), saved, ["a: would start domain"])
    assert read_plan(str(file)) == saved
    assert "a: would start domain" in file.read_text()
    assert [each.name for each in tmp_path.iterdir()] == [file.name], "no half file is left"
    assert is_saved_plan([str(file)])


def test_specs_are_no_saved_plan(tmp_path: Path) -> None:
    spec = tmp_path / "web.yaml"
    spec.write_text("name: web\n")
    assert not is_saved_plan([str(spec)])
    assert not is_saved_plan([str(tmp_path)])
    assert not is_saved_plan([])
    assert not is_saved_plan([str(spec), str(tmp_path)])
    saved = tmp_path / "monday.plan"
    saved.touch()
    with pytest.raises(UsageError, match="apply it alone"):
        is_saved_plan([str(saved), str(spec)])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "virtrbd plan"}', '{"kind": "other"}', "name: web"])
def test_a_file_that_is_no_plan_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.plan").write_text(text)
    with pytest.raises(ConfigError, match=r"no plan that virtrbd saved; make one with virtrbd plan --save"):
        read_plan(str(tmp_path / "x.plan"))


def test_a_plan_that_cant_be_kept_or_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(VirtrbdError, match="name a file that can be written"):
        save_plan(str(tmp_path / "no/where"), SavedPlan(paths=(), digest="", host=""), [])
    with pytest.raises(UsageError, match="No such file"):
        read_plan(str(tmp_path / "x.plan"))


def test_a_plan_with_actions_is_more_than_quiet_ones() -> None:
    quiet = Plan(domains=(DomainPlan(name="a", actions=(RenewMark(domain_uuid="u", inputs="i"),)),))
    assert plan_lines(quiet, frozenset()) == ["1 domain, 0 actions"]
    loud = Plan(domains=(DomainPlan(name="a", actions=(SetAutostart(domain_uuid="u", autostart=True),)),))
    assert plan_lines(loud, frozenset()) == ["a: would set autostart on", "1 domain, 1 action"]
