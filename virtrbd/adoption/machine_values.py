"""What a spec says of a definition's machine: its name and memory, CPUs, firmware and clock."""

import re
from collections.abc import Iterator

from virtrbd.adoption.word import Value, Word, kib, number, read_records, read_rows
from virtrbd.domainxml.libvirt_defaults import is_own
from virtrbd.domainxml.tree import Element, attribute
from virtrbd.model.attributes import BOOT_MENU, CPU, NUMATUNE, TOPOLOGY


def base_words(root: Element) -> dict[str, Value]:
    """The minimum: everything that virtrbd adds by itself is switched off."""
    return {
        "name": root.findtext("name"),
        "uuid": root.findtext("uuid"),
        "memory": kib(root.findtext("memory")),
        "machine": attribute(root, "os/type", "machine"),
        "hypervisor": root.get("type"),
        "features": {"acpi": False, "apic": False},
        "serial_console": False,
        "guest_agent": False,
        "rng": False,
        "asset_tag": False,
    }


def machine_words(root: Element) -> Iterator[Word]:
    """Yield the words of the domain itself, but for those that depend on its disks."""
    for path in ("title", "description", "on_poweroff", "on_reboot", "on_crash"):
        if text := root.findtext(path):
            yield Word(path=(path,), value=text)
    for name in ("suspend_to_mem", "suspend_to_disk"):
        if enabled := attribute(root, f"pm/{name.replace('_', '-')}", "enabled"):
            yield Word(path=("pm", name), value=enabled == "yes")
    if (current := root.findtext("currentMemory")) and current != root.findtext("memory"):
        yield Word(path=("current_memory",), value=kib(current))
    yield from _hugepages(root)
    yield from _vcpus(root)
    yield from _features(root)
    for tuned in read_records(root, "numatune", NUMATUNE):
        yield Word(path=("numatune",), value=tuned)
    yield from _cpu(root)
    if attribute(root, "os", "firmware") == "efi":
        yield Word(path=("firmware",), value={"type": "uefi"})
        if secure := attribute(root, "os/firmware/feature[@name='secure-boot']", "enabled"):
            yield Word(path=("firmware", "secure_boot"), value=secure == "yes")
    if classes := [boot.get("dev") for boot in root.iterfind("os/boot") if not is_own(boot)]:
        yield Word(path=("boot",), value=classes)
    for menu in read_records(root, "os/bootmenu", BOOT_MENU):
        yield Word(path=("boot_menu",), value=menu)
    offset = attribute(root, "clock", "offset")
    for timer in root.iterfind("clock/timer"):
        # A timer of which more is said needs the spec's own XML.
        if policy := timer.get("tickpolicy"):
            yield Word(path=("timers", timer.get("name", "")), value=policy)
        elif present := timer.get("present"):
            yield Word(path=("timers", timer.get("name", "")), value=present == "yes")
    yield Word(path=("clock",), value=attribute(root, "clock", "timezone") if offset == "timezone" else offset)


def _hugepages(root: Element) -> Iterator[Word]:
    pages = root.find("memoryBacking/hugepages")
    if pages is not None:
        size = attribute(pages, "page", "size")
        yield Word(path=("hugepages",), value=kib(size) if size else True)


def _vcpus(root: Element) -> Iterator[Word]:
    if cpus := attribute(root, "vcpu", "cpuset"):
        yield Word(path=("cpuset",), value=cpus)
    most, current = number(root.findtext("vcpu")), number(attribute(root, "vcpu", "current"))
    if current:
        yield Word(path=(), value={"vcpus": current, "max_vcpus": most})
    else:
        yield Word(path=("vcpus",), value=most)


def cputune_words(root: Element) -> Iterator[Word]:
    """Yield the words of `cputune`; its pins are of vcpus, and of the I/O threads of disks."""
    for name in ("shares", "period", "quota"):
        text = root.findtext(f"cputune/{name}") or ""
        if re.fullmatch("-?[0-9]{1,18}", text):
            yield Word(path=("cputune", name), value=int(text))
    for pin in root.iterfind("cputune/vcpupin"):
        yield Word(path=("cputune", "vcpupin", pin.get("vcpu", "")), value=pin.get("cpuset"))
    if cpus := attribute(root, "cputune/emulatorpin", "cpuset"):
        yield Word(path=("cputune", "emulatorpin"), value=cpus)
    for pin in root.iterfind("cputune/iothreadpin"):
        yield Word(path=("cputune", "iothreadpin", pin.get("iothread", "")), value=pin.get("cpuset"))


def _features(root: Element) -> Iterator[Word]:
    for name in ("acpi", "apic", "pae"):
        if root.find(f"features/{name}") is not None:
            yield Word(path=("features", name), value=True)
    for name in ("hap", "pmu", "smm", "vmport"):
        if state := attribute(root, f"features/{name}", "state"):
            yield Word(path=("features", name), value=state == "on")
    if attribute(root, "features/hyperv/relaxed", "state") == "on":
        yield Word(path=("features", "hyperv"), value=True)
    if hidden := attribute(root, "features/kvm/hidden", "state"):
        yield Word(path=("features", "kvm_hidden"), value=hidden == "on")


def _cpu(root: Element) -> Iterator[Word]:
    cpu = root.find("cpu")
    if cpu is None:
        return
    mode, model = cpu.get("mode", "custom"), cpu.findtext("model") or ""
    known = {"mode": mode, **({"model": model} if mode == "custom" else {})}
    yield Word(path=("cpu",), value=known)
    for name, said in read_rows(cpu, CPU):
        if said and name not in known:
            yield Word(path=("cpu", name), value=said)
    for counts in read_records(cpu, "topology", TOPOLOGY):
        yield Word(path=("cpu", "topology"), value=counts)
    cells = [
        {
            "cpus": cell.get("cpus"),
            "memory": kib(cell.get("memory")),
            **({"mem_access": access} if (access := cell.get("memAccess")) else {}),
        }
        for cell in cpu.iterfind("numa/cell")
    ]
    if cells:
        yield Word(path=("cpu", "numa"), value=cells)
    for feature in cpu.iterfind("feature"):
        yield Word(path=("cpu", "features", feature.get("name", "")), value=feature.get("policy", "require"))
