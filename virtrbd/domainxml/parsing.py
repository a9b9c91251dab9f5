"""Parse a document: everything that libvirt accepts or gives back, under limits, without opening any other file.

libvirt keeps more than XML allows. Measured on 9.0: `virsh desc` takes bytes that are not UTF-8 and characters that XML
forbids, metadata keeps references to entities without their declaration, and its namespaces may be relative, empty or
not a URI. It gives all of that back as it is.
"""

import re
from typing import Final

from lxml import etree
from msgspec import Struct

from virtrbd.domainxml.document import FOREIGN_REFERENCE
from virtrbd.errors import DocumentError

# What XML 1.0 forbids, though libvirt keeps it.
FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")

# libvirt sends no longer string (REMOTE_STRING_MAX).
_MOST_CHARACTERS = 4 * 1024**2
# A domain with 500 disks has about 10,000 elements and as many attributes; lxml takes 2 s for a million elements, and a
# time that grows with the square for the attributes of one.
_MOST_ELEMENTS = _MOST_ATTRIBUTES = 50_000
_MOST_OF_ONE = 5_000
_MOST_NAMESPACES = 500
_ATTRIBUTE = re.compile("=['\"]")
# Advice of libxml2 for programmers.
_ADVICE = re.compile(",? (use|try) XML_PARSE_HUGE( option)?")
# Possessive: comments could be combined in more ways than there is time for.
_DOCTYPE = re.compile(r"(?>\s+|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL)

# libxml2 leaves such a declaration out of the tree, or libvirt such an element out of what it defines.
_DROPPED = frozenset({etree.ErrorTypes.NS_ERR_XML_NAMESPACE, etree.ErrorTypes.NS_ERR_UNDEFINED_NAMESPACE})

# What a mended document shows where libvirt's text is not XML: U+241B for U+001B, U+FFFD without such a picture.
_SCAR = re.compile("[\u2400-\u241f\ufffd]")


# What a byte that cannot be decoded is read as.
_NOT_UTF_8 = "bytes that are not UTF-8, or the character U+001A"


class Parsed(Struct, frozen=True, kw_only=True):
    """A document's root. `flaw`: what in its text is not XML and was replaced, empty where it is XML.

    `dropped`: what libvirt has in it, but the tree does not.
    """

    root: etree._Element
    flaw: str = ""
    dropped: str = ""


def _parser(*, with_comments: bool, recover: bool = False) -> etree.XMLParser:
    # libvirt's XML comes over a socket that others write to as well: no entities, no network, no huge trees.
    return etree.XMLParser(
        remove_blank_text=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=not with_comments,
        recover=recover,
    )


_PARSERS = {with_comments: _parser(with_comments=with_comments) for with_comments in (False, True)}


def parse(xml: str, *, with_comments: bool = False) -> Parsed:
    """Return the document. Raises DocumentError where it is too large, or cannot be read at all."""
    _require_bounded(xml)
    try:
        return Parsed(root=etree.fromstring(xml.encode(), _PARSERS[with_comments]))
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        return _parse_leniently(xml, str(error), with_comments=with_comments)


class UnparsedError(DocumentError):
    """The text is not XML, or too large; `line` is the first wrong line, counted from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def parse_strictly(xml: str) -> etree._Element:
    """Return the root of a user's text, which must be XML as it is. Raises UnparsedError."""
    try:
        _require_bounded(xml)
        return etree.fromstring(xml.encode(), _PARSERS[False])
    except etree.XMLSyntaxError as error:
        raise UnparsedError(_ADVICE.sub("", error.msg or "").partition(", line ")[0], error.lineno or 1) from error
    except UnicodeEncodeError as error:
        raise UnparsedError("it is not UTF-8") from error
    except DocumentError as error:
        raise UnparsedError(str(error).removeprefix("its XML ")) from error


def shows_scars(xml: str) -> bool:
    """Whether a document made from one with a flaw still shows it: defined, it would differ."""
    return _SCAR.search(xml) is not None


def _require_bounded(xml: str) -> None:
    if len(xml) > _MOST_CHARACTERS:
        raise DocumentError(f"its XML is larger than the {_MOST_CHARACTERS // 1024**2} MiB that libvirt itself sends")
    # A tag at the beginning and one at the end.
    if xml.count("<") > 2 * _MOST_ELEMENTS:
        raise DocumentError(f"its XML has more than {_MOST_ELEMENTS} elements")
    if xml.count("=") > _MOST_OF_ONE:
        numbers = [len(_ATTRIBUTE.findall(part)) for part in xml.split("<")]
        if max(numbers) > _MOST_OF_ONE or sum(numbers) > _MOST_ATTRIBUTES:
            raise DocumentError(
                f"its XML has more than {_MOST_ATTRIBUTES} attributes, or {_MOST_OF_ONE} in one element"
            )
    if xml.count("xmlns") > _MOST_NAMESPACES:
        raise DocumentError(f"its XML declares more than {_MOST_NAMESPACES} namespaces")
    if _DOCTYPE.match(xml):
        raise DocumentError("its XML has a document type, which may declare entities; libvirt does not write one")


def _parse_leniently(xml: str, why: str, *, with_comments: bool) -> Parsed:
    """Return a document that lxml refuses and libvirt does not."""
    text, flaw = _mended(xml)
    # lxml refuses namespaces that libvirt keeps, unless it may go on after errors; its log shows errors of other
    # kinds. A separate parser: the log is the parser's, and other threads parse too.
    parser = _parser(with_comments=with_comments, recover=True)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"its XML cannot be parsed: {error}") from error
    entries = list(parser.error_log)
    refused = [entry for entry in entries if entry.domain != etree.ErrorDomains.NAMESPACE]
    if root is None or refused:
        raise DocumentError(f"its XML cannot be parsed: {_ADVICE.sub('', refused[0].message if refused else why)}")
    dropped = [entry.message for entry in entries if entry.type in _DROPPED]
    return Parsed(
        root=root, flaw=flaw, dropped=f"a namespace that XML does not allow ({dropped[0]})" if dropped else ""
    )


def _mended(xml: str) -> tuple[str, str]:
    """Return the text with everything that XML forbids replaced, and the first flaw in words."""
    forbidden, reference = FORBIDDEN.search(xml), FOREIGN_REFERENCE.search(xml)
    flaws = [_NOT_UTF_8 if forbidden[0] == "\x1a" else f"the character U+{ord(forbidden[0]):04X}"] if forbidden else []
    flaws += [f"a reference to an entity that nothing declares ({reference[0]})"] if reference else []
    text = FORBIDDEN.sub(lambda match: _picture(match[0]), xml)
    return FOREIGN_REFERENCE.sub(lambda match: f"\ufffd{match[0][1:]}", text), " and ".join(flaws)


def _picture(character: str) -> str:
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
