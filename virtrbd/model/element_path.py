"""Paths into a domain's XML: `/devices/disk:vda/driver/@cache`."""

from msgspec import Struct
from msgspec.structs import force_setattr

_DEVICES = "devices"


class ElementPath(Struct, frozen=True, order=True, gc=False):
    """The way to an element of a domain, or to an attribute of one.

    A step is an element's tag, with the key that distinguishes it from others (domainxml/tree); an attribute ends the
    path. It may be given with a slash before it or without. `text` has none, as marks write it; it is empty for the
    domain itself. Paths have the order of their texts.
    """

    text: str = ""

    def __post_init__(self) -> None:
        if self.text[:1] == "/" or self.text[-1:] == "/":
            force_setattr(self, "text", self.text.strip("/"))

    def __str__(self) -> str:
        return f"/{self.text}"

    def __truediv__(self, way: str) -> "ElementPath":
        """Return the path of what lies below: of a child by its step, or of an attribute by `@` and its name."""
        return ElementPath(f"{self.text}/{way}")

    @classmethod
    def of_device(cls, device: str) -> "ElementPath":
        """Return the path of a device, by its step."""
        return cls(f"{_DEVICES}/{device}")

    @property
    def attribute(self) -> str:
        """The attribute's name, "" for an element. A name with a namespace may have slashes; a step has none."""
        return str(self).partition("/@")[2]

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps to the element, or to the one that has the attribute."""
        steps = str(self).partition("/@")[0].split("/")[1:]
        return () if steps == [""] else tuple(steps)

    @property
    def device(self) -> str:
        """The step of the device that it is or leads into, "" for none."""
        first, *rest = self.text.split("/", 2)
        return rest[0] if rest and first == _DEVICES else ""

    @property
    def kind(self) -> str:
        """The device's tag: `disk` of `disk:vda`, `rng` of `rng#2`."""
        return self.device.partition("#")[0].partition(":")[0]

    @property
    def inside(self) -> str:
        """The way from the device to here, "" for the device itself; outside of devices, from the domain."""
        return self.below(ElementPath.of_device(self.device)) if self.device else self.text

    @property
    def is_device(self) -> bool:
        """Whether it is a device as a whole."""
        return bool(self.device) and not self.inside

    @property
    def top(self) -> "ElementPath":
        """The device, or the child of the domain, that it is or leads into."""
        first, *rest = self.text.split("/", 2)
        return ElementPath("/".join([first, *rest[:1]]) if first == _DEVICES else first)

    def is_within(self, other: "ElementPath") -> bool:
        """Whether it is the other, or lies below it."""
        return not other.text or self.text == other.text or self.text.startswith(f"{other.text}/")

    def below(self, other: "ElementPath") -> str:
        """Return the way to here from a path that it lies within."""
        return self.text[len(other.text) :].removeprefix("/")

    def into(self, device: str) -> "ElementPath":
        """Return the path to the same in another device, by its step."""
        return ElementPath.of_device(device) / self.inside


ROOT = ElementPath()
