"""Actions say what they do."""

from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtrbd.model.actions import Action
from virtrbd.model.base_action import BaseAction
from virtrbd.model.repair_actions import AnyRepair

# from_type also draws infinity and NaN, which no span of time is.
DRAWN = {float: st.floats(0, 1e9)}


@pytest.mark.parametrize("kind", [*get_args(Action), *get_args(AnyRepair)])
@settings(max_examples=2)
@given(data=st.data())
def test_each_action_has_a_text_whose_fields_it_has(kind: type[BaseAction], data: st.DataObject) -> None:
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name in kind.__struct_fields__}
    drawn = {name: DRAWN.get(hint, st.from_type(hint)) for name, hint in hints.items()}
    assert data.draw(st.builds(kind, **drawn)).text
