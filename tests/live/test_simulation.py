"""The model of a host on which the planner's laws are held, held against the host: one action, one world after it."""

import pytest
from simulate import simulate

from virtrbd.commands.app import Run
from virtrbd.commands.pipeline import connected
from virtrbd.domainxml.live import current_vcpus, titles
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.parse import parse_disks, parse_size
from virtrbd.domainxml.tree import parse_tree
from virtrbd.host.host import Host
from virtrbd.host.observe import observe
from virtrbd.host.perform import perform
from virtrbd.model.actual import Actual
from virtrbd.model.domain import Domain
from virtrbd.model.hazard import Hazard
from virtrbd.planning.plan import Policy, make_plan
from virtrbd.spec.desired import desired_domains
from virtrbd.spec.settings import load_settings

# Each spec follows on the one before; what changes brings the actions about.
SPECS = [
    "machine: pc\nvcpus: 1\nmax_vcpus: 2\ndisks:\n  - size: 16M\n  - {size: 16M, bus: scsi}\ncdroms: [{}]\n",
    "state: running\nmachine: pc\nvcpus: 1\nmax_vcpus: 2\ndisks:\n  - size: 16M\n  - {size: 16M, bus: scsi}\n"
    "cdroms: [{}]\n",
    "machine: pc\nvcpus: 2\nmax_vcpus: 2\ntitle: shop\nautostart: true\ndisks:\n"
    "  - {size: 24M, iotune: {read_iops_sec: 100, write_iops_sec: 50}}\n  - {size: 16M, bus: scsi}\n  - size: 16M\n"
    "cdroms: [{image: vms/NAME.vda}]\n",
    "machine: pc\nvcpus: 2\nmax_vcpus: 2\ndescription: sells\ndisks:\n"
    "  - {size: 24M, iotune: {read_iops_sec: 200, write_iops_sec: 50}}\n  - size: 16M\ncdroms: [{}]\n",
]  # fmt: skip
SEEN = {
    "CreateImage", "DefineDomain", "StartDomain", "GrowImage", "AttachDevice", "DetachDevice", "LimitDisk", "SetTitle",
    "SetVcpus", "ChangeMedia", "SetAutostart", "MarkLive",
}  # fmt: skip


def look(domain: Domain, here: Host, policy: Policy) -> Actual:
    return observe((domain,), here.hypervisor, here.cluster, here.state, policy, {})


def picture(domain: Domain, actual: Actual) -> dict[str, object]:
    """What of a world the planner decides by, without what libvirt adds and what names itself by chance."""
    found: dict[str, object] = {
        str(ref): image
        and (
            image.size_bytes,
            image.parent,
            image.mark and image.mark.domain_uuid,
            image.running_on,
            image.seed,
            image.state,
        )
        for ref, image in actual.images.items()
    }
    for held in actual.domains:
        if held.uuid == domain.uuid:
            mark = read_mark(held.definition)
            found |= {"state": held.state, "autostart": held.autostart, "inputs": mark and mark.inputs}
            found |= {"stated": mark and mark.stated, **document("definition", held.definition)}
            live = read_mark(held.live) if held.live else None
            found |= {"live stated": live and live.stated, **(document("live", held.live) if held.live else {})}
    return found


def document(what: str, xml: str) -> dict[str, object]:
    limits = {
        f"{disk.find('target').get('dev')} {limit.tag}": limit.text  # type: ignore[union-attr]
        for disk in parse_tree(xml).iterfind("devices/disk")
        for limit in disk.iterfind("iotune/*")
    }
    return {
        f"{what} disks": parse_disks(xml), f"{what} size": parse_size(xml), f"{what} vcpus": current_vcpus(xml),
        f"{what} titles": titles(xml), f"{what} limits": limits,
    }  # fmt: skip


@pytest.mark.timeout(180)
def test_what_the_model_makes_of_an_action_the_host_makes_of_it(host, name) -> None:  # type: ignore[no-untyped-def]
    settings = load_settings(host.ok("printenv", "VIRTRBD_CONFIG").strip())
    policy = Policy(host=settings.host, by_spec=True)
    seen = set()
    with connected(Run(), settings, frozenset(Hazard)) as here:
        for text in SPECS:
            spec = host.folder / host.spec(name, text.replace("NAME", name))
            [domain] = desired_domains([str(spec)], settings)
            [plan] = make_plan([domain], look(domain, here, policy), policy).domains
            for action in plan.actions:
                expected = simulate(action, look(domain, here, policy))
                perform(action, here)
                assert picture(domain, look(domain, here, policy)) == picture(domain, expected), action.text
                seen.add(type(action).__name__)
            assert make_plan([domain], look(domain, here, policy), policy).domains[0].actions == ()
    assert seen >= SEEN
