"""The machine around the disks of a spec, with defaults decided."""

from collections.abc import Mapping

from virtrbd.model.attributes import CPU, TOPOLOGY, copied
from virtrbd.model.devices import Graphics, Tpm
from virtrbd.model.machine import Cpu, CpuTune, Firmware, NumaCell, Topology
from virtrbd.specs.machine_schema import (
    CpuSpec,
    CpuTuneSpec,
    FeaturesSpec,
    FirmwareSpec,
    GraphicsSpec,
    TpmSpec,
)


def resolve_cpu(spec: CpuSpec | None, hypervisor: str) -> Cpu | None:
    """Return the CPU; the default under KVM is host-model, which every host of one make can take over.

    Under TCG libvirt chooses: host models need KVM.
    """
    if spec is None:
        return Cpu(mode="host-model") if hypervisor == "kvm" else None
    stated = copied(spec, CPU)
    mode = "custom" if spec.model else "host-model" if hypervisor == "kvm" else "maximum"
    of_a_model = {"match": "exact", "fallback": "forbid"} if spec.model else {}
    return Cpu(
        **{"mode": mode, **of_a_model, **stated},
        topology=Topology(**copied(spec.topology, TOPOLOGY)) if spec.topology else None,
        numa=tuple(
            NumaCell(cpus=cell.cpus, memory_bytes=cell.memory, mem_access=cell.mem_access or "")
            for cell in spec.numa or ()
        ),
        features=spec.features or {},
    )


def resolve_cputune(spec: CpuTuneSpec | None) -> CpuTune | None:
    """Return how CPUs are shared out, with the pins in the order of their threads."""
    if spec is None:
        return None
    return CpuTune(
        shares=spec.shares,
        period=spec.period,
        quota=spec.quota,
        vcpupin=_by_number(spec.vcpupin),
        emulatorpin=spec.emulatorpin or "",
        iothreadpin=_by_number(spec.iothreadpin),
    )


def _by_number(pins: Mapping[str, str] | None) -> Mapping[str, str]:
    return dict(sorted((pins or {}).items(), key=lambda pin: int(pin[0])))


def resolve_firmware(spec: FirmwareSpec | None) -> Firmware:
    return Firmware(kind=spec.type, secure_boot=spec.secure_boot) if spec else Firmware()


def resolve_features(spec: FeaturesSpec | None) -> Mapping[str, bool]:
    stated = spec.model_dump(exclude_none=True) if spec else {}
    return {"acpi": True, "apic": True, **stated}


def resolve_graphics(spec: GraphicsSpec | None) -> Graphics | None:
    if spec is None:
        return None
    return Graphics(
        kind=spec.type,
        listen=spec.listen or "127.0.0.1",
        port=spec.port,
        image_compression=spec.image_compression or "",
    )


def resolve_video(stated: str | None, *, has_graphics: bool, is_pc: bool) -> str:
    """Return the video model, empty for none."""
    if stated is not None:
        return "" if stated == "none" else stated
    return ("vga" if is_pc else "virtio") if has_graphics else ""


def resolve_tpm(spec: TpmSpec | None) -> Tpm | None:
    if spec is None:
        return None
    version = spec.version or "2.0"
    return Tpm(model=spec.model or ("tpm-tis" if version == "1.2" else "tpm-crb"), version=version)
