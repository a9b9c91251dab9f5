"""The schema of a network interface in a spec."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, model_validator

from virtrbd.printable import quoted
from virtrbd.specs.checked import Boot, Plain, Strict, list_of_one, short_for, without_nulls


def _mac(mac: str | None) -> str | None:
    if mac is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", mac):
        raise ValueError(f'{quoted(mac)} is not a MAC address; write "52:54:00:12:34:56"')
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{quoted(mac)} is a multicast address; the first byte must be even, like 52")
    return mac.lower()


class FilterSpec(Strict):
    """A network filter of libvirt's."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$")]
    parameters: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:]+$")]]
        | None,
        BeforeValidator(without_nulls),
        Field(description="The filter's variables, like IP."),
    ] = None


Tag = Annotated[StrictInt, Field(ge=0, le=4095)]


class InterfaceSpec(Strict):
    """One network interface: on a libvirt network, a bridge, or directly on a host interface."""

    network: Annotated[Plain | None, Field(description="A libvirt network.")] = None
    bridge: Annotated[Plain | None, Field(description="A bridge of the host.")] = None
    direct: Annotated[Plain | None, Field(description="An interface of the host, by macvtap.")] = None
    mode: Annotated[
        Literal["bridge", "vepa", "private", "passthrough"] | None,
        Field(description="Of direct; bridge unless stated."),
    ] = None
    model: Annotated[str | None, Field(pattern=r"^[a-zA-Z0-9_-]+$", description="virtio unless stated.")] = None
    mac: Annotated[
        str | None, AfterValidator(_mac), Field(description="In quotes; derived from domain and name unless stated.")
    ] = None
    name: Annotated[Plain | None, Field(description="Source of its derived MAC; the network's name unless stated.")] = (
        None
    )
    vlan: Annotated[
        tuple[Tag, ...] | None,
        BeforeValidator(list_of_one, json_schema_input_type=Tag | list[Tag]),
        Field(description="A tag, or the tags of a trunk; libvirt needs Open vSwitch, or 11.0 on a plain bridge."),
    ] = None
    mtu: Annotated[StrictInt | None, Field(ge=68, le=65535)] = None
    queues: Annotated[StrictInt | None, Field(ge=1, le=256, description="Of vhost; virtio only.")] = None
    link: Annotated[Literal["up", "down"] | None, Field(description="up unless stated.")] = None
    filterref: Annotated[
        FilterSpec | None,
        BeforeValidator(short_for("name"), json_schema_input_type=FilterSpec | str),
        Field(description="A network filter of libvirt's, like clean-traffic."),
    ] = None
    boot: Annotated[Boot | None, Field(description="Boot order, from 1, for PXE.")] = None

    @model_validator(mode="after")
    def _has_one_end(self) -> Self:
        if sum(end is not None for end in (self.network, self.bridge, self.direct)) != 1:
            raise ValueError("write one of network: NAME, bridge: NAME and direct: DEVICE")
        if self.mode and not self.direct:
            raise ValueError("mode belongs to direct; leave it out")
        if self.queues and (self.model or "virtio") != "virtio":
            raise ValueError(f"queues are virtio's; a {self.model} has one")
        if self.mtu and self.direct:
            raise ValueError("libvirt sets no mtu on a direct interface; set it on the host's")
        if self.vlan and self.direct and self.mode != "passthrough":
            # virDomainActualNetDefValidate: at every start, and since libvirt 12 when it is defined.
            raise ValueError(
                "libvirt tags a direct interface only with mode: passthrough; else name a VLAN interface of the host"
            )
        if self.filterref and self.direct:
            raise ValueError("libvirt filters nothing on a direct interface; use bridge or network")
        return self
