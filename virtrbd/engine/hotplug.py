"""Changes in a running guest, by libvirt. Each calls QEMU's monitor, so each may hang with that guest."""

import time
from collections.abc import Callable

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import LiveDocument
from virtrbd.domainxml.live import (
    current_memory,
    current_vcpus,
    with_link,
    without_address,
)
from virtrbd.domainxml.own_devices import device_at, own_device, place_of
from virtrbd.domainxml.tree import Element, to_text
from virtrbd.errors import HypervisorError, NotLiveError
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.hypervisor.live_changes import attach_live, detach_live, set_memory_live, set_vcpus_live, update_live
from virtrbd.model.live_actions import SetLink

# How long a guest may take to release a device, or to give memory back.
_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.2


def attach(hypervisor: Hypervisor, uuid: str, device: str) -> None:
    """Attach a device of the definition to the running guest, at the same place on the bus where that is free.

    Raises NotLiveError when QEMU does not take it now: the next boot has it.
    """
    found = _known(own_device(_domain(hypervisor, uuid).definition, device), device, "definition")
    try:
        attach_live(hypervisor, uuid, to_text(found))
    except HypervisorError:
        try:
            attach_live(hypervisor, uuid, without_address(found))
        except HypervisorError as error:
            raise NotLiveError(f"{_without_slots(error)}; takes effect at the next boot") from error


def _without_slots(error: HypervisorError) -> str:
    # q35 has one spare port by default.
    if "No more available PCI slots" not in str(error):
        return str(error)
    return "the running guest has no free slot for it (libvirt: No more available PCI slots)"


def detach(hypervisor: Hypervisor, uuid: str, device: str, place: str) -> None:
    """Detach the device at a place from the running guest; done when the live XML lacks it. Raises NotLiveError.

    libvirt gets the live element with its address and alias: by a MAC alone it refuses where two have it
    ("multiple devices matching MAC address").
    """
    found = device_at(_running(hypervisor, uuid), device, place)
    if found is None:
        return
    try:
        detach_live(hypervisor, uuid, to_text(found))
    except HypervisorError as error:
        raise NotLiveError(f"{error}; it is removed at the next boot") from error
    # libvirt succeeds after 5 s also where the guest has not released it.
    at = place_of(found)
    if not _await(hypervisor, uuid, lambda live: device_at(live, device, at) is None):
        raise NotLiveError("the guest does not release it; it is removed when the guest does, or at the next boot")


def change_media(hypervisor: Hypervisor, uuid: str, device: str) -> None:
    """Put the definition's medium into a drive of the running guest. Raises NotLiveError: the guest may lock it."""
    found = _known(own_device(_domain(hypervisor, uuid).definition, device), device, "definition")
    try:
        update_live(hypervisor, uuid, without_address(found))
    except HypervisorError as error:
        raise NotLiveError(f"{error}; takes effect at the next boot, or when the guest releases the drive") from error


def set_link(hypervisor: Hypervisor, uuid: str, action: SetLink) -> None:
    """Set an interface's link. Raises HypervisorError."""
    at = device_at(_running(hypervisor, uuid), action.device, action.place)
    found = _known(at, action.device, "running guest")
    update_live(hypervisor, uuid, with_link(found, up=action.up, is_stated=action.is_stated))


def set_memory(hypervisor: Hypervisor, uuid: str, to_bytes: int) -> None:
    """Set the balloon, up to the guest's maximum. Raises NotLiveError when the guest does not follow."""
    wanted = min(to_bytes, current_memory(_running(hypervisor, uuid).tree).most)
    set_memory_live(hypervisor, uuid, wanted)
    if not _await(hypervisor, uuid, lambda live: current_memory(live.tree).current == wanted):
        raise NotLiveError("the guest's balloon does not follow; is its driver loaded?")


def set_vcpus(hypervisor: Hypervisor, uuid: str, count: int) -> None:
    """Plug vcpus in or out, up to the guest's maximum. Raises NotLiveError when it does not release them."""
    most = current_vcpus(_running(hypervisor, uuid).tree).most
    try:
        set_vcpus_live(hypervisor, uuid, min(count, most))
    except HypervisorError as error:
        raise NotLiveError(f"{error}; takes effect at the next boot") from error


def _domain(hypervisor: Hypervisor, uuid: str) -> DefinedDomain:
    domain = hypervisor.domain(uuid)
    if domain is None or not domain.live:
        raise NotLiveError("the guest stopped meanwhile; the next boot has it")
    return domain


def _running(hypervisor: Hypervisor, uuid: str) -> LiveDocument:
    live = _domain(hypervisor, uuid).live
    assert live, "of a domain that runs"
    return live


def _known(found: Element | None, device: str, what: str) -> Element:
    if found is None:
        raise HypervisorError(f"the {what} no longer has {device}; another program changed it meanwhile: run again")
    return found


def _await(hypervisor: Hypervisor, uuid: str, is_so: Callable[[LiveDocument], bool]) -> bool:
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        domain = hypervisor.domain(uuid)
        if domain is None or not domain.live or is_so(domain.live):
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(_LOOK_EVERY_S)
