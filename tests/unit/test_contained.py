"""What virtrbd did not foresee fails one domain, image or action; the others go on."""

import pytest
from support.image_details import uses_in
from support.strategies import EMPTY, FOREIGN_SECRETS, HERE, MIB, WEB, done, uuid_of

from virtrbd.contained import contained
from virtrbd.domainxml.defined import DefinedDomain, UnreadDomain
from virtrbd.domainxml.document import NAMESPACE, Definition, LiveDocument
from virtrbd.engine.execute import execute
from virtrbd.errors import ClusterError, DefectError, ExitCode
from virtrbd.model.actions import Action
from virtrbd.model.disk import Bus, Cdrom, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import SetAutostart
from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageMark, ImageRef
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.plan import DomainPlan, FindingKind, Plan, Result
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.world import World

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


def _plans(*desired: Domain, actual: World) -> dict[str, DomainPlan]:
    return {plan.name: plan for plan in make_plan(desired, uses_in(actual), HERE).domains}


def _unread(name: str, uuid: str, failure: Failure = UNREADABLE) -> World:
    unread = UnreadDomain(name=name, uuid=uuid, state=PowerState.SHUT_OFF, failure=failure)
    return replace(EMPTY, unread_domains=(unread,))


@pytest.mark.parametrize(("name", "uuid"), [("app", "other"), ("other", APP.uuid)])
def test_a_domain_that_cannot_be_read_is_not_taken_for_absent(name: str, uuid: str) -> None:
    odd = _plans(APP, WEB, actual=_unread(name, uuid))
    assert (odd["app"].failures, odd["app"].actions) == ((UNREADABLE,), ())
    assert odd["web"] == _plans(WEB, actual=EMPTY)["web"]


def test_an_image_that_cannot_be_read_is_not_made_again() -> None:
    odd = _plans(APP, WEB, actual=replace(EMPTY, unread_images={APP.disks[0].image: UNREADABLE}))
    assert (odd["app"].failures, odd["app"].actions) == ((UNREADABLE,), ())
    assert odd["web"] == _plans(WEB, actual=EMPTY)["web"]


def test_a_defect_in_planning_one_domain_leaves_the_others_theirs() -> None:
    world = replace(EMPTY, images={**EMPTY.images, APP.disks[0].image: None})
    broken = replace(APP, digest="two", cdroms=(None,))  # type: ignore[arg-type]  # a defect
    odd = _plans(broken, WEB, actual=world)
    assert odd["app"].failures[0].exit_code is ExitCode.BUG
    assert odd["app"].failures[0].text.startswith("planning domain app: ")
    assert odd["web"] == _plans(WEB, actual=world)["web"]


def test_a_domain_named_like_the_uuid_of_another_harms_only_itself() -> None:
    assert _plans(APP, actual=_unread(APP.uuid, "other"))["app"] == _plans(APP, actual=EMPTY)["app"]


def test_a_foreign_domain_that_cannot_be_read_is_a_finding_and_a_defect_is_a_failure() -> None:
    (finding,) = _plans(WEB, actual=_unread("odd", "odd"))["odd"].findings
    assert (finding.kind, finding.text) == (FindingKind.UNREAD, "cannot be read")
    defect = Failure(text="a bug", exit_code=ExitCode.BUG, trace=("somewhere",))
    plan = _plans(WEB, actual=_unread("odd", "odd", defect))["odd"]
    assert (plan.findings, plan.failures) == ((), (defect,))


def _held(xml: str, *, name: str = "odd", live: str = "") -> World:
    state = PowerState.RUNNING if live else PowerState.SHUT_OFF
    odd = DefinedDomain(
        name=name,
        uuid=uuid_of(name),
        state=state,
        definition=Definition(xml),
        live=LiveDocument(live) if live else None,
    )
    # With a secret that is there: else the first domain that is planned makes it.
    return replace(EMPTY, domains=(odd,), secrets=FOREIGN_SECRETS)


SOURCE = "<source protocol='rbd' name='vms/web.vda'/>"
HOSTS = "<source protocol='rbd' name='vms/x'>\n<host name='10.9.9.9'/></source>"
# What may stand in the definition of a domain that no spec names.
STRANGERS = {
    "nothing": "",
    "no XML": "<domain",
    "another document": "<pool><name>odd</name></pool>",
    "no devices": "<domain><name>odd</name></domain>",
    "a mark of nobody": f"<domain><metadata><v:domain xmlns:v='{NAMESPACE}'/></metadata></domain>",
    "half a mark": f"<domain><metadata><v:domain xmlns:v='{NAMESPACE}' uuid='",
    "a mark 3,000 deep": f"<domain><metadata><v:domain xmlns:v='{NAMESPACE}'>{'<a>' * 3000}{'</a>' * 3000}</v:domain>",
    "a document type": f"<!DOCTYPE d [<!ENTITY e SYSTEM '/dev/zero'>]><domain><v:d xmlns:v='{NAMESPACE}'/>&e;</domain>",
    "characters": f"<domain><title>a\x1b\x00\ufffe\ud800</title><v:d xmlns:v='{NAMESPACE}'/></domain>",
    "a disk without a target": "<domain><devices><disk><source protocol='rbd' name='vms/x'/></disk></devices></domain>",
    "two disks of one target": f"<domain><devices>{'<disk><target dev=_vda_/></disk>' * 2}</devices></domain>",
    "5 MiB": f"<domain><title>{'x' * 5 * MIB}</title></domain>",
    "monitors without end": "<domain>" + "<source protocol='rbd' a>" * 10_000,
    "monitors in metadata": f"<domain><metadata><![CDATA[{HOSTS}]]>&e;</metadata></domain>",
}


@pytest.mark.parametrize("xml", STRANGERS.values(), ids=STRANGERS)
def test_an_odd_foreign_domain_leaves_the_plans_of_others_as_they_are(xml: str) -> None:
    policy = replace(HERE, with_orphans=True)
    actual = _held(xml)
    odd, without = (make_plan((APP, WEB), each, policy).domains for each in (actual, replace(actual, domains=())))
    assert tuple(plan for plan in odd if plan.name != "odd") == without
    assert not [failure for plan in odd for failure in plan.failures]


@pytest.mark.parametrize("xml", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("live", [False, True])
def test_an_odd_definition_fails_its_own_domain_with_a_documented_code(xml: str, live: bool) -> None:
    actual = _held(xml, name="app", live=xml if live else "")
    plans = _plans(APP, WEB, actual=actual)
    assert plans["web"] == _plans(WEB, actual=replace(actual, domains=()))["web"]
    assert {failure.exit_code for failure in plans["app"].failures} <= {ExitCode.FAILED}


def test_a_foreign_domain_that_cannot_be_read_and_names_an_image_may_write_it() -> None:
    actual = _held(f"<domain>{SOURCE}")
    plans = _plans(APP, WEB, actual=actual)
    assert plans["app"] == _plans(APP, actual=replace(actual, domains=()))["app"]
    (problem,) = plans["web"].problems
    assert "image vms/web.vda is already written by domain odd, perhaps: virtrbd cannot read its XML (" in problem


@pytest.mark.parametrize("name", ["odd", "app"])
def test_a_definition_that_libvirt_would_not_read_again_is_told_before_libvirtd_restarts(name: str) -> None:
    whole = done([APP], EMPTY)
    (app,) = whole.domains
    broken = replace(
        app,
        name=name,
        uuid=uuid_of(name),
        definition=Definition(app.definition.text.replace("</name>", "</name><title>\x1b</title>")),
    )
    plan = _plans(APP, actual=replace(whole, domains=(broken,)))[name]
    assert "the character U+001B: when libvirtd is restarted" in plan.findings[-1].text
    assert plan.findings[-1].kind is FindingKind.NOT_XML
    assert plan.judged == ""


def test_a_definition_is_not_changed_where_that_would_lose_what_others_wrote() -> None:
    whole = done([APP], EMPTY)
    (app,) = whole.domains
    broken = replace(app, definition=Definition(app.definition.text.replace("</name>", "</name><title>\x1b</title>")))
    larger = replace(APP, memory_bytes=2 * APP.memory_bytes, digest="two")
    (failure,) = _plans(larger, actual=replace(whole, domains=(broken,)))["app"].failures
    assert failure.exit_code is ExitCode.FAILED
    assert failure.text.startswith("its definition is not changed: it holds the character U+001B")
    titled = replace(larger, title="mine")
    assert _plans(titled, actual=replace(whole, domains=(broken,)))["app"].failures == ()


def test_a_last_definition_that_is_damaged_costs_the_explanation_alone() -> None:
    whole = done([APP], EMPTY)
    (app,) = whole.domains
    changed = replace(
        app, definition=Definition(app.definition.text.replace("</name>", "</name><title>theirs</title>"))
    )
    last = LastDefinition(xml="<dom", hypervisor="h")
    plan = _plans(APP, actual=replace(whole, domains=(changed,), last_definitions={app.uuid: last}))["app"]
    assert plan.failures == ()
    assert "the last definition is lost" in plan.findings[0].text


def test_a_cdrom_does_not_show_the_disk_of_another_domain() -> None:
    image = APP.disks[0].image
    reader = replace(WEB, cdroms=(Cdrom(target="sda", bus=Bus.SATA, image=image, line=9),))
    owned = Image(
        ref=image,
        image_id="7",
        size_bytes=MIB,
        created_at=0,
        mark=ImageMark(domain_uuid=APP.uuid, image_id="7", host="h"),
    )
    marked = replace(EMPTY, images={**EMPTY.images, image: owned})
    (problem,) = _plans(reader, actual=marked)["web"].problems
    assert f"image vms/app.vda belongs to domain {APP.uuid}" in problem
    free = replace(marked, images={**EMPTY.images, image: replace(owned, mark=None)})
    assert _plans(reader, actual=free)["web"].problems == ()
    (written,) = done([APP], EMPTY).domains
    (problem,) = _plans(reader, actual=replace(free, domains=(written,)))["web"].problems
    assert "cdrom sda: image vms/app.vda is a disk of domain app" in problem
