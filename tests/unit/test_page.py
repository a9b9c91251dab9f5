"""The page of a report: complete by itself, bounded, and a stranger's text stays text in it.

How it looks shows tools/look; this shows what it is made of.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from lxml import html
from support.families import families_of
from support.overviews import HOSTILE, hostile, many, overview_of, usual

from virtrbd.commands.output.overview import overview_data, overview_lines
from virtrbd.commands.output.page import page_of
from virtrbd.engine.overview import Overview
from virtrbd.printable import printable

ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "p", "b",
    "i", "a", "div",
    "span", "ul", "li", "br", "code", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
    "svg", "defs", "symbol", "use", "rect", "path", "circle", "polyline", "text", "tspan",
}  # fmt: skip
REPORTS = (usual, hostile, many)


def at(page: html.HtmlElement, path: str) -> list[Any]:
    """What is at that place of the page."""
    found: list[Any] = list(page.xpath(path))
    return found


def parsed(found: Overview) -> html.HtmlElement:
    return html.document_fromstring(page_of(found))


@pytest.mark.parametrize("make", REPORTS)
def test_a_page_is_complete_by_itself(make: Callable[[], Overview]) -> None:
    page = parsed(make())
    for element in page.iter("*"):
        assert element.tag in ELEMENTS, "nothing that runs or loads"
        assert not [name for name in element.attrib if name.startswith("on") or name in ("src", "style", "srcset")]
        links = [element.get("href", "#"), element.get("action", "#"), element.get("data", "#")]
        assert all(link.startswith("#") for link in links), links
    [style] = page.iter("style")
    assert not re.search(r"url\(|@import|expression|http", style.text or "")
    [policy] = at(page, "//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    for link in at(page, "//a/@href"):
        assert at(page, f"//*[@id='{link[1:]}']"), link


def test_hostile_names_are_text() -> None:
    document = page_of(hostile())
    assert len(document) < 100_000
    assert "".join(document.split("\n")).isprintable(), "no escape, no other reading direction"
    document.encode("utf-8")
    page = html.document_fromstring(document)
    needs = [each.text_content() for each in at(page, "//section[@id='needs']//b")]
    names = [str(printable(name, 80)) for name in HOSTILE]
    assert sorted(needs) == sorted(names)
    failures = " ".join(at(page, "//section[contains(@class, 'alarm')]")[0].text_content().split())
    for name in HOSTILE:
        assert " ".join(str(printable(name, 600)).split()) in failures, name
    drawn = [each.text_content() for each in at(page, "//*[contains(@class, 'tree')]//text")]
    assert any("<script>alert(1)</script>" in each for each in drawn)
    assert at(page, "//h1")[0].text_content() == HOSTILE[0]


def test_a_page_of_a_thousand_images_is_small_enough_for_a_mail() -> None:
    found = many()
    document = page_of(found)
    assert len(document) < 150_000
    page = html.document_fromstring(document)
    [tree] = at(page, "//*[contains(@class, 'tree')]")
    assert int(tree.get("height")) <= 202 * 26
    said = tree.text_content()
    assert "594 more clones" in said
    assert "40 images without clones" in said
    assert "more rows; see `virtrbd image tree`" in said


def test_what_is_unknown_is_not_shown_as_nothing() -> None:
    found = overview_of(families_of(), None, needs=None)
    said = parsed(found).text_content()
    assert said.count("libvirt does not answer") >= 2
    assert "None on this host" not in said
    assert "?domains" in said.replace(" ", "")
    assert overview_data(found)["domains"] is None
    assert overview_data(found)["unused"] is None
    assert "domains: unknown" in overview_lines(found)


def test_a_host_without_anything_to_report() -> None:
    said = parsed(overview_of(families_of(), ())).text_content()
    assert "Nothing waits: every domain is as its spec says." in said
    bare = overview_of(families_of(), (), has_specs=False)
    assert "This host has no folder of specs." in parsed(bare).text_content()
    assert "there is no folder of specs (spec_dir)" in overview_lines(bare)


def test_the_page_has_light_and_dark_colours_and_is_made_for_print_and_phones() -> None:
    document = page_of(usual())
    for rule in ("prefers-color-scheme: dark", "@media print", "@media (max-width", 'name="viewport"'):
        assert rule in document
    lines = at(html.document_fromstring(document), "//polyline/@points")
    assert len(lines) == 3
    assert all(re.fullmatch(r"[\d. ,]+", points) for points in lines)


def test_the_report_as_text() -> None:
    lines = overview_lines(usual())
    assert lines[1].startswith("vms/half: cannot be read: has no header")
    assert lines[2] == "domains: 60 running, 9 shut off, 1 crashed, 1 saved, 1 paused" or lines[2].startswith(
        "domains: 60"
    )
    assert "db-09: blocked: start domain: needs --allow takes-over" in lines
    assert any(re.fullmatch(r"fast +915 GiB +85 GiB +92% +\+1.6 GiB a day, full in \d+ days", line) for line in lines)
    assert "in the trash: 1 image, up to 18 GiB" in lines
