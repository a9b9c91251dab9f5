"""What of a host the planner decides by, comparable between the host and the model."""

from support.xml import at

from virtrbd.domainxml.document import Document
from virtrbd.domainxml.live import current_memory, current_vcpus, titles
from virtrbd.engine.observe import observe
from virtrbd.images.host import Host
from virtrbd.model.domain import Domain
from virtrbd.planning.policy import Policy
from virtrbd.planning.world import World


def look(domain: Domain, here: Host, policy: Policy) -> World:
    return observe((domain,), here, policy, {})


def picture(domain: Domain, actual: World) -> dict[str, object]:
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
        # A parent is looked at until it has its clone.
        if not ref.snapshot
    }
    for held in actual.domains:
        if held.uuid == domain.uuid:
            mark = held.definition.mark
            found |= {"state": held.state, "autostart": held.autostart, "inputs": mark and mark.inputs}
            found |= {"stated": mark and mark.stated, **_document("definition", held.definition)}
            live = held.live.mark if held.live else None
            found |= {"live stated": live and live.stated, **(_document("live", held.live) if held.live else {})}
    return found


def _document(what: str, held: Document) -> dict[str, object]:
    limits = {
        f"{at(disk, 'target').get('dev')} {limit.tag}": limit.text
        for disk in held.tree.iterfind("devices/disk")
        for limit in disk.iterfind("iotune/*")
    }
    return {
        f"{what} disks": held.disks, f"{what} size": (held.memory_bytes, held.vcpus),
        f"{what} vcpus": current_vcpus(held.tree),
        f"{what} titles": titles(held), f"{what} limits": limits, f"{what} memory": current_memory(held.tree),
        f"{what} links": {
            at(interface, "mac").get("address"): [link.get("state") for link in interface.findall("link")]
            for interface in held.tree.iterfind("devices/interface")
        },
    }  # fmt: skip
