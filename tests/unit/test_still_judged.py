"""What an earlier run found in order is not looked at again, unless any of its documents changed."""

import pytest
from support.strategies import EMPTY, HERE, WEB, done, edited

from virtrbd.domainxml.document import LiveDocument
from virtrbd.domainxml.parse import secret_xml
from virtrbd.hypervisor.reading import host_uuid_in
from virtrbd.hypervisor.secrets import SECRET_NOT_SET, SECRET_SET, SecretMark, secret_mark_of
from virtrbd.model.domain import Domain
from virtrbd.model.record import replace
from virtrbd.planning.judged import still_judged, unjudged
from virtrbd.planning.plan import make_plan
from virtrbd.planning.world import World

WORLD = done((WEB,), EMPTY)
IN_ORDER = make_plan((WEB,), WORLD, HERE)
JUDGED = {domain.uuid: domain.judged for domain in IN_ORDER.domains}


def again(domain: Domain, world: World) -> World:
    """The world of a later run, with what holds of the earlier one's judgements."""
    return replace(world, judged=still_judged((domain,), world, HERE, JUDGED))


def test_the_same_documents_are_judged_once() -> None:
    world = again(WEB, WORLD)
    assert list(world.judged) == [WORLD.domains[0].uuid]
    assert unjudged((WEB,), world, HERE) == ()
    assert make_plan((WEB,), world, HERE) == IN_ORDER


CHANGED = {
    "spec": (replace(WEB, digest="another"), WORLD),
    "definition": (WEB, replace(WORLD, domains=(edited(WORLD.domains[0]),))),
    "guest": (WEB, replace(WORLD, domains=(replace(WORLD.domains[0], live=LiveDocument("<domain/>")),))),
    "hypervisor": (WEB, replace(WORLD, hypervisor_digest="another")),
    "cluster": (WEB, replace(WORLD, cluster=replace(WORLD.cluster, monitors=()))),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_of_any_document_is_looked_at(what: str) -> None:
    domain, world = CHANGED[what]
    assert again(domain, world).judged == {}
    assert unjudged((domain,), again(domain, world), HERE) == (domain,)


@pytest.mark.parametrize("is_set", [True, False])
def test_a_secret_tells_whose_it_is_and_whether_it_has_its_value(is_set: bool) -> None:
    xml = secret_xml("b3", "client.virtrbd@fsid", SECRET_SET if is_set else SECRET_NOT_SET)
    assert secret_mark_of(xml) == SecretMark(is_ours=True, is_set=is_set)


@pytest.mark.parametrize("description", ["", "<description>for nova</description>"])
def test_the_secret_of_somebody_else_tells_nothing(description: str) -> None:
    assert secret_mark_of(f"<secret ephemeral='no' private='no'>{description}</secret>") == SecretMark(
        is_ours=False, is_set=False
    )


def test_the_uuid_is_the_hosts_own() -> None:
    capabilities = "<capabilities>\n\n  <host>\n    <uuid>4c4c4544-0042</uuid>\n    <cpu/>\n  </host>\n</capabilities>"
    assert host_uuid_in(capabilities) == "4c4c4544-0042"
    assert host_uuid_in("<capabilities><host><cpu/></host></capabilities>") == "00000000-0000-0000-0000-000000000000"
