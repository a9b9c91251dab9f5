"""The XML that a spec adds to what virtrbd renders, and where it is written."""

from msgspec import Struct

from virtrbd.model.image import ImageRef


class Overlay(Struct, frozen=True, kw_only=True):
    """The text of a spec's `xml:`, elements of a libvirt domain.

    `line` of `file` holds its first line; `is_block`: each line of the text is one of the file too (`xml: |`).
    `images`: those that QEMU may write to; `macs`: those of its interfaces.
    """

    text: str
    file: str
    line: int
    is_block: bool = False
    images: tuple[ImageRef, ...] = ()
    macs: tuple[str, ...] = ()

    def place(self, line: int) -> str:
        """Return `file:line` of a line of the text, counted from 1."""
        return f"{self.file}:{self.line + line - 1 if self.is_block else self.line}"
