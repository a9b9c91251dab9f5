"""What fuzzing found once stays found: each input of tests/corpus, by the targets of tools/fuzz."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fuzzlib.findings import keep, kind_of
from fuzzlib.mutate import mutate_xml, mutate_yaml
from fuzzlib.table import TARGETS, seeds_of
from fuzzlib.target import Target, finding
from fuzzlib.world import rendered_once
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkout import CHECKOUT

from virtrbd.errors import DefectError, SpecError

pytestmark = pytest.mark.slow

CORPUS = CHECKOUT / "tests/corpus"


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with rendered_once():
        yield


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_the_corpus_is_a_finding(name: str) -> None:
    target = TARGETS[name]
    # The other seeds (specs, definitions to adopt) have tests of their own.
    seeds = [seed for seed in seeds_of(target) if CORPUS in seed.parents]
    found = {seed.name: error for seed in seeds if (error := finding(target, seed.read_bytes()))}
    assert {file: f"{kind_of(error)}: {error}" for file, error in found.items()} == {}


def test_every_folder_of_the_corpus_is_a_targets() -> None:
    folders = {folder.name for folder in CORPUS.iterdir()}
    named = {seed.parent.name for target in TARGETS.values() for seed in seeds_of(target)}
    assert folders <= named
    assert all(seeds_of(target) for target in TARGETS.values())


def _raising(error: Exception) -> Target:
    def run(_data: bytes) -> None:
        raise error

    return Target(name="it", about="raises", run=run)


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), AssertionError(), DefectError("d", ("a.py:1 in f",))]
)
def test_what_nobody_foresaw_is_a_finding(error: Exception) -> None:
    assert finding(_raising(error), b"") is error


def test_what_virtrbd_says_of_an_input_is_none() -> None:
    assert finding(_raising(SpecError("wrong")), b"") is None


def test_a_kind_is_kept_once_by_its_shortest_input(tmp_path: Path) -> None:
    kind = kind_of(finding(_raising(KeyError("x")), b"") or ValueError())
    files = {keep(tmp_path, kind, data) for data in (b"long one", b"longer than that", b"short")}
    assert [file.read_bytes() for file in files] == [b"short"]
    assert list(tmp_path.iterdir()) == list(files)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), file=st.sampled_from(seeds_of(TARGETS["definition"])))
def test_a_mutated_document_is_a_document_still(seed: int, file: Path) -> None:
    try:
        ElementTree.fromstring(file.read_bytes())
    except ElementTree.ParseError:
        return
    mutated = mutate_xml(file.read_bytes(), random.Random(seed))
    assert mutated == mutate_xml(file.read_bytes(), random.Random(seed))
    # Not by virtrbd's own: a namespace that is no URI is well-formed too.
    ElementTree.fromstring(mutated)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), data=st.binary(max_size=50))
def test_any_bytes_can_be_mutated(seed: int, data: bytes) -> None:
    for mutate in (mutate_xml, mutate_yaml):
        assert isinstance(mutate(data, random.Random(seed)), bytes)


def _fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CHECKOUT / "tools/fuzz", *words], capture_output=True, text=True, check=False, timeout=60)


def test_one_input_is_tried_again_by_a_command(tmp_path: Path) -> None:
    (tmp_path / "size").write_text("20G")
    done = _fuzz("size", "--repeat", f"{tmp_path}/size")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/size: no finding in size\n")


def test_a_target_that_nobody_knows_is_refused() -> None:
    done = _fuzz("sise")
    assert done.returncode == 2
    assert done.stderr.startswith("fuzz: there is no target sise; known are spec, ")
