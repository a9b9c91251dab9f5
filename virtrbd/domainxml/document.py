"""A domain's XML: a text, and what it says, found out once and only when it is asked for.

Patterns read what libvirt always writes in one form: importing lxml costs more than reading all documents of a host.
Only a parser knows the rest.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cached_property
from typing import Final, Self

from msgspec import Struct

from virtrbd.lazily import lazily
from virtrbd.model.disk import DefinedDisk
from virtrbd.model.image import ImageRef
from virtrbd.model.mark import DomainMark

# A run that finds all in order parses no XML, and needs no lxml; few sources have an entity.
with lazily():
    from html import unescape

    from virtrbd.domainxml.canonical_text import writer_for
    from virtrbd.domainxml.mark import digest_without_mark, has_own_mark, read_mark
    from virtrbd.domainxml.parse import disks_of
    from virtrbd.domainxml.parsing import Parsed, parse
    from virtrbd.domainxml.tree import Element, attribute, whole_number

NAMESPACE: Final = "urn:virtrbd:domain:1"

_RBD = ("protocol='rbd'", 'protocol="rbd"')
_HOST = re.compile(r"""<host name=['"]([^'"<>]+)""")

_RBD_SOURCE = re.compile(r"""<source protocol=['"]rbd['"] name=(['"])(.*?)\1""")
# Each begins with plain letters, for which a text is looked through a hundred times as fast as for a choice of them.
_DEVICE = re.compile(r"/dev/(?!urandom|random|hwrng|pts/|net/tun|vhost-|kvm)")
_ARGUMENT = re.compile(r"<qemu:[a-z]+ [^<>]*(?i:rbd|/dev/|readconfig|\\)")

# Of parsing.FORBIDDEN libvirt itself drops U+0000 to U+0019 when it writes; the others are very rare.
_CONTROLS: Final = (*map(chr, range(0x1A, 0x20)), "\ufffe", "\uffff")
# All except the five entities of XML itself and references to characters.
FOREIGN_REFERENCE: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)[^;<>'\"\s]{0,40};?")


class Document(Struct, frozen=True, dict=True):
    """A domain's XML, equal to another of the same kind and text. What a parser finds raises DocumentError."""

    text: str

    @cached_property
    def _parsed(self) -> Parsed:
        return parse(self.text)

    @property
    def tree(self) -> Element:
        """The root, without comments, shared by its readers: a caller that changes a tree takes a copy."""
        return self._parsed.root

    def passing(self) -> Self:
        """Return it for one look at each of many: its tree, 44 kB, is not kept when the look is over."""
        return type(self)(self.text)

    @property
    def flaw(self) -> str:
        """What in the text XML forbids and was replaced in the tree, empty where the text is XML."""
        return self._parsed.flaw

    def copy(self) -> Element:
        """Return the root of a tree that is the caller's to change."""
        return deepcopy(self.tree.getroottree()).getroot()

    def with_comments(self) -> Parsed:
        """Return a tree that is the caller's to change, with the comments that others wrote into it."""
        return parse(self.text, with_comments=True)

    @cached_property
    def mark(self) -> DomainMark | None:
        """virtrbd's mark, None without one that counts."""
        return read_mark(self.tree)

    @property
    def is_marked(self) -> bool:
        """Whether it has a mark of virtrbd that counts; quicker than the mark, and for that alone no tree is kept."""
        return self.may_be_marked and has_own_mark(self.passing().tree)

    @cached_property
    def disks(self) -> tuple[DefinedDisk, ...]:
        """The disks by target; `image` is None for those not on RBD."""
        return disks_of(self.tree)

    @property
    def name(self) -> str:
        return self.tree.findtext("name") or ""

    @property
    def hypervisor_type(self) -> str:
        return self.tree.get("type", "")

    @property
    def machine(self) -> str:
        """The machine, version and all."""
        return attribute(self.tree, "os/type", "machine")

    @property
    def memory_bytes(self) -> int:
        """The memory; libvirt writes it in KiB whatever it was given."""
        return whole_number(self.tree.findtext("memory"), 0) * 1024

    @property
    def vcpus(self) -> int:
        return whole_number(self.tree.findtext("vcpu"), 1)

    @cached_property
    def digest(self) -> str:
        """The digest of all but the mark, the devices sorted."""
        return digest_without_mark(self.copy(), writer_for(self.text))

    @property
    def may_be_marked(self) -> bool:
        """Whether the text may have a mark; quick."""
        return NAMESPACE in self.text

    @cached_property
    def monitors(self) -> frozenset[str]:
        """The addresses of monitors that the RBD disks name; quick."""
        found = set()
        # Each part ends before the next source: time grows with the text's length, for any text.
        for part in self.text.split("<source ")[1:]:
            tag, _, rest = part.partition(">")
            if tag.startswith(_RBD) and "<" not in tag and not tag.endswith("/"):
                found.update(_HOST.findall(rest.partition("</source>")[0]))
        return frozenset(found)

    @cached_property
    def sources(self) -> frozenset[str]:
        """The RBD sources, `pool/[namespace/]image`, that the text names; those with options behind a colon without
        them too; quick.
        """
        names = {unescape(name) if "&" in name else name for name in self._source_names}
        return frozenset(names | {name.partition(":")[0] for name in names})

    @cached_property
    def _source_names(self) -> tuple[str, ...]:
        return tuple(match[2] for match in _RBD_SOURCE.finditer(self.text))

    def names(self, ref: ImageRef) -> bool:
        """Whether an RBD source in the text is the image, or a snapshot of it; quick."""
        return f"{ref.pool}/{ref.path}" in self.sources

    @property
    def may_name_more(self) -> bool:
        """Whether the text may name an image in any way that `sources` does not see; quick."""
        is_all = sum(map(self.text.count, _RBD)) == len(self._source_names)
        is_volume = " volume=" in self.text
        # The kernel's rbd driver, or a device built on it; QEMU's own arguments, or a file with more of them.
        return (
            not is_all or is_volume or _DEVICE.search(self.text) is not None or _ARGUMENT.search(self.text) is not None
        )

    @property
    def may_be_no_xml(self) -> bool:
        """Whether the text may hold what XML forbids; quick."""
        # Usually there is none, and a search for single characters is far quicker than for a class.
        return any(character in self.text for character in _CONTROLS) or FOREIGN_REFERENCE.search(self.text) is not None


class Definition(Document, frozen=True):
    """What libvirt's persistent definition says."""


class LiveDocument(Document, frozen=True):
    """What libvirt says of the guest that runs."""


class Rendered(Document, frozen=True):
    """What a domain's spec becomes."""


class Edited(Document, frozen=True):
    """What virtrbd defines: what was rendered, or an edit of a definition, with the mark."""
