"""What virtrbd is built from: the lock files satisfy setup.cfg, and what is imported is what they say."""

import configparser
import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.checkout import CHECKOUT

LOCKS = {name: CHECKOUT / f"tools/{name}.lock" for name in ("build", "run", "develop")}
_PIN = re.compile(r"(?P<requirement>[^\s#].*?==.*?) \\\n(?P<hashes>(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def wanted(*extras: str) -> list[Requirement]:
    """What setup.cfg asks for."""
    options = configparser.ConfigParser()
    options.read(CHECKOUT / "setup.cfg")
    texts = [options["options"]["install_requires"], *(options["options.extras_require"][extra] for extra in extras)]
    return [Requirement(line) for text in texts for line in text.split("\n") if line.strip()]


def pins(lock: Path) -> list[Requirement]:
    """The lock's pins; each line of it is one, a hash or a comment."""
    text = "".join(line for line in lock.read_text().splitlines(keepends=True) if not line.startswith("#"))
    assert _PIN.sub("", text) == "", "an index, a path or a pin without a hash"
    return [Requirement(match["requirement"]) for match in _PIN.finditer(text)]


def here(requirements: list[Requirement]) -> dict[str, Requirement]:
    """Those that count for this Python and machine, by name."""
    counting = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return {canonicalize_name(each.name): each for each in counting}


def version_of(pin: Requirement) -> str:
    [specifier] = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize(("lock", "extras"), [("run", ()), ("develop", ("dev",))])
def test_a_lock_satisfies_setup_cfg(lock: str, extras: tuple[str, ...]) -> None:
    pinned = here(pins(LOCKS[lock]))
    for name, requirement in here(wanted(*extras)).items():
        pin = pinned.get(name)
        assert pin, f"{name} is not in {lock}.lock; run tools/relock"
        assert version_of(pin) in requirement.specifier, f"{pin} is not {requirement}; run tools/relock"


def test_what_is_developed_with_is_what_is_run_with() -> None:
    run, develop = here(pins(LOCKS["run"])), here(pins(LOCKS["develop"]))
    assert {name: version_of(pin) for name, pin in run.items()} == {
        name: version_of(pin) for name, pin in develop.items() if name in run
    }


def test_what_is_imported_is_what_the_lock_says() -> None:
    """The venv sees the distribution's packages too, and older ones of them must not be found first."""
    pinned = here(pins(LOCKS["develop"]))
    found = {name: importlib.metadata.version(name) for name in pinned}
    assert found == {name: version_of(pin) for name, pin in pinned.items()}, "run tools/setup"


def test_the_build_system_is_in_the_lock() -> None:
    [text] = re.findall(r'^requires = \["(.*)"\]$', (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE)
    requirement = Requirement(text)
    assert version_of(here(pins(LOCKS["build"]))[requirement.name]) in requirement.specifier
    assert "82.0.1" not in requirement.specifier, "CVE-2026-59890, and CVE-2025-47273 below 78.1.1"


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        ("jinja2", "3.1.5"),  # CVE-2025-27516: `|attr` leaves the sandbox
        ("lxml", "6.0.4"),  # CVE-2026-41066: external entities in iterparse
        ("click", "8.3.2"),  # CVE-2026-7246: a command in click.edit
        ("pygments", "2.19.2"),  # CVE-2026-4539: a regular expression that takes too long
        ("pyyaml", "5.3.1"),  # CVE-2020-14343: code in full_load
        ("pydantic", "2.3.0"),  # CVE-2024-3772: a regular expression that takes too long
        ("pytest", "9.0.2"),  # CVE-2025-71176: a folder in /tmp that anybody may make
    ],
)
def test_a_version_with_a_known_hole_is_not_enough(name: str, unsafe: str) -> None:
    [requirement] = [each for each in wanted("dev") if each.name == name]
    assert unsafe not in requirement.specifier
