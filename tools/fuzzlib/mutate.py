"""Changes that keep a document well-formed, so that an input comes past the parser to the code behind it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence

from lxml import etree

# What stands where a text is expected and nobody meant it.
ODD_TEXTS = (
    "", " ", "0", "-1", "1e400", "nan", "99999999999999999999999", "\u0663", "\u00b2", "x" * 300, "a/b/c/d",
    "../../etc/passwd", "%2F", "vms/other.vda", "{{ 7 * 7 }}", "{% extends 'x' %}", "'\"&<>]]>", "\u202egpj", "\u200b",
    "\u2028web: DONE", "\x85", "\x9b2J", "\uffff", "\u00e9", "e\u0301", "\U0001f600", "[" * 500, "$(id)", "-oProxy",
    "bbbbbbbb-0000-0000-0000-000000000000", "true", "null", "line\nline", "\t", "key: value", "~", "*a", "&a b",
    "!!binary eHg=", "0x1F", "1_000", "1:2:3", "2026-01-01",
)  # fmt: skip
_NAMESPACES = ("", "app1", "urn:x", "http://libvirt.org/schemas/domain/qemu/1.0", "urn:virtrbd:domain:1", "../a", "a b")
_TAGS = ("disk", "interface", "source", "target", "metadata", "memory", "vcpu", "os", "cpu", "devices", "iotune", "x")
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, huge_tree=False)

Element = etree._Element


def mutate_xml(data: bytes, chance: random.Random) -> bytes:
    """Return the document with one element, attribute or text changed, moved, repeated or gone."""
    try:
        root = etree.fromstring(data, _PARSER)
    except (etree.XMLSyntaxError, ValueError):
        return data
    if root is None:
        return data
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    try:
        chance.choice(_XML_CHANGES)(chance.choice(elements), elements, chance)
    except ValueError:
        # lxml writes no control character, and gives no tag such a name.
        return data
    return bytes(etree.tostring(root, encoding="utf-8"))


def _change_text(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    element.text = chance.choice(ODD_TEXTS)


def _change_attribute(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    if element.attrib:
        element.set(chance.choice([str(name) for name in element.attrib]), chance.choice(ODD_TEXTS))


def _drop_attribute(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    if element.attrib:
        del element.attrib[chance.choice([str(name) for name in element.attrib])]


def _drop(element: Element, _all: Sequence[Element], _chance: random.Random) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _repeat(element: Element, all_: Sequence[Element], chance: random.Random) -> None:
    chance.choice(all_).append(copy.deepcopy(element))


def _rename(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    namespace = chance.choice(_NAMESPACES)
    tag = chance.choice(_TAGS)
    element.tag = f"{{{namespace}}}{tag}" if namespace else tag


def _add(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    namespace = chance.choice(_NAMESPACES)
    tag = chance.choice(_TAGS)
    child = etree.SubElement(element, f"{{{namespace}}}{tag}" if namespace else tag)
    child.text = chance.choice(ODD_TEXTS)


def _nest(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    for _ in range(chance.choice((1, 5, 60, 200))):
        element = etree.SubElement(element, "x")


def _comment(element: Element, _all: Sequence[Element], chance: random.Random) -> None:
    kinds = (etree.Comment, lambda text: etree.ProcessingInstruction("x", text))
    element.append(chance.choice(kinds)("odd"))


_XML_CHANGES: Sequence[Callable[[Element, Sequence[Element], random.Random], None]] = (
    _change_text, _change_text, _change_attribute, _change_attribute, _drop_attribute, _drop, _repeat, _rename, _add,
    _nest, _comment,
)  # fmt: skip


def mutate_yaml(data: bytes, chance: random.Random) -> bytes:
    """Return the document with one line changed, moved, repeated, indented otherwise or gone."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    at = chance.randrange(len(lines))
    line = lines[at]
    match chance.randrange(8):
        case 0:
            key, colon, _ = line.partition(":")
            lines[at] = f"{key}{colon} {chance.choice(YAML_VALUES)}"
        case 1:
            lines.insert(chance.randrange(len(lines) + 1), line)
        case 2:
            del lines[at]
        case 3:
            lines[at] = chance.choice(("  ", "- ", "    ")) + line
        case 4:
            lines[at] = line.lstrip(" -")
        case 5:
            key, colon, value = line.partition(":")
            lines[at] = f"{key}{colon} {chance.choice(_YAML_TAGS)}{value}"
        case 6:
            lines[at] = line.replace(line.strip(" -").partition(":")[0] or " ", chance.choice(_YAML_KEYS), 1)
        case _:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], line
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", "\n\n") + "'"


YAML_VALUES = (
    *ODD_TEXTS, *map(_quoted, ODD_TEXTS), "[]", "{}", "[[a]]", "[a, {b: c}]", "{a: {b: [c]}}", '"\\0"', '"\\ud800"',
    '"\\e[2J"', "&a [*a]", "? a", ">-\n  folded", "|\n  kept", "yes", "off", "52:54:00:12:34:56", "1G", "vms/web@snap",
    "/etc/shadow", "/dev/zero",
)  # fmt: skip
_YAML_TAGS = (
    "!!float ", "!!int ", "!!binary ", "!!set ", "!!null ", "!!bool ", "!!timestamp ", "!!omap ", "!!str ", "!!map ",
    "!!python/name:os.system ", "!x ", "&a ", "*a ",
)  # fmt: skip
_YAML_KEYS = ("<<", "name", "size", "'a\nb'", "0", "null", "? [a]", "{a: b}", "uses", "title", "cloud_init", "\u202e")
