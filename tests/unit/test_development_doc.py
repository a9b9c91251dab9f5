"""docs/development.md names every room, and no file that is not there."""

import re

import pytest
from support.checkout import CHECKOUT

DOCUMENT = (CHECKOUT / "docs/development.md").read_text()
ROOMS = sorted(init.parent.name for init in (CHECKOUT / "virtrbd").glob("*/__init__.py"))
PATHS = sorted(set(re.findall(r"`((?:virtrbd|tests|tools|templates|docs)/[\w./-]+)`", DOCUMENT)))


def test_each_room_has_a_line() -> None:
    assert [room for room in ROOMS if f"| `virtrbd/{room}` |" not in DOCUMENT] == []


@pytest.mark.parametrize("path", PATHS)
def test_each_path_is_there(path: str) -> None:
    assert (CHECKOUT / path).exists()


def test_the_rooms_stand_in_the_order_of_their_imports() -> None:
    contract = (CHECKOUT / "setup.cfg").read_text().partition("layers =")[2].splitlines()
    levels = [re.findall(r"virtrbd\.(\w+)", line) for line in contract]
    level_of = {name: level for level, names in enumerate(levels) for name in names}
    said = re.findall(r"^\| `virtrbd/(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert said == sorted(said, key=lambda room: level_of[room])


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)", DOCUMENT)
    assert links
    assert [link for link in links if not (CHECKOUT / "docs" / link).exists()] == []


def test_readme_names_it() -> None:
    assert "docs/development.md" in (CHECKOUT / "README.md").read_text()
