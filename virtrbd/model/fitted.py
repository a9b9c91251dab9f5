"""A domain adapted to this host's hypervisor: what a template needs beside the domain itself."""

from collections.abc import Mapping

from msgspec import Struct, field

from virtrbd.model.domain import Domain


class Fitted(Struct, frozen=True, kw_only=True):
    """A domain, and the way in which QEMU gets each disk's discard granularity there, in bytes by target.

    `blockio`: libvirt's own element; `override`: <qemu:override>; `set_device`: `-set device.`, which needs
    `drops_json_device` where libvirt writes -device as JSON: by taking `json_device_capability` away.
    `states_variables`: whether libvirt needs the statement that a guest's UEFI keeps its variables.
    """

    domain: Domain
    blockio: Mapping[str, int] = field(default_factory=dict)
    override: Mapping[str, int] = field(default_factory=dict)
    set_device: Mapping[str, int] = field(default_factory=dict)
    drops_json_device: bool = False
    json_device_capability: str = "device.json+hotplug"
    states_variables: bool = False
