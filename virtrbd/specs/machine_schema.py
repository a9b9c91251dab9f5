"""The schema of the machine around the disks in a spec: CPU, firmware, screen, small devices."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, model_validator

from virtrbd.model.cpu_set import members, set_text
from virtrbd.specs.checked import SizeBytes, Strict, without_nulls

CPU_MODES = ("host-passthrough", "host-model", "maximum", "custom")


def _set(value: object) -> object:
    """Return a set of CPUs as libvirt writes it."""
    is_set = isinstance(value, str | int) and not isinstance(value, bool)
    return set_text(members(str(value))) if is_set else value


# Of CPUs, or of NUMA nodes.
NumberSet = Annotated[str, BeforeValidator(_set, json_schema_input_type=str | int)]
Pins = Annotated[
    dict[Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,3})$")], NumberSet], BeforeValidator(without_nulls)
]
Count = Annotated[StrictInt, Field(ge=1, le=4096)]


class TopologySpec(Strict):
    """How the guest sees its vcpus; the product is their number."""

    sockets: Count = 1
    cores: Count = 1
    threads: Count = 1


class CpuTuneSpec(Strict):
    """How the host shares its CPUs out to the guest, in libvirt's words."""

    shares: Annotated[
        StrictInt | None, Field(ge=2, le=10000, description="Its weight beside other domains; 100 is usual.")
    ] = None
    period: Annotated[
        StrictInt | None, Field(ge=1000, le=1000000, description="In microseconds: what quota counts in.")
    ] = None
    quota: Annotated[
        StrictInt | None,
        Field(ge=-1, le=17592186044415, description="Microseconds of CPU for each vcpu in a period; -1: no limit."),
    ] = None
    vcpupin: Annotated[Pins | None, Field(description="CPUs of the host by vcpu, like {0: 4, 1: 5-7}.")] = None
    emulatorpin: Annotated[NumberSet | None, Field(description="CPUs of the host for all but vcpus.")] = None
    iothreadpin: Annotated[Pins | None, Field(description="CPUs of the host by I/O thread, like {1: 2-3}.")] = None

    @model_validator(mode="after")
    def _has_a_quota_that_libvirt_takes(self) -> Self:
        if self.quota is not None and 0 <= self.quota < 1000:
            raise ValueError(f"libvirt takes no quota of {self.quota}; write 1000 or more, or -1 for no limit")
        return self


class NumaTuneSpec(Strict):
    """The NUMA nodes of the host that the guest's memory comes from."""

    nodeset: Annotated[NumberSet, Field(description="Nodes of the host, like 0-1.")]
    mode: Annotated[
        Literal["strict", "preferred", "interleave", "restrictive"] | None, Field(description="strict unless stated.")
    ] = None


class NumaCellSpec(Strict):
    """A NUMA node of the guest."""

    cpus: Annotated[NumberSet, Field(description="Its vcpus, like 0-3.")]
    memory: Annotated[SizeBytes, Field(description="Its share of memory, in whole MiB.")]
    mem_access: Annotated[Literal["shared", "private"] | None, Field(description="libvirt's unless stated.")] = None

    @model_validator(mode="after")
    def _has_whole_mib(self) -> Self:
        if self.memory % 1024**2:
            raise ValueError("memory: QEMU gives a cell whole MiB; write a size like 512M")
        return self


class CpuSpec(Strict):
    """The guest's CPU, in libvirt's words."""

    mode: Annotated[
        Literal["host-passthrough", "host-model", "maximum", "custom"] | None,
        Field(description="host-model unless stated, so that a guest can move between hosts; custom with a model."),
    ] = None
    model: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Like EPYC-Rome, for custom.")] = None
    match: Annotated[
        Literal["exact", "minimum", "strict"] | None, Field(description="Of a model; exact unless stated.")
    ] = None
    fallback: Annotated[
        Literal["forbid", "allow"] | None,
        Field(description="Of a model: allow takes a lesser model where the host has less; forbid unless stated."),
    ] = None
    check: Annotated[
        Literal["none", "partial", "full"] | None, Field(description="How libvirt compares it with the host's.")
    ] = None
    topology: TopologySpec | None = None
    numa: Annotated[
        list[NumaCellSpec] | None,
        Field(min_length=1, max_length=128, description="The guest's NUMA nodes: all vcpus and memory, shared out."),
    ] = None
    features: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")],
            Literal["force", "require", "optional", "disable", "forbid"],
        ]
        | None,
        BeforeValidator(without_nulls),
        Field(description="By libvirt's policies, like `vmx: require`."),
    ] = None

    @model_validator(mode="after")
    def _has_a_model_where_it_needs_one(self) -> Self:
        if self.model and self.mode not in (None, "custom"):
            raise ValueError(f"mode {self.mode} does not take a model; write mode: custom, or leave the model out")
        if self.mode == "custom" and not self.model:
            raise ValueError("mode custom needs a model; see virsh domcapabilities")
        for word in ("match", "fallback"):
            if getattr(self, word) and not self.model:
                raise ValueError(f"{word} needs a model beside it; leave it out, or write a model")
        return self


class FirmwareSpec(Strict):
    """The guest's firmware; libvirt chooses the loader."""

    type: Literal["bios", "uefi"]
    secure_boot: StrictBool | None = None

    @model_validator(mode="after")
    def _secures_uefi_only(self) -> Self:
        if self.secure_boot is not None and self.type == "bios":
            raise ValueError("secure_boot needs UEFI; write type: uefi")
        return self


class BootMenuSpec(Strict):
    """The menu in which the person at the screen chooses what the guest boots from."""

    enable: Annotated[StrictBool | None, Field(description="true unless stated.")] = None
    timeout: Annotated[
        StrictInt | None, Field(ge=0, le=65535, description="How long it waits, in milliseconds; of SeaBIOS.")
    ] = None

    @model_validator(mode="after")
    def _waits_only_where_it_is(self) -> Self:
        if self.enable is False and self.timeout is not None:
            raise ValueError("timeout needs the menu; leave it out, or write enable: true")
        return self


class FeaturesSpec(Strict):
    """Hypervisor features, in libvirt's words."""

    acpi: Annotated[StrictBool | None, Field(description="on; hot-plug on pc needs it.")] = None
    apic: Annotated[StrictBool | None, Field(description="on")] = None
    pae: StrictBool | None = None
    hap: StrictBool | None = None
    smm: StrictBool | None = None
    vmport: StrictBool | None = None
    pmu: StrictBool | None = None
    hyperv: Annotated[StrictBool | None, Field(description="Enlightenments for Windows guests.")] = None
    kvm_hidden: Annotated[StrictBool | None, Field(description="Hide KVM from the guest.")] = None


class TimersSpec(Strict):
    """The guest's timers: whether it has one, or what happens to ticks that it missed."""

    rtc: Literal[True, False, "delay", "catchup"] | None = None
    pit: Literal[True, False, "delay", "discard"] | None = None
    hpet: StrictBool | None = None
    tsc: StrictBool | None = None
    kvmclock: StrictBool | None = None
    hypervclock: StrictBool | None = None


class PowerSpec(Strict):
    """Which ways of sleeping the guest is offered."""

    suspend_to_mem: StrictBool | None = None
    suspend_to_disk: StrictBool | None = None


class GraphicsSpec(Strict):
    """A screen, without a password: reach it over SSH."""

    type: Literal["vnc", "spice"]
    listen: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9_.:-]+$", description="127.0.0.1 unless stated; default is libvirt's.")
    ] = None
    image_compression: Annotated[
        Literal["auto_glz", "auto_lz", "quic", "glz", "lz", "off"] | None,
        BeforeValidator(lambda value: "off" if value is False else value, json_schema_input_type=bool | str),
        Field(description="Of spice."),
    ] = None
    port: Annotated[StrictInt | None, Field(ge=5900, le=65535, description="libvirt chooses unless stated.")] = None

    @model_validator(mode="after")
    def _compresses_spice_only(self) -> Self:
        if self.image_compression and self.type != "spice":
            raise ValueError(f"{self.type} has no image_compression; leave it out, or write type: spice")
        return self


class UsbControllerSpec(Strict):
    """The first USB controller, where libvirt is not to choose it."""

    model: Annotated[
        Literal["none", "qemu-xhci", "nec-xhci", "ich9-ehci1", "piix3-uhci"] | None,
        Field(description="qemu-xhci unless stated; ich9-ehci1 is USB 2, with its companions for USB 1."),
    ] = None
    ports: Annotated[StrictInt | None, Field(ge=1, le=15, description="Of an xhci; 4 unless stated.")] = None

    @model_validator(mode="after")
    def _has_ports_where_it_can(self) -> Self:
        if self.ports and self.model not in (None, "qemu-xhci", "nec-xhci"):
            raise ValueError(f"the ports of {self.model} are fixed; leave ports out, or write model: qemu-xhci")
        return self


class InputSpec(Strict):
    """A pointer or a keyboard beside those that every machine has."""

    type: Literal["tablet", "mouse", "keyboard"]
    bus: Annotated[Literal["usb", "virtio"] | None, Field(description="usb unless stated.")] = None


class MemballoonSpec(Strict):
    """The memory balloon, by which the guest gives memory back."""

    model: Annotated[Literal["none", "virtio"] | None, Field(description="virtio unless stated.")] = None
    autodeflate: Annotated[
        StrictBool | None, Field(description="Give memory back to the guest before it runs out of it.")
    ] = None
    free_page_reporting: Annotated[
        StrictBool | None, Field(description="The host takes back what the guest has freed.")
    ] = None
    stats_period: Annotated[
        StrictInt | None, Field(ge=1, le=2**31 - 1, description="How often the guest reports its memory, in seconds.")
    ] = None

    @model_validator(mode="after")
    def _is_there_for_its_attributes(self) -> Self:
        for word in ("autodeflate", "free_page_reporting", "stats_period"):
            if self.model == "none" and getattr(self, word) is not None:
                raise ValueError(f"{word} needs a balloon; leave it out, or write model: virtio")
        return self


class WatchdogSpec(Strict):
    """The watchdog, which acts when the guest hangs."""

    model: Literal["i6300esb", "ib700", "itco", "diag288"]
    action: Annotated[
        Literal["reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi"] | None,
        Field(description="reset unless stated."),
    ] = None


class TpmSpec(Strict):
    """An emulated TPM (swtpm); its state is a file of this host."""

    model: Annotated[Literal["tpm-crb", "tpm-tis"] | None, Field(description="tpm-crb; tpm-tis for 1.2.")] = None
    version: Literal["2.0", "1.2"] | None = None

    @model_validator(mode="after")
    def _fits_its_version(self) -> Self:
        if self.version == "1.2" and self.model == "tpm-crb":
            raise ValueError("tpm-crb is a TPM 2.0; write model: tpm-tis")
        return self
