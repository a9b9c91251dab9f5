"""All targets by name. To add one: a function of bytes, a row in its module's TARGETS, a folder in tests/corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fuzzlib import ceph_files, domain_xml, image_files, image_metadata, names, own_files, printed, specs
from fuzzlib.target import Target

TESTS = Path(__file__).parents[2] / "tests"

_MODULES = (specs, domain_xml, image_metadata, own_files, names, ceph_files, image_files, printed)
TARGETS: Mapping[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}


def seed_folders(target: Target) -> list[Path]:
    """Return the folders of what a target begins from; the first is its own."""
    return [TESTS / folder for folder in target.seeds or (f"corpus/{target.name}",)]


def seeds_of(target: Target) -> list[Path]:
    """Return the inputs that are kept for a target, by folder and name."""
    return [file for folder in seed_folders(target) for file in sorted(folder.iterdir())]
