"""What stands against changing an image under whoever uses it."""

from collections.abc import Sequence

import pytest
from support.image_details import HERE, IMAGE, OTHERS, THERE, WATCHER, use_of, used

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, LiveDocument
from virtrbd.images.users import use_of as use_of_domain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageMark, ImageRef
from virtrbd.model.image_use import DomainUse, Role, Unread
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.objections import growth_objections, objections, owner_objections, snapshot_objections


def texts(image: Image, uses: Sequence[DomainUse] = (), host: str = HERE) -> list[str]:
    return [str(each) for each in objections(image, uses, host)]


def test_nothing_stands_against_an_image_that_nobody_uses() -> None:
    assert texts(IMAGE) == []
    assert texts(replace(IMAGE, mark=ImageMark(domain_uuid="u", image_id="1", host=HERE))) == []


def test_a_domain_that_merely_names_it_shut_off_is_no_objection() -> None:
    assert texts(IMAGE, [use_of(PowerState.SHUT_OFF)]) == []


@pytest.mark.parametrize("state", [PowerState.RUNNING, PowerState.PAUSED])
def test_a_domain_that_is_up_stands_against_it_and_its_own_qemu_is_no_second_reason(state: PowerState) -> None:
    found = texts(replace(IMAGE, watchers=(WATCHER,)), [use_of(state)])
    assert found == [f"domain web is {state.value} with it (disk vda); virtrbd shutdown web"]


def test_a_domain_that_is_up_hides_no_other_client() -> None:
    held = replace(IMAGE, watchers=(WATCHER, replace(WATCHER, client_id=8)))
    running, other = objections(held, [use_of(PowerState.RUNNING)], HERE)
    assert (running.lingers, other.lingers) == (False, True)
    assert other.text == "it is open by client.7 at 10.0.0.7:0, client.8 at 10.0.0.7:0"


def test_a_managed_save_counts_as_use_though_nobody_has_the_image_open() -> None:
    [found] = objections(IMAGE, [use_of(PowerState.SAVED)], HERE)
    assert "domain web holds a managed save" in found.text
    assert "virsh managedsave-remove web" in found.way_out
    assert (found.hazard, found.lingers) == (None, False), "neither a flag nor time takes it away"


def test_only_a_client_may_be_what_a_crash_left() -> None:
    [found] = objections(replace(IMAGE, watchers=(WATCHER,)), [], HERE)
    assert (found.lingers, found.hazard) == (True, None)


def test_a_domain_that_uses_another_image_is_not_asked() -> None:
    other = replace(use_of(PowerState.RUNNING), images=(used("vms/other"),))
    assert texts(IMAGE, [other]) == []


def test_a_domain_that_uses_a_snapshot_of_it_uses_it() -> None:
    snapshot = replace(use_of(PowerState.RUNNING), images=(used("vms/web.vda@s"),))
    assert len(texts(IMAGE, [snapshot])) == 1


@pytest.mark.parametrize(("domain", "owner"), [("u", "domain u of host there"), ("", "host there")])
def test_the_mark_of_another_host_takes_over(domain: str, owner: str) -> None:
    image = replace(IMAGE, mark=ImageMark(domain_uuid=domain, image_id="1", host=THERE))
    [found] = owner_objections(image, HERE)
    assert str(found) == f"it belongs to {owner}; do it there, or --allow takes-over"
    assert objections(image, [], HERE) == (found,)
    assert owner_objections(image, THERE) == ()
    named = replace(IMAGE, mark=ImageMark(domain_uuid=domain, image_id="1", host=THERE, host_name="kvm-2"))
    assert named == image, "a name decides nothing"
    [found] = owner_objections(named, HERE)
    assert found.text == f"it belongs to {owner.removesuffix(THERE)}kvm-2 ({THERE})"


def test_an_image_of_one_domain_that_another_uses_takes_over() -> None:
    user = use_of(PowerState.SHUT_OFF)
    image = replace(IMAGE, mark=ImageMark(domain_uuid="another", image_id="1", host=HERE))
    [found] = objections(image, [user], HERE)
    assert (found.hazard, found.text) == (Hazard.TAKES_OVER, "it belongs to domain another, and domain web uses it")
    assert texts(replace(IMAGE, mark=ImageMark(domain_uuid=user.uuid, image_id="1", host=HERE)), [user]) == []
    assert texts(replace(IMAGE, mark=ImageMark(domain_uuid="", image_id="1", host=HERE)), [user]) == [], "no domain's"


def test_an_image_last_started_elsewhere_takes_over() -> None:
    [found] = objections(replace(IMAGE, running_on=THERE), [], HERE)
    assert found.hazard is Hazard.TAKES_OVER
    assert "did not record a stop" in found.text


def test_without_libvirt_a_managed_save_may_be_there() -> None:
    [found] = objections(IMAGE, None, HERE)
    assert found.hazard is Hazard.TAKES_OVER
    assert "which domains of this host use it is unknown" in found.text


def test_a_running_guest_is_told_of_growth_instead_of_standing_against_it() -> None:
    use = use_of(PowerState.RUNNING)
    assert growth_objections(replace(IMAGE, watchers=(WATCHER,)), [use], HERE) == (use, ())
    assert growth_objections(IMAGE, [], HERE) == (None, ())


@pytest.mark.parametrize("state", [PowerState.SAVED, PowerState.RUNNING])
def test_growth_is_refused_where_the_guest_could_not_be_told(state: PowerState) -> None:
    held = replace(IMAGE, watchers=OTHERS) if state is PowerState.RUNNING else IMAGE
    told, found = growth_objections(held, [use_of(state)], HERE)
    assert told is None
    assert found


def test_a_running_guest_of_another_host_s_image_is_told_only_when_that_is_allowed() -> None:
    use = use_of(PowerState.RUNNING)
    image = replace(IMAGE, mark=ImageMark(domain_uuid=use.uuid, image_id="1", host=THERE), watchers=(WATCHER,))
    told, [found] = growth_objections(image, [use], HERE)
    assert told is not None
    assert found.hazard is Hazard.TAKES_OVER


def no_pool(_name: str) -> str | None:
    return None


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (None, True),
        ("<disk><source file='rbd:vms/web.vda'/>", True),
        ("<disk><source name='vms/web.&#118;da'/>", True),
        ("<disk><source name='vms/other'/>", False),
        ("", False),
    ],
)
def test_a_domain_that_cannot_be_read_counts_as_use_of_what_its_text_names(text: str | None, counts: bool) -> None:
    odd = DomainUse(name="odd", uuid="o", state=PowerState.SHUT_OFF, unread=(Unread(what="its XML", text=text),))
    image = replace(IMAGE, ref=ImageRef(pool="vms", name="web.vda"))
    found = objections(image, [odd], HERE)
    assert bool(found) == counts
    for objection in found:
        assert objection.hazard is Hazard.TAKES_OVER
        assert str(objection).startswith("domain odd may use it: virtrbd cannot read its XML")


def test_what_a_definition_says_is_a_use_and_what_cannot_be_parsed_is_one_by_its_text() -> None:
    xml = "<domain><devices><disk><source protocol='rbd' name='vms/web.vda'/></disk></devices></domain>"
    domain = DefinedDomain(
        name="a", uuid="u", state=PowerState.RUNNING, definition=Definition(xml), live=LiveDocument(xml)
    )
    assert use_of_domain(domain, (), no_pool).refs == {ImageRef(pool="vms", name="web.vda")}
    broken = use_of_domain(replace(domain, live=LiveDocument(xml.replace("</domain>", ""))), (), no_pool)
    [unread] = broken.unread
    assert unread.may_name(ImageRef(pool="vms", name="web.vda"))
    assert unread.what.startswith("its XML (")


BASE = used("vms/web.vda", Role.BASE)


@pytest.mark.parametrize("state", list(PowerState))
def test_what_an_overlay_is_built_on_is_never_changed(state: PowerState) -> None:
    overlaid = replace(use_of(state), images=(BASE,))
    found = [*objections(IMAGE, [overlaid], HERE), *growth_objections(IMAGE, [overlaid], HERE)[1]]
    below = [each for each in found if "has it as the backing file of disk vda" in each.text]
    assert len(below) == 2
    assert {(each.hazard, each.lingers) for each in below} == {(None, False)}


def test_the_qemu_above_an_overlay_hides_no_client_that_writes_below_it() -> None:
    overlaid = replace(use_of(PowerState.RUNNING), images=(BASE,))
    assert "it is open by client.7 at 10.0.0.7:0" in " ".join(
        each.text for each in objections(replace(IMAGE, watchers=(WATCHER,)), [overlaid], HERE)
    )


@pytest.mark.parametrize("state", list(PowerState))
def test_a_snapshot_that_is_a_domain_s_disk_is_kept_whatever_the_domain_does(state: PowerState) -> None:
    user = replace(use_of(state), images=(used("vms/web.vda@v1"),))
    [found] = snapshot_objections(ImageRef.parse("vms/web.vda@v1"), [user])
    assert (found.hazard, found.lingers) == (None, False)
    assert found.text == f"domain web, {state.value}, has vms/web.vda@v1 as disk vda"
    assert snapshot_objections(ImageRef.parse("vms/web.vda@v2"), [user]) == ()
    assert snapshot_objections(ImageRef.parse("vms/web.vda@v1"), [use_of(state)]) == ()


def test_a_guest_on_a_snapshot_does_not_stand_against_growing_the_image() -> None:
    user = replace(use_of(PowerState.RUNNING), images=(used("vms/web.vda@v1"),))
    assert growth_objections(IMAGE, [user], HERE) == (None, ())


def test_a_guest_that_has_the_image_as_something_else_than_a_disk_cannot_be_told_of_growth() -> None:
    user = replace(use_of(PowerState.RUNNING), images=(used("vms/web.vda", Role.STATE, "NVRAM"),))
    told, [found] = growth_objections(IMAGE, [user], HERE)
    assert (told, found.text) == (None, "domain web is running with it (NVRAM)")


def test_what_cannot_be_read_may_be_use_of_any_image() -> None:
    unread = replace(use_of(PowerState.SHUT_OFF), images=(), unread=(Unread(what="an argument of QEMU: -readconfig"),))
    [found] = objections(IMAGE, [unread], HERE)
    assert found.hazard is Hazard.TAKES_OVER
    assert found.text == "domain web may use it: virtrbd cannot read an argument of QEMU: -readconfig"
