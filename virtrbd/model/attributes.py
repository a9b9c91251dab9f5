"""The attributes of disks, interfaces, small devices and the machine, with their words, limits, and places in the XML.

What reads a row: specs (a plain copy from the spec, and the buses that have none), compat (since which libvirt and
QEMU), the templates (the XML, in the order of the rows), adoption (back from the XML), and `render --as qemu`.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from typing import Any

from msgspec import Struct

from virtrbd.model.capabilities import Version
from virtrbd.model.devices import Filesystem, Input, Interface, Memballoon, Tpm, UsbController, Watchdog
from virtrbd.model.disk import Bus, DetectZeroes, Disk
from virtrbd.model.machine import BootMenu, Cpu, NumaTune, Topology

ANY: Version = (0, 0, 0)


class Form(Enum):
    """How the XML writes a value; FLAG: an element that says it by being there; SWITCH: `on` or `off`.

    ANSWER: `yes` or `no`.
    """

    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()
    SWITCH = auto()
    ANSWER = auto()


# What the XML writes of a boolean.
BOOLEANS: Mapping[Form, Mapping[bool, str]] = {
    Form.SWITCH: {True: "on", False: "off"},
    Form.ANSWER: {True: "yes", False: "no"},
}


class Property(Struct, frozen=True, kw_only=True):
    """The property of QEMU's device, the first QEMU with it, and how it writes the value."""

    name: str
    since: Version
    text: Callable[[object], str] = str


class Attribute(Struct, frozen=True, kw_only=True):
    """A field that the spec's `word` is copied to, the field's own name where it is empty.

    `place` is libvirt's, from the device on: `target/@rotation_rate`, `serial`; empty for what no XML says. `libvirt`
    and `qemu`: the first that have it; `asks`: which values need them. `buses`: those that have it, and `instead` is
    what to write on the others.
    """

    field: str
    word: str = ""
    place: str = ""
    form: Form = Form.TEXT
    libvirt: Version = ANY
    qemu: Version = ANY
    asks: Callable[[object], bool] = bool
    buses: frozenset[Bus] = frozenset(Bus)
    instead: str = "leave it out"
    qemu_property: Property | None = None

    @property
    def spec_word(self) -> str:
        return self.word or self.field

    @property
    def element(self) -> str:
        """The path of the element from the device on, "." for the device itself."""
        return self.place.rpartition("@")[0].rstrip("/") or "." if "@" in self.place else self.place

    @property
    def name(self) -> str:
        """The name of the XML attribute, "" where the element itself says it."""
        return self.place.partition("@")[2]

    def is_asked(self, device: object) -> bool:
        """Whether the device has a value that needs the libvirt and the QEMU of the row."""
        return self.asks(getattr(device, self.field))

    def stated(self, device: object) -> object:
        """Return the device's value, None where the XML says nothing of it."""
        value = getattr(device, self.field)
        if self.form in BOOLEANS and value is not None:
            return BOOLEANS[self.form][value]
        return None if value is False or value in (None, "", "default", {}) else value


_VIRTIO = frozenset({Bus.VIRTIO})

# Within an element in the order in which the XML gets them; libvirt takes any.
DISK = (
    Attribute(field="size_bytes", word="size"),
    Attribute(field="clone"),
    Attribute(field="import_format", word="format"),
    Attribute(field="import_member", word="member"),
    Attribute(field="import_checksum", word="checksum"),
    Attribute(field="serial", place="serial", qemu_property=Property(name="serial", since=(1, 0, 0))),
    Attribute(
        field="wwn",
        place="wwn",
        buses=frozenset({Bus.SCSI, Bus.IDE}),
        instead="write serial",
        qemu_property=Property(name="wwn", since=(1, 2, 0), text=lambda wwn: f"0x{wwn}"),
    ),
    Attribute(
        field="rotation_rate",
        place="target/@rotation_rate",
        form=Form.NUMBER,
        libvirt=(7, 3, 0),
        qemu=(2, 11, 0),
        buses=frozenset({Bus.SCSI, Bus.SATA, Bus.IDE}),
        qemu_property=Property(name="rotation_rate", since=(2, 11, 0)),
    ),
    Attribute(field="cache", place="driver/@cache"),
    Attribute(field="discard", place="driver/@discard"),
    Attribute(
        field="io",
        place="driver/@io",
        libvirt=(6, 3, 0),
        qemu=(5, 0, 0),
        asks=lambda value: value == "io_uring",
    ),
    Attribute(
        field="detect_zeroes",
        place="driver/@detect_zeroes",
        libvirt=(2, 0, 0),
        qemu=(2, 1, 0),
        asks=lambda value: value not in (None, DetectZeroes.OFF),
    ),
    Attribute(
        field="iothread",
        place="driver/@iothread",
        form=Form.NUMBER,
        libvirt=(1, 2, 8),
        qemu=(2, 1, 0),
        buses=_VIRTIO,
        qemu_property=Property(name="iothread", since=(2, 1, 0), text=lambda number: f"iothread{number}"),
    ),
    # Elements in the driver's: the disk's template has them.
    Attribute(field="iothreads", libvirt=(10, 0, 0), qemu=(9, 0, 0), buses=_VIRTIO),
    Attribute(
        field="queues",
        place="driver/@queues",
        form=Form.NUMBER,
        libvirt=(3, 9, 0),
        qemu=(2, 7, 0),
        buses=_VIRTIO,
        qemu_property=Property(name="num-queues", since=(2, 7, 0)),
    ),
    Attribute(field="error_policy", place="driver/@error_policy"),
    Attribute(field="rerror_policy", place="driver/@rerror_policy"),
    Attribute(field="ceph_config", place="source/config/@file", libvirt=(1, 2, 11)),
    # What it becomes depends on more than the disk: compat/granularity.
    Attribute(field="discard_granularity_bytes", word="discard_granularity"),
    Attribute(
        field="boot", place="boot/@order", form=Form.NUMBER, qemu_property=Property(name="bootindex", since=(1, 0, 0))
    ),
    Attribute(field="readonly", place="readonly", form=Form.FLAG, buses=frozenset({Bus.VIRTIO, Bus.SCSI, Bus.USB})),
    # Before QEMU 2.10 nothing has to be said: it let one image be opened by two devices.
    Attribute(
        field="shareable",
        place="shareable",
        form=Form.FLAG,
        qemu_property=Property(name="share-rw", since=(2, 10, 0), text=lambda _: "on"),
    ),
)

INTERFACE = (
    Attribute(field="model", place="model/@type"),
    Attribute(field="queues", place="driver/@queues", form=Form.NUMBER),
    Attribute(field="link", place="link/@state"),
    Attribute(field="mtu", place="mtu/@size", form=Form.NUMBER, libvirt=(3, 1, 0)),
    Attribute(field="boot", place="boot/@order", form=Form.NUMBER),
)

USB_CONTROLLER = (
    Attribute(field="model", place="@model"),
    Attribute(field="ports", place="@ports", form=Form.NUMBER),
)

INPUT = (Attribute(field="type", place="@type"), Attribute(field="bus", place="@bus"))

MEMBALLOON = (
    Attribute(field="model", place="@model"),
    Attribute(field="autodeflate", place="@autodeflate", form=Form.SWITCH, libvirt=(1, 3, 1), qemu=(2, 1, 0)),
    Attribute(
        field="free_page_reporting",
        place="@freePageReporting",
        form=Form.SWITCH,
        libvirt=(6, 9, 0),
        qemu=(5, 1, 0),
    ),
    Attribute(field="stats_period", place="stats/@period", form=Form.NUMBER),
)

WATCHDOG = (Attribute(field="model", place="@model"), Attribute(field="action", place="@action"))

TPM = (Attribute(field="model", place="@model"), Attribute(field="version", place="backend/@version"))

FILESYSTEM = (Attribute(field="source", place="source/@dir"), Attribute(field="target", place="target/@dir"))

CPU = (
    Attribute(field="mode", place="@mode"),
    Attribute(field="model", place="model"),
    Attribute(field="match", place="@match"),
    Attribute(field="check", place="@check"),
    Attribute(field="fallback", place="model/@fallback"),
)

TOPOLOGY = (
    Attribute(field="sockets", place="@sockets", form=Form.NUMBER),
    Attribute(field="cores", place="@cores", form=Form.NUMBER),
    Attribute(field="threads", place="@threads", form=Form.NUMBER),
)

NUMATUNE = (Attribute(field="mode", place="memory/@mode"), Attribute(field="nodeset", place="memory/@nodeset"))

BOOT_MENU = (
    Attribute(field="enable", place="@enable", form=Form.ANSWER),
    Attribute(field="timeout_ms", word="timeout", place="@timeout", form=Form.NUMBER),
)

ATTRIBUTES: Mapping[type, tuple[Attribute, ...]] = {
    Disk: DISK,
    Interface: INTERFACE,
    Input: INPUT,
    UsbController: USB_CONTROLLER,
    Memballoon: MEMBALLOON,
    Watchdog: WATCHDOG,
    Tpm: TPM,
    Filesystem: FILESYSTEM,
    Cpu: CPU,
    Topology: TOPOLOGY,
    NumaTune: NUMATUNE,
    BootMenu: BOOT_MENU,
}


def copied(spec: object, rows: tuple[Attribute, ...]) -> dict[str, Any]:
    """Return the fields that a spec states; of the others the model's own defaults hold."""
    values = {row.field: getattr(spec, row.spec_word) for row in rows}
    return {field: value for field, value in values.items() if value is not None}


def xml_attributes(device: object, element: str) -> Iterator[tuple[str, object]]:
    """Yield name and value of what a device states as attributes of one of its elements."""
    for row in ATTRIBUTES[type(device)]:
        if row.element == element and row.name and (value := row.stated(device)) is not None:
            yield row.name, value


def xml_elements(device: object, *beside: str) -> Iterator[tuple[str, str, object]]:
    """Yield the elements that a device states, but for those that are named: element, attribute, and value.

    The attribute is "" where the value is the element's text, and both are where the element says it all.
    """
    for row in ATTRIBUTES[type(device)]:
        if row.place and row.element not in beside and (value := row.stated(device)) is not None:
            yield row.element, row.name, "" if row.form is Form.FLAG else value
