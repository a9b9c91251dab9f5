"""Hypothesis strategies over the whole Domain model: everything that a spec can make of it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from virtrbd.model.cpu_set import set_text
from virtrbd.model.devices import (
    Filesystem,
    Filter,
    Graphics,
    HostDevice,
    Input,
    Interface,
    Memballoon,
    Tpm,
    UsbController,
    Watchdog,
)
from virtrbd.model.disk import Bus, Cache, Cdrom, DetectZeroes, Discard, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.machine import BootMenu, Cpu, CpuTune, Firmware, NumaCell, NumaTune, Topology
from virtrbd.model.record import replace
from virtrbd.specs.disk_schema import IoTuneSpec

MIB = 1024**2
UUID = "22222222-2222-2222-2222-222222222222"

# What an image may be called, XML's own characters too.
image_names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/@:"), min_size=1, max_size=20
)
prose = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"]), max_size=30)
words = st.from_regex(r"\A[A-Za-z][A-Za-z0-9._-]{0,8}\Z")
rates = st.integers(1, 10**12)
# libvirt's schema takes no others of a snapshot (basictypes.rng, genericName).
snapshot_names = st.from_regex(r"\A[a-zA-Z0-9_+-]{1,9}\Z")
images = st.builds(
    ImageRef,
    pool=image_names,
    name=image_names,
    namespace=st.just("") | image_names,
    snapshot=st.just("") | snapshot_names,
)


@st.composite
def iotunes(draw: st.DrawFn) -> dict[str, int | str]:
    """Limits as libvirt takes them: a total, or one of read and write, each with its burst."""
    limits: dict[str, int | str] = {}
    for kind in ("bytes_sec", "iops_sec"):
        for name in draw(st.sampled_from([(), (f"total_{kind}",), (f"read_{kind}", f"write_{kind}")])):
            limits[name] = draw(st.integers(1, 10**6))
            if draw(st.booleans()):
                limits[f"{name}_max"] = draw(st.integers(10**6, 10**9))
                if draw(st.booleans()):
                    limits[f"{name}_max_length"] = draw(st.integers(1, 1000))
    if bool(limits) and draw(st.booleans()):
        limits["group_name"] = draw(words)
    # By libxml2 the schema takes them in this order only, which is also the spec's.
    return {name: limits[name] for name in IoTuneSpec.model_fields if name in limits}


@st.composite
def disks(draw: st.DrawFn, letter: str, buses: Sequence[Bus]) -> Disk:
    bus = draw(st.sampled_from(buses))
    is_virtio, has_media = bus is Bus.VIRTIO, bus not in (Bus.VIRTIO, Bus.USB)
    cache = draw(st.sampled_from(Cache))
    native = ["native"] if cache in (Cache.NONE, Cache.DIRECTSYNC) else []
    return Disk(
        target={Bus.VIRTIO: "vd", Bus.IDE: "hd"}.get(bus, "sd") + letter,
        bus=bus,
        image=draw(images),
        cache=cache,
        discard=draw(st.sampled_from(Discard)),
        detect_zeroes=draw(st.none() | st.sampled_from(DetectZeroes)),
        io=draw(st.sampled_from(["", "threads", "io_uring", *native])),
        iotune=draw(iotunes()),
        serial=draw(st.just("") | words),
        wwn=draw(st.just("") | st.from_regex(r"\A[0-9a-f]{16}\Z")) if has_media else "",
        rotation_rate=draw(st.none() | st.just(1) | st.integers(1025, 65534)) if has_media else None,
        iothread=draw(st.none() | st.integers(1, 3)) if is_virtio else None,
        queues=draw(st.none() | st.integers(1, 8)) if is_virtio else None,
        error_policy=draw(st.sampled_from(["", "stop", "report", "ignore", "enospace"])),
        rerror_policy=draw(st.sampled_from(["", "stop", "report", "ignore"])),
        ceph_config=draw(st.sampled_from(["", "/etc/ceph/other.conf"])),
        readonly=draw(st.booleans()) if bus in (Bus.VIRTIO, Bus.SCSI, Bus.USB) else False,
        shareable=draw(st.booleans()),
    )


def cdroms(letter: str) -> st.SearchStrategy[Cdrom]:
    return st.builds(
        Cdrom,
        target=st.just(f"sd{letter}"),
        bus=st.sampled_from([Bus.SATA, Bus.SCSI]),
        image=st.none() | images,
        is_seed=st.booleans(),
    )


filters = st.builds(
    Filter,
    name=words,
    parameters=st.dictionaries(st.sampled_from(["IP", "MAC", "PORT"]), st.from_regex(r"\A[a-zA-Z0-9_.:]{1,9}\Z")),
)


@st.composite
def interfaces(draw: st.DrawFn, mac: str) -> Interface:
    kind = draw(st.sampled_from(["network", "bridge", "direct"]))
    model = draw(st.sampled_from(["virtio", "e1000", "rtl8139"]))
    mode = draw(st.sampled_from(["bridge", "vepa", "private", "passthrough"]))
    takes_tags = kind != "direct" or mode == "passthrough"
    return Interface(
        mac=mac,
        network=draw(words) if kind == "network" else "",
        bridge=draw(words) if kind == "bridge" else "",
        direct=draw(words) if kind == "direct" else "",
        direct_mode=mode,
        model=model,
        vlan=tuple(draw(st.lists(st.integers(0, 4095), max_size=3))) if takes_tags else (),
        mtu=draw(st.none() | st.integers(68, 65535)) if kind != "direct" else None,
        queues=draw(st.none() | st.integers(1, 8)) if model == "virtio" else None,
        link=draw(st.sampled_from(["", "up", "down"])),
        # libvirt drops one on a direct interface silently (virDomainNetDefParseXML).
        filterref=draw(st.none() | filters) if kind != "direct" else None,
    )


@st.composite
def numa_cells(draw: st.DrawFn, vcpus: int, memory_mib: int) -> tuple[NumaCell, ...]:
    """Cells that share out all vcpus and all memory."""
    count = draw(st.integers(0, min(3, vcpus, memory_mib)))
    cells = []
    for left in range(count, 0, -1):
        mine, mib = (vcpus - left + 1, memory_mib - left + 1) if left == 1 else (1, 1)
        cpus = frozenset(range(vcpus - mine, vcpus))
        access = draw(st.sampled_from(["", "shared", "private"]))
        cells.append(NumaCell(cpus=set_text(cpus), memory_bytes=mib * MIB, mem_access=access))
        vcpus, memory_mib = vcpus - mine, memory_mib - mib
    return tuple(cells)


@st.composite
def cpus(draw: st.DrawFn, vcpus: int, memory_mib: int) -> Cpu:
    mode = draw(st.sampled_from(["host-model", "host-passthrough", "maximum", "custom"]))
    cores = draw(st.sampled_from([cores for cores in (1, 2, 4) if vcpus % cores == 0]))
    return Cpu(
        mode=mode,
        model=draw(words) if mode == "custom" else "",
        match=draw(st.sampled_from(["exact", "minimum", "strict"])) if mode == "custom" else "",
        fallback=draw(st.sampled_from(["forbid", "allow"])) if mode == "custom" else "",
        check=draw(st.sampled_from(["", "none", "partial", "full"])),
        numa=draw(numa_cells(vcpus, memory_mib)),
        topology=draw(st.none() | st.just(Topology(sockets=vcpus // cores, cores=cores, threads=1))),
        features=draw(
            st.dictionaries(words, st.sampled_from(["force", "require", "optional", "disable", "forbid"]), max_size=3)
        ),
    )


cpu_sets = st.frozensets(st.integers(0, 30), min_size=1, max_size=6).map(set_text)


numatunes = st.builds(NumaTune, nodeset=cpu_sets, mode=st.sampled_from(["strict", "preferred", "interleave"]))


def pins(numbers: Sequence[int]) -> st.SearchStrategy[dict[str, str]]:
    pinned = st.lists(st.sampled_from(numbers), unique=True).map(sorted) if numbers else st.just([])
    return pinned.flatmap(lambda those: st.fixed_dictionaries({str(number): cpu_sets for number in those}))


def cputunes(vcpus: int, iothreads: int) -> st.SearchStrategy[CpuTune]:
    return st.builds(
        CpuTune,
        shares=st.none() | st.integers(2, 262144),
        period=st.none() | st.integers(1000, 1000000),
        quota=st.none() | st.just(-1) | st.integers(1000, 10**9),
        vcpupin=pins(range(vcpus)),
        emulatorpin=st.just("") | cpu_sets,
        iothreadpin=pins(range(1, iothreads + 1)),
    )


timers = st.fixed_dictionaries(
    {},
    optional={
        "rtc": st.booleans() | st.sampled_from(["delay", "catchup"]),
        "pit": st.booleans() | st.sampled_from(["delay", "discard"]),
        **dict.fromkeys(("hpet", "tsc", "kvmclock", "hypervclock"), st.booleans()),
    },
)
features = st.dictionaries(
    st.sampled_from(["acpi", "apic", "pae", "hap", "smm", "vmport", "pmu", "hyperv", "kvm_hidden"]), st.booleans()
)
graphics = st.builds(
    Graphics,
    kind=st.sampled_from(["vnc", "spice"]),
    listen=st.sampled_from(["127.0.0.1", "0.0.0.0", "::1", "default"]),
    port=st.none() | st.integers(5900, 65535),
)
hostdevs_but_usb = st.builds(
    HostDevice,
    kind=st.just("pci"),
    address=st.from_regex(r"\A[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\Z"),
    managed=st.booleans(),
) | st.builds(HostDevice, kind=st.just("mdev"), address=st.uuids().map(str), managed=st.just(False))
hostdevs = hostdevs_but_usb | st.builds(
    HostDevice,
    kind=st.just("usb"),
    address=st.from_regex(r"\A[1-9a-f][0-9a-f]{3}:[1-9a-f][0-9a-f]{3}\Z"),
    managed=st.booleans(),
)
filesystems = st.builds(Filesystem, source=words.map("/srv/{}".format), target=words)
boot_menus = st.just(BootMenu(enable=False)) | st.builds(BootMenu, timeout_ms=st.none() | st.integers(0, 65535))
usb_controllers = st.just(UsbController(model="ich9-ehci1")) | st.builds(
    UsbController, model=st.sampled_from(["qemu-xhci", "nec-xhci"]), ports=st.none() | st.integers(1, 15)
)
pointers = st.sampled_from(["tablet", "mouse", "keyboard"])
inputs_but_usb = st.builds(Input, type=pointers, bus=st.just("virtio"))
inputs = st.builds(Input, type=pointers, bus=st.sampled_from(["usb", "virtio"]))
memballoons = st.just(Memballoon(model="none")) | st.builds(
    Memballoon,
    autodeflate=st.none() | st.booleans(),
    free_page_reporting=st.none() | st.booleans(),
    stats_period=st.none() | st.integers(1, 2**31 - 1),
)
watchdogs = st.builds(
    Watchdog,
    model=st.sampled_from(["i6300esb", "ib700"]),
    action=st.sampled_from(["reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi"]),
)
tpms = st.sampled_from([Tpm(model="tpm-crb", version="2.0"), Tpm(model="tpm-tis", version="1.2")])


@st.composite
def screens(draw: st.DrawFn, *, has_usb: bool) -> dict[str, Any]:
    """Graphics, what goes through SPICE only, and the USB controller, which libvirt's test driver does not add."""
    screen = draw(st.none() | graphics)
    controller = draw(st.none() | usb_controllers) if has_usb else UsbController(model="none")
    if screen is None or screen.kind != "spice":
        return {"graphics": screen, "usb_controller": controller}
    return {
        "graphics": replace(screen, image_compression=draw(st.sampled_from(["", "auto_glz", "off"]))),
        "spice_agent": draw(st.booleans()),
        "usb_redirections": draw(st.integers(0, 2)) if controller and has_usb else 0,
        "usb_controller": controller,
    }


@st.composite
def domains(
    draw: st.DrawFn, hypervisor: str, machine: str = "pc", buses: Sequence[Bus] = tuple(Bus), name: str = "law"
) -> Domain:
    """Any domain of this name; boot orders stand behind all else that has one."""
    vcpus = draw(st.integers(1, 8))
    memory = draw(st.integers(1, 4096)) * MIB
    letters = draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1, max_size=3))
    drives = draw(st.lists(st.sampled_from("efg"), unique=True, max_size=2))
    macs = draw(st.lists(st.integers(0, 5), unique=True, max_size=3))
    domain_disks = tuple(draw(disks(letter, buses)) for letter in sorted(letters))
    has_usb = any(disk.bus is Bus.USB for disk in domain_disks) or draw(st.booleans())
    devices, pointing = (hostdevs, inputs) if has_usb else (hostdevs_but_usb, inputs_but_usb)
    iothreads = max((disk.iothread or 0 for disk in domain_disks), default=0)
    balloon = draw(st.none() | memballoons)
    starts_with = st.none() | st.integers(1, memory // MIB).map(lambda n: n * MIB)
    firmware = draw(
        st.builds(Firmware, kind=st.just("bios"))
        | st.builds(Firmware, kind=st.just("uefi"), secure_boot=st.none() | st.booleans())
    )
    classes = draw(st.just(()) | st.lists(st.sampled_from(["hd", "cdrom", "network", "fd"]), unique=True).map(tuple))
    return with_boot_orders(
        [] if classes else draw(st.lists(st.integers(1, 30), unique=True, max_size=6)),
        Domain(
            name=name,
            uuid=UUID,
            memory_bytes=memory,
            vcpus=vcpus,
            machine=machine,
            hypervisor=hypervisor,
            host="kvm-1",
            disks=domain_disks,
            title=draw(prose),
            description=draw(prose),
            current_memory_bytes=None if balloon and balloon.model == "none" else draw(starts_with),
            memballoon=balloon,
            hugepages_bytes=draw(st.sampled_from([None, 0, 2 * MIB, 1024 * MIB])),
            current_vcpus=draw(st.none() | st.integers(1, vcpus)),
            cpuset=draw(st.just("") | cpu_sets),
            cputune=draw(st.none() | cputunes(vcpus, iothreads)),
            numatune=draw(st.none() | numatunes),
            cpu=draw(st.none() | cpus(vcpus, memory // MIB)),
            firmware=firmware,
            boot=classes,
            boot_menu=draw(st.none() | boot_menus),
            clock=draw(st.sampled_from(["utc", "localtime", "Europe/Berlin", "America/Indiana/Knox"])),
            timers=draw(timers),
            features=draw(features),
            on_poweroff=draw(st.sampled_from(["", "destroy", "restart"])),
            on_reboot=draw(st.sampled_from(["", "destroy", "restart"])),
            on_crash=draw(st.sampled_from(["", "destroy", "restart", "preserve", "coredump-destroy"])),
            pm=draw(st.dictionaries(st.sampled_from(["suspend_to_mem", "suspend_to_disk"]), st.booleans())),
            cdroms=tuple(draw(cdroms(letter)) for letter in sorted(drives)),
            interfaces=tuple(draw(interfaces(f"52:54:00:00:00:{mac:02x}")) for mac in sorted(macs)),
            hostdevs=tuple(draw(st.lists(devices, max_size=2, unique_by=lambda device: device.address))),
            filesystems=tuple(draw(st.lists(filesystems, max_size=2, unique_by=lambda folder: folder.target))),
            **draw(screens(has_usb=has_usb)),
            pcie_root_ports=draw(st.just(0) | st.integers(1, 20)) if "q35" in machine else 0,
            sound=draw(st.sampled_from(["", "ich9", "ich6", "ac97"])),
            video=draw(st.sampled_from(["", "virtio", "vga", "qxl", "cirrus", "bochs", "ramfb"])),
            inputs=tuple(draw(st.lists(pointing, max_size=2))),
            serial_console=draw(st.booleans()),
            guest_agent=draw(st.booleans()),
            channels=tuple(draw(st.lists(words.map("org.{}".format), unique=True, max_size=2))),
            rng=draw(st.booleans()),
            asset_tag=draw(st.booleans()),
            watchdog=draw(st.none() | watchdogs),
            tpm=draw(st.none() | tpms),
            vsock_cid=draw(st.none() | st.just(0) | st.integers(3, 2**32 - 1)),
        ),
    )


def with_boot_orders(orders: Sequence[int], domain: Domain) -> Domain:
    """Give boot orders to the first devices, one each: libvirt takes none twice."""
    left = iter(orders)
    return replace(
        domain,
        interfaces=tuple(replace(each, boot=next(left, None)) for each in domain.interfaces),
        disks=tuple(replace(each, boot=next(left, None)) for each in domain.disks),
        cdroms=tuple(replace(each, boot=next(left, None)) for each in domain.cdroms),
    )


@st.composite
def fittings(draw: st.DrawFn, domain: Domain, *, has_blockio: bool) -> Fitted:
    """Some way of telling the granularity for some of the disks."""
    ways = ["override", "set_device", *(["blockio"] if has_blockio else [])]
    stated = {disk.target: draw(st.sampled_from([512, 65536, 4 * MIB])) for disk in domain.disks if draw(st.booleans())}
    way = draw(st.sampled_from(ways))
    by_way: dict[str, Any] = {way: stated}
    return Fitted(domain=domain, **by_way, drops_json_device=bool(stated) and way == "set_device")
