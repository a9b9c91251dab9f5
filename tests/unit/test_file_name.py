"""Any name as a file's name: no two share one, and every file system takes it."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.errors import BusyError
from virtrbd.local.state_dir import StateDir
from virtrbd.model.file_name import file_name_of, typed_file_name
from virtrbd.model.image import ImageRef, Intent

NAMES = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.text("./%=\0\udc80 a", max_size=5),
    st.text("äx", min_size=60, max_size=400),
)
ODD = ["", ".", "..", "../x", "a/b", "a\0b", "\udcff", "x" * 5000, "ä" * 250, " reconcile", "=", "%2E", "a" * 200]


@given(name=NAMES)
def test_every_file_system_takes_it(name: str) -> None:
    file = file_name_of(name)
    assert 0 < len(file.encode()) <= 200
    assert file.isascii()
    assert not set(file) & set("/\0\n ")
    assert not file.startswith(".")


@given(one=NAMES, other=NAMES)
def test_no_two_names_share_one(one: str, other: str) -> None:
    assert (one == other) == (file_name_of(one) == file_name_of(other))


def test_odd_names_are_all_different() -> None:
    assert len({file_name_of(name) for name in ODD}) == len(ODD)


@given(name=st.text("abcdefg-_0123 /äé", min_size=1, max_size=30))
def test_usual_names_stay_what_they_were(name: str) -> None:
    assert file_name_of(name) == quote(name, safe="")


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_any_name_can_be_locked(name: str, tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    with state.locked([name], "define"), pytest.raises(BusyError) as caught, state.locked([name], "apply"):
        pass
    assert "virtrbd define (pid " in str(caught.value)
    with state.locked([name], "apply"):
        pass


def test_an_intent_for_an_image_of_a_long_name_is_found_again(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    ref = ImageRef(pool="vms", name="ü" * 90)
    intent = Intent(ref=ref, domain_uuid="u", size_bytes=1, parent=None, nonce="n", written_at=1.0)
    state.write_intent(intent)
    assert state.read_intents([ref]) == {ref: intent}
    state.drop_intent(ref)
    assert state.read_intents([ref]) == {}


UUID = "c0701920-c0bc-490c-8a14-9066d3d299a6"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("web-01.example", "web-01.example"), ('my "web", x=1', "my_web_x_1-c0701920"), (".dot", "dot-c0701920"),
        ("-dash", "dash-c0701920"), ("日本", "domain-c0701920"), ("../x", "x-c0701920"),
        ("x" * 200, f"{'x' * 100}-c0701920"), ("web~", "web-c0701920"),
    ],
)  # fmt: skip
def test_a_domains_file_has_a_name_that_people_type(name: str, file: str) -> None:
    assert typed_file_name(name, UUID) == file


@given(name=NAMES)
def test_any_domain_has_such_a_file(name: str) -> None:
    file = typed_file_name(name, UUID)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,108}", file)
