"""The spec's schema: what a person may write for a domain."""

import re
from collections import Counter
from string import ascii_lowercase
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator

from virtrbd.model.domain import Bus, Cache, Discard
from virtrbd.spec.checked import ImageName, SizeBytes, Strict

TARGET_PREFIX = {Bus.VIRTIO: "vd", Bus.SCSI: "sd", Bus.SATA: "sd", Bus.IDE: "hd", Bus.USB: "sd"}


def _domain_name(name: str) -> str:
    # The name becomes a part of image names and of file names.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
        raise ValueError(f"{name!r} is no domain name; write letters, digits, '.', '_' and '-', 63 at most")
    return name


def _mac(mac: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", mac):
        raise ValueError(f'{mac!r} is no MAC address; write "52:54:00:12:34:56"')
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{mac!r} is a multicast address; the first byte must be even, like 52")
    return mac.lower()


class DiskSpec(Strict):
    """One disk: an RBD image behind a target."""

    target: Annotated[str, Field(pattern=r"^(vd|sd|hd)[a-z]$")] | None = None
    bus: Bus = Bus.VIRTIO
    image: ImageName | None = None
    size: SizeBytes | None = None
    clone: ImageName | None = None
    import_file: Annotated[str | None, Field(alias="import")] = None
    existing: StrictBool = False
    cache: Cache | None = None
    discard: Discard | None = None
    boot: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    readonly: StrictBool = False
    shareable: StrictBool = False

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        sources = [word for word, given in (
            ("clone", self.clone), ("import", self.import_file), ("existing", self.existing)
        ) if given]  # fmt: skip
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} contradict each other; keep one")
        if not sources and self.size is None and not (self.image and self.image.snapshot):
            raise ValueError("no size; write size: 20G, or clone, import or existing: true")
        if self.existing and self.size is not None:
            raise ValueError("existing: true uses an image as it is, so it takes no size; keep one of the two")
        if self.clone and not self.clone.snapshot:
            raise ValueError(f"{self.clone} is no snapshot; clone takes pool/image@snapshot")
        if self.target and self.target[:2] != TARGET_PREFIX[self.bus]:
            raise ValueError(f"target {self.target} does not fit bus {self.bus}; write {TARGET_PREFIX[self.bus]}a")
        if self.readonly and self.bus in (Bus.IDE, Bus.SATA):
            raise ValueError(f"a {self.bus} disk can't be readonly (libvirt refuses it); use virtio or scsi")
        if self.image and self.image.snapshot and not self.readonly:
            raise ValueError(f"{self.image} is a snapshot; write readonly: true beside it")
        return self


class InterfaceSpec(Strict):
    """One network interface."""

    network: str | None = None
    bridge: str | None = None
    model: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")] = "virtio"
    mac: Annotated[str, AfterValidator(_mac)] | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _has_one_end(self) -> Self:
        if (self.network is None) == (self.bridge is None):
            raise ValueError("write either network: NAME or bridge: NAME")
        return self


class DomainSpec(Strict):
    """One domain."""

    name: Annotated[str, AfterValidator(_domain_name)]
    uuid: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] | None = None
    host: str | None = None
    memory: SizeBytes
    vcpus: Annotated[StrictInt, Field(ge=1, le=4096)] = 1
    machine: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$")] | None = None
    hypervisor: Literal["kvm", "qemu"] | None = None
    autostart: StrictBool = False
    disks: Annotated[list[DiskSpec], Field(min_length=1)]
    interfaces: list[InterfaceSpec] = Field(default_factory=list)
    serial_console: StrictBool = True
    guest_agent: StrictBool = True

    @model_validator(mode="after")
    def _has_targets_for_all(self) -> Self:
        for prefix, count in Counter(TARGET_PREFIX[disk.bus] for disk in self.disks).items():
            if count > len(ascii_lowercase):
                raise ValueError(
                    f"{count} disks want a target {prefix}a to {prefix}z; 26 have one, use another bus too"
                )
        return self
