"""What unit tests share."""

from collections.abc import Iterator
from typing import Any

import pytest

from virtrbd.domainxml.render import render


@pytest.fixture(scope="module")
def rendered_once() -> Iterator[None]:
    """Rendering takes most of a plan's time, and returns the same for the same."""
    known: dict[str, str] = {}

    def once(*arguments: Any) -> str:
        key = repr(arguments)
        if key not in known:
            known[key] = render(*arguments)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("virtrbd.domainxml.document.render", once)
        yield
