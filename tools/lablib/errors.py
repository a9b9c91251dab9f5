"""The one error that users of tools/lab see."""

from __future__ import annotations


class LabError(Exception):
    """Something that stops the lab: what was tried, the fact that stops it, and the way out."""

    def __init__(self, what: str, fact: str, way_out: str) -> None:
        super().__init__(f"{what}: {fact}; {way_out}")
