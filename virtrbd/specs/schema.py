"""The spec's schema: the fields of a domain."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, model_validator

from virtrbd.model.names import check_domain_name, check_new_name
from virtrbd.model.power import WantedState
from virtrbd.specs.checked import Bytes, Plain, SizeBytes, Strict, list_of_one, short_for
from virtrbd.specs.cloud_init_schema import CloudInitSpec, whole_seed
from virtrbd.specs.disk_schema import CdromSpec, DiskSpec
from virtrbd.specs.field_values import (
    ChannelName,
    Clock,
    Power,
    each_once,
    supported_machine,
    whole_boot_menu,
    whole_cpu,
    whole_graphics,
    whole_hugepages,
    whole_numatune,
    whole_tpm,
    whole_vsock,
)
from virtrbd.specs.host_schema import FilesystemSpec, HostDeviceSpec
from virtrbd.specs.interface_schema import InterfaceSpec
from virtrbd.specs.limits import MAX_USES
from virtrbd.specs.machine_schema import (
    BootMenuSpec,
    CpuSpec,
    CpuTuneSpec,
    FeaturesSpec,
    FirmwareSpec,
    GraphicsSpec,
    InputSpec,
    MemballoonSpec,
    NumaTuneSpec,
    NumberSet,
    PowerSpec,
    TimersSpec,
    TpmSpec,
    UsbControllerSpec,
    WatchdogSpec,
)

# vd, sd and hd with a letter each.
_TARGETS = 3 * 26


class DomainSpec(Strict):
    """One domain."""

    refused: ClassVar[dict[str, str]] = {
        "monitors": "they come from the cluster's own map; leave them out",
        "secret": "virtrbd makes it from the keyring of the settings; leave it out",
        "auth": "user and keyring are in the settings; leave it out",
    }

    name: Annotated[str, AfterValidator(check_domain_name), Field(description="The domain's name in libvirt.")]
    uuid: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="Derived from the name."),
    ] = None
    title: Annotated[
        str | None, Field(pattern=r"^[^\n]+$", max_length=1000, description="One line for the operator.")
    ] = None
    description: Annotated[str | None, Field(max_length=64 * 1024, description="A longer text for the operator.")] = (
        None
    )
    host: Annotated[Plain | None, Field(min_length=1, description="Where it runs; other hosts leave it alone.")] = None
    uses: Annotated[
        Annotated[tuple[str, ...], Field(max_length=MAX_USES)] | None,
        BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
        Field(description="Profiles of this spec; the last one wins."),
    ] = None
    template: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", description="A template of your own.")
    ] = None
    silence: Annotated[
        Annotated[tuple[str, ...], Field(max_length=100)] | None,
        BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
        Field(description="Codes of lints that are not reported."),
    ] = None
    memory: Annotated[SizeBytes, Field(description="Like 2G, in whole MiB.")]
    current_memory: Annotated[SizeBytes | None, Field(description="What it starts with; the rest by balloon.")] = None
    memballoon: Annotated[
        MemballoonSpec | None,
        BeforeValidator(short_for("model"), json_schema_input_type=MemballoonSpec | Literal["none", "virtio"]),
        Field(description="libvirt's virtio balloon unless stated; none, or a mapping."),
    ] = None
    hugepages: Annotated[
        Bytes | None,
        BeforeValidator(whole_hugepages, json_schema_input_type=bool | str),
        Field(description="true for the host's default size, or a size like 1G."),
    ] = None
    vcpus: Annotated[StrictInt | None, Field(ge=1, le=4096, description="1 unless stated.")] = None
    max_vcpus: Annotated[StrictInt | None, Field(ge=1, le=4096, description="The maximum that can be plugged in.")] = (
        None
    )
    cpuset: Annotated[
        NumberSet | None, Field(description="CPUs of the host on which the vcpus run, like 0-3,^2; all unless stated.")
    ] = None
    cputune: Annotated[CpuTuneSpec | None, Field(description="Weight, limits, and pins of single threads.")] = None
    numatune: Annotated[
        NumaTuneSpec | None,
        BeforeValidator(whole_numatune, json_schema_input_type=NumaTuneSpec | str | int),
        Field(description="NUMA nodes of the host that the memory comes from, like 0-1, or a mapping."),
    ] = None
    cpu: Annotated[
        CpuSpec | None,
        BeforeValidator(whole_cpu, json_schema_input_type=CpuSpec | str),
        Field(description="A mode (host-model, host-passthrough), a model, or a mapping."),
    ] = None
    machine: Annotated[
        str | None,
        AfterValidator(supported_machine),
        Field(description="q35, or pc when a disk is ide; stays as defined."),
    ] = None
    machine_upgrade: Annotated[StrictBool | None, Field(description="Follow libvirt's newest version of it.")] = None
    hypervisor: Annotated[Literal["kvm", "qemu"] | None, Field(description="kvm unless stated.")] = None
    firmware: Annotated[
        FirmwareSpec | None,
        BeforeValidator(short_for("type"), json_schema_input_type=FirmwareSpec | Literal["bios", "uefi"]),
        Field(description="bios unless stated."),
    ] = None
    boot: Annotated[
        Annotated[tuple[Literal["hd", "cdrom", "network", "fd"], ...], Field(min_length=1)] | None,
        BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
        AfterValidator(lambda classes: classes and each_once(classes)),
        Field(description="Kinds of devices, the first one first: where no device has a boot order of its own."),
    ] = None
    boot_menu: Annotated[
        BootMenuSpec | None,
        BeforeValidator(whole_boot_menu, json_schema_input_type=BootMenuSpec | bool),
        Field(description="libvirt's unless stated; true, false, or a mapping."),
    ] = None
    clock: Annotated[Clock | None, Field(description="utc unless stated; or a zone.")] = None
    timers: Annotated[
        TimersSpec | None, Field(description="Like {rtc: catchup, pit: delay, hpet: false}; libvirt's unless stated.")
    ] = None
    features: FeaturesSpec | None = None
    on_poweroff: Power | None = None
    on_reboot: Power | None = None
    on_crash: Literal["destroy", "restart", "preserve", "coredump-destroy", "coredump-restart"] | None = None
    pm: Annotated[PowerSpec | None, Field(description="Which ways of sleeping the guest is offered.")] = None
    autostart: Annotated[StrictBool | None, Field(description="Start with the host; false unless stated.")] = None
    state: Annotated[
        WantedState | None,
        Field(
            description="running or shut-off, brought about by apply and reconcile; unmanaged: left to the operator."
        ),
    ] = None
    disks: Annotated[list[DiskSpec], Field(min_length=1, max_length=_TARGETS)]
    cdroms: Annotated[list[CdromSpec] | None, Field(max_length=_TARGETS)] = None
    cloud_init: Annotated[
        CloudInitSpec | None,
        BeforeValidator(whole_seed, json_schema_input_type=CloudInitSpec | bool),
        Field(description="true, or a mapping: data for the guest's cloud-init, on a separate disc."),
    ] = None
    # A PCI bus has 32 slots of 8 functions.
    interfaces: Annotated[list[InterfaceSpec] | None, Field(max_length=256)] = None
    hostdevs: Annotated[
        list[HostDeviceSpec] | None, Field(max_length=64, description="Devices of the host that the guest gets.")
    ] = None
    filesystems: Annotated[
        list[FilesystemSpec] | None, Field(max_length=32, description="Folders of the host, by virtiofs.")
    ] = None
    graphics: Annotated[
        GraphicsSpec | None,
        BeforeValidator(whole_graphics, json_schema_input_type=GraphicsSpec | Literal["none", "vnc", "spice"]),
        Field(description="none unless stated: a server has a serial console."),
    ] = None
    video: Annotated[
        Literal["none", "virtio", "vga", "qxl", "cirrus", "bochs", "ramfb"] | None,
        Field(description="virtio on q35, vga on pc, when there are graphics."),
    ] = None
    pcie_root_ports: Annotated[
        StrictInt | None,
        # Bus 0 is the root's, and libvirt takes buses to 255 (virDomainPCIAddressSetGrow).
        Field(ge=1, le=255, description="Of q35, with those that devices take; more can be plugged in then."),
    ] = None
    usb_controller: Annotated[
        UsbControllerSpec | None,
        BeforeValidator(short_for("model"), json_schema_input_type=UsbControllerSpec | str),
        Field(description="libvirt's choice unless stated, and qemu-xhci where a disk is on usb."),
    ] = None
    inputs: Annotated[
        list[Annotated[InputSpec, BeforeValidator(short_for("type"), json_schema_input_type=InputSpec | str)]] | None,
        Field(max_length=16, description="tablet: a pointer that follows the one of the person; mouse, keyboard."),
    ] = None
    sound: Annotated[
        Literal["none", "ich9", "ich6", "ac97", "es1370", "sb16", "usb"] | None,
        Field(description="none unless stated."),
    ] = None
    spice_agent: Annotated[
        StrictBool | None, Field(description="The channel of SPICE's agent: clipboard, size of the screen.")
    ] = None
    usb_redirections: Annotated[
        StrictInt | None, Field(ge=0, le=16, description="USB devices of the person at the screen, through SPICE.")
    ] = None
    serial_console: Annotated[StrictBool | None, Field(description="true unless stated.")] = None
    guest_agent: Annotated[StrictBool | None, Field(description="true unless stated: its channel.")] = None
    channels: Annotated[
        Annotated[tuple[ChannelName, ...], Field(max_length=28)] | None,
        BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
        AfterValidator(lambda names: names and each_once(names)),
        Field(
            description="Names of virtio ports for other agents in the guest, like org.example.0; sockets of the host."
        ),
    ] = None
    rng: Annotated[StrictBool | None, Field(description="true unless stated: entropy from /dev/urandom.")] = None
    asset_tag: Annotated[
        StrictBool | None, Field(description="true unless stated: the domain's name in the guest's SMBIOS.")
    ] = None
    watchdog: Annotated[
        WatchdogSpec | None,
        BeforeValidator(short_for("model"), json_schema_input_type=WatchdogSpec | str),
        Field(description="A model like i6300esb, or a mapping."),
    ] = None
    tpm: Annotated[
        TpmSpec | None,
        BeforeValidator(whole_tpm, json_schema_input_type=TpmSpec | bool),
        Field(description="true for a TPM 2.0, or a mapping."),
    ] = None
    vsock: Annotated[
        StrictInt | None,
        BeforeValidator(whole_vsock, json_schema_input_type=int | Literal["auto"]),
        Field(description="auto, or a context id from 3."),
    ] = None
    # The last field: it may be long.
    xml: Annotated[
        str | None,
        Field(min_length=1, description="Elements of a libvirt domain that are merged into what virtrbd renders."),
    ] = None

    @model_validator(mode="after")
    def _images_are_named(self) -> Self:
        """An existing domain may have a name that a new image cannot have."""
        if all(disk.image for disk in self.disks) and not self.cloud_init:
            return self
        try:
            check_new_name(self.name)
        except ValueError as error:
            raise ValueError(
                f"an image cannot be named after the domain: {error}; write image: pool/image in each disk, and use no "
                f"cloud_init"
            ) from None
        return self

    @model_validator(mode="after")
    def _counts_right(self) -> Self:
        vcpus = self.vcpus or 1
        if self.max_vcpus is not None and self.max_vcpus < vcpus:
            raise ValueError(f"max_vcpus {self.max_vcpus} is less than vcpus {vcpus}; raise it, or leave it out")
        if self.current_memory is not None and self.current_memory > self.memory:
            raise ValueError("current_memory is more than memory, the guest's maximum; lower it, or raise memory")
        if self.current_memory and self.memballoon and self.memballoon.model == "none":
            raise ValueError("current_memory needs the balloon; leave it out, or write memballoon: virtio")
        if self.hugepages and self.hugepages & (self.hugepages - 1):
            raise ValueError("hugepages: no host has pages of that size; write a size like 2M or 1G")
        if self.vsock and not 3 <= self.vsock < 2**32:
            raise ValueError("vsock takes auto or a context id from 3; 0 to 2 are the host's")
        if self.firmware and self.firmware.type == "uefi" and self.features and self.features.acpi is False:
            raise ValueError("firmware uefi needs acpi; leave features.acpi on")
        if (self.on_poweroff, self.on_reboot) == ("restart", "destroy"):
            raise ValueError("libvirt refuses on_poweroff: restart with on_reboot: destroy; change one of the two")
        for word in ("spice_agent", "usb_redirections"):
            if getattr(self, word) and not (self.graphics and self.graphics.type == "spice"):
                raise ValueError(f"{word} goes through SPICE; write graphics: spice, or leave {word} out")
        topology = self.cpu.topology if self.cpu else None
        most = self.max_vcpus or vcpus
        if topology and topology.sockets * topology.cores * topology.threads != most:
            raise ValueError(
                f"cpu.topology makes {topology.sockets} x {topology.cores} x {topology.threads} vcpus, not {most}; "
                f"libvirt wants the same number"
            )
        return self

    @model_validator(mode="after")
    def _has_usb_for_what_is_on_it(self) -> Self:
        on_usb = {
            "disks": any(disk.bus == "usb" for disk in self.disks),
            "cdroms": any(cdrom.bus == "usb" for cdrom in self.cdroms or ()),
            "hostdevs": any(device.usb for device in self.hostdevs or ()),
            "inputs": any(each.bus in (None, "usb") for each in self.inputs or ()),
            "usb_redirections": bool(self.usb_redirections),
            "sound": self.sound == "usb",
        }
        if self.usb_controller and self.usb_controller.model == "none" and any(on_usb.values()):
            word = next(word for word, is_on_usb in on_usb.items() if is_on_usb)
            raise ValueError(f"{word} needs USB; write another usb_controller, or leave it out")
        return self


class FragmentSpec(DomainSpec):
    """Defaults or a profile: a part of a spec; `disk`, `cdrom` and `interface` apply to every item."""

    disk: DiskSpec | None = None
    cdrom: CdromSpec | None = None
    interface: InterfaceSpec | None = None
