"""Rules of a domain's machine that depend on several fields: its pins, its NUMA cells, what it boots from."""

from collections.abc import Iterator, Sequence

from virtrbd.model.cpu_set import members, set_text
from virtrbd.model.devices import Interface
from virtrbd.model.disk import Bus
from virtrbd.model.domain import Domain
from virtrbd.model.lint import all_codes, unknown_codes
from virtrbd.model.size import exact_size
from virtrbd.specs.disk_rules import Problem
from virtrbd.specs.resolve_disks import Drives


def machine_problems(domain: Domain, drives: Drives) -> Iterator[Problem]:
    """Yield what libvirt or the machine does not take."""
    for word in unknown_codes(domain.silence):
        yield ("silence",), f"{word} is not the code of a lint; known are {', '.join(all_codes())}"
    for field, value in (("memory", domain.memory_bytes), ("current_memory", domain.current_memory_bytes)):
        if value is not None and value % 1024:
            yield (field,), "not a whole number of KiB, libvirt's unit; write a size like 219100K"
    yield from _pin_problems(domain)
    yield from _numa_problems(domain)
    if domain.pcie_root_ports and "q35" not in domain.machine:
        yield ("pcie_root_ports",), "only q35 has PCI Express; leave it out, or write machine: q35"
    no_ide = "q35 has no IDE controller; write machine: pc, or bus: sata"
    for index, disk in enumerate(drives.disks):
        if disk.bus is Bus.IDE and "q35" in domain.machine:
            yield ("disks", index, "bus"), no_ide
            break
    if drives.seed and drives.seed.bus is Bus.IDE and "q35" in domain.machine:
        yield ("cloud_init", "bus"), no_ide


def _pin_problems(domain: Domain) -> Iterator[Problem]:
    """Yield each pin of a thread that the domain does not have: libvirt refuses it, or forgets it."""
    tune = domain.cputune
    for vcpu in tune.vcpupin if tune else ():
        if int(vcpu) >= domain.vcpus:
            yield (
                ("cputune", "vcpupin", vcpu),
                f"the last vcpu is {domain.vcpus - 1}; leave {vcpu} out, or raise vcpus or max_vcpus",
            )
    for thread in tune.iothreadpin if tune else ():
        if not 1 <= int(thread) <= domain.iothreads:
            yield (
                ("cputune", "iothreadpin", thread),
                f"no disk has an I/O thread {thread}; leave it out, or write iothread: {thread} in a disk",
            )


def _numa_problems(domain: Domain) -> Iterator[Problem]:
    """Yield what cells share out twice or not at all: libvirt refuses it, or gives the rest to the first cell."""
    cells = domain.cpu.numa if domain.cpu else ()
    left = set(range(domain.vcpus))
    for index, cell in enumerate(cells):
        cpus, path = members(cell.cpus), ("cpu", "numa", index, "cpus")
        if more := cpus - set(range(domain.vcpus)):
            yield path, f"the last vcpu is {domain.vcpus - 1}; leave {set_text(more)} out, or raise vcpus or max_vcpus"
        if twice := (cpus - left) & set(range(domain.vcpus)):
            yield path, f"vcpu {set_text(twice)} is in an earlier cell; name each vcpu in one cell"
        left -= cpus
    if cells and left:
        yield ("cpu", "numa"), f"vcpu {set_text(frozenset(left))} is in no cell; name each vcpu in one cell"
    total = sum(cell.memory_bytes for cell in cells)
    if cells and total != domain.memory_bytes:
        yield (
            ("cpu", "numa"),
            (
                f"the cells have {exact_size(total)}, and memory is {exact_size(domain.memory_bytes)}; libvirt takes "
                f"the sum of the cells: write the same"
            ),
        )


def boot_problems(classes: Sequence[str], drives: Drives, interfaces: Sequence[Interface]) -> Iterator[Problem]:
    """Yield each device that has a boot order beside the kinds of devices to boot from: libvirt takes only one way."""
    orders = {
        "disks": [disk.boot for disk in drives.disks],
        "cdroms": [cdrom.boot for cdrom in drives.cdroms],
        "interfaces": [interface.boot for interface in interfaces],
    }
    why = "libvirt takes no boot order beside the domain's boot, which names kinds of devices; leave one of the two out"
    for word, numbers in orders.items() if classes else ():
        yield from (((word, index, "boot"), why) for index, order in enumerate(numbers) if order is not None)
