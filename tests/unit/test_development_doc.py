"""docs/development.md names every room, tests/README.md every folder of tests, and both no file that is not there."""

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


def test_the_readme_of_the_tests_names_each_folder_and_no_module_that_is_not_there() -> None:
    tests, readme = CHECKOUT / "tests", (CHECKOUT / "tests/README.md").read_text()
    folders = {file.parent.relative_to(tests).parts for file in tests.rglob("*.*") if "__pycache__" not in file.parts}
    known = {"/".join(parts[: 2 if parts[0] == "live" else 1]) for parts in folders if parts} - {"live"}
    assert [folder for folder in sorted(known) if f"`{folder}/`" not in readme] == []
    modules = set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", readme))
    assert modules - {file.name for file in tests.rglob("*.py")} == set()
