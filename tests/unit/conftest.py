"""What unit tests share."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import is_hypothesis_test

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.render import render


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A law draws a hundred examples and more, and a command line is a process: tools/check --quick has neither."""
    for item in items:
        if isinstance(item, pytest.Function) and (is_hypothesis_test(item.function) or "virtrbd" in item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def rendered_once() -> Iterator[None]:
    """Rendering takes most of a plan's time, and returns the same for the same."""
    known: dict[str, Rendered] = {}

    def once(*arguments: Any) -> Rendered:
        key = repr(arguments)
        if key not in known:
            known[key] = render(*arguments)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("virtrbd.domainxml.rendered.render", once)
        yield
