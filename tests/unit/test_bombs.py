"""Small files that would become huge: each is refused by what it would become, and holds up no other."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtrbd.model.settings import Settings
from virtrbd.specs.directory import Fleet, load_fleet
from virtrbd.specs.document import laid_over
from virtrbd.specs.files import PROFILES, SpecFile, SpecFiles
from virtrbd.specs.load import check_each

pytestmark = pytest.mark.slow

SETTINGS = Settings(host="kvm-1")
MIB = 1024**2
GOOD = b"name: good\nmemory: 1G\ndisks:\n  - size: 1G\n"
HEAD = GOOD.replace(b"good", b"bomb")
# Calls of functions, Python's and C's: a file of 1 MiB that is read to its end takes 2.5 million.
MOST_STEPS = 6_000_000


def levels(count: int, head: str, level: str) -> str:
    """Anchors that each name the one before several times."""
    return ", ".join([f"&a0 {head}", *(f"&a{n} " + level.replace("*", f"*a{n - 1}") for n in range(1, count))])


def full(unit: bytes, head: bytes = b"") -> bytes:
    """One MiB of the unit."""
    return head + unit * ((MIB - len(head)) // len(unit))


NINE = "[" + ",".join(["*"] * 9) + "]"
LISTS = levels(9, "[x,x,x,x,x,x,x,x,x]", NINE)
MERGES = levels(9, "{a: 1}", "{<<: " + NINE + "}")
BOMBS = {
    "aliases of aliases": HEAD + f"x: [{LISTS}]\n".encode(),
    "aliases in a key": HEAD + f"? [{LISTS}]\n: x\n".encode(),
    "aliases in a key of cloud-init": HEAD + f"cloud_init:\n  user_data:\n    ? [{LISTS}]\n    : x\n".encode(),
    "aliases of a mapping's keys": HEAD + f"x: {{? [{LISTS}] : y}}\n".encode(),
    "merges of merges": HEAD + f"x: [{MERGES}]\n".encode(),
    "an alias inside itself": HEAD + b"x: &a [*a]\n",
    "a long text many times": HEAD + b"x: [&a " + b"x" * 500_000 + b", *a" * 9_000 + b"]\n",
    "brackets": full(b"["),
    "braces": full(b"{"),
    "dashes": full(b"- "),
    "question marks": full(b"? "),
    "directives": full(b"%TAG !a! x\n").replace(b"!a!", b"!%d!" % 7) + b"--- a\n",
    "directives in UTF-16": ("%TAG !a! x\n" * 20_000 + "--- a\n").encode("utf-16"),
    "empty documents": full(b"---\n"),
    "documents": full(b"---\na: b\n"),
    "repeated keys": full(b"a: b\n"),
    "items": full(b"-\n"),
    "tags": full(b"- !!python/object:os.system x\n"),
    "unknown profiles": HEAD + b"uses: [" + b"p, " * 19_000 + b"p]\n",
    "drives on one target": HEAD + b"cdroms:\n" + b"  - {target: sda}\n" * 5_500,
    "unknown fields in many documents": b"---\n".join([HEAD + b"memroy: 1\n" * 9] * 900),
    "long unknown fields": HEAD + b"".join(b'"%d%s": 1\n' % (n, b"x" * 1000) for n in range(900)),
    "floats for a guest": HEAD + b"cloud_init: {user_data: {a: [" + b"1.5, " * 38_000 + b"1.5]}}\n",
}


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the calls of functions in the block."""
    steps = [0]

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        if event.endswith("call"):
            steps[0] += 1

    sys.setprofile(count)
    try:
        yield steps
    finally:
        sys.setprofile(None)


def checked(raw: bytes, profiles: bytes | None = None) -> tuple[int, list[str]]:
    """Check one file, with profiles beside it: return the steps that took, and the problems."""
    beside = {"d": SpecFile(path=f"d/{PROFILES}", raw=profiles)} if profiles is not None else {}
    files = SpecFiles(specs=(SpecFile(path="d/s.yaml", raw=raw),), profiles=beside)
    with counted() as steps:
        found = check_each(files, SETTINGS)
    assert not [defect for file in found for defect in file.defects]
    return steps[0], [problem for file in found for problem in file.problems]


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_what_it_would_become(name: str) -> None:
    steps, problems = checked(BOMBS[name])
    assert steps < MOST_STEPS, steps
    assert problems or name == "floats for a guest"
    assert len(problems) <= 60
    assert sum(map(len, problems)) < 60_000


PROFILES_BOMBS = {
    "profiles": b"profiles:\n" + b"".join(b"  p%d: {memory: 1G}\n" % n for n in range(6_600)),
    "wrong profiles": b"profiles:\n" + b"".join(b"  p%d: {memroy: 1G}\n" % n for n in range(900)),
    "a large default for disks": b"defaults: {disk: {" + b"".join(b"k%d: 1, " % n for n in range(15_000)) + b"}}\n",
    "large defaults": b"defaults: {cpu: {features: {"
    + b"".join(b"f%d: require, " % n for n in range(15_000))
    + b"}}}\n",
}


@pytest.mark.parametrize("name", PROFILES_BOMBS)
def test_profiles_that_are_too_many_or_too_large_are_refused(name: str) -> None:
    for raw in (
        b"---\n".join([HEAD + b"uses: [q, r, s]\n"] * 500),
        b"name: s\nmemory: 1G\ndisks:\n" + b"  - {}\n" * 10_000 + b"uses: [" + b"p1, " * 5_000 + b"]\n",
    ):
        steps, problems = checked(raw, PROFILES_BOMBS[name])
        assert steps < MOST_STEPS, steps
        assert problems


def test_a_thousand_profiles_are_read_in_one_pass() -> None:
    def steps_of(count: int) -> int:
        text = b"profiles:\n" + b"".join(b"  p%d: {memory: 1G, vcpus: 2}\n" % n for n in range(count))
        steps, problems = checked(HEAD + b"uses: p7\n", text)
        assert problems == []
        return steps

    assert steps_of(1_000) < 2.5 * steps_of(500), "twice the work"


def test_a_large_file_of_many_domains_is_no_bomb() -> None:
    disks = b"".join(b"  - {size: 1G, target: vd%c, cache: none}\n" % letter for letter in b"abcdefgh")
    text = b"---\n".join(b"name: n%d\nmemory: 1G\nuses: p\ndisks:\n%s" % (n, disks) for n in range(500))
    steps, problems = checked(text, b"profiles:\n  p: {vcpus: 2, disk: {discard: unmap}, clock: utc}\n")
    assert problems == []
    assert steps < MOST_STEPS


@pytest.mark.parametrize("name", ["aliases in a key", "a long text many times", "documents"])
def test_a_bomb_takes_no_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(BOMBS[name])
    words = f"ulimit -v 400000; exec {sys.executable} -m virtrbd validate s.yaml"
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 65, done.stderr[-500:]


@pytest.mark.parametrize("name", ["aliases in a key", "merges of merges", "brackets", "documents"])
def test_the_others_go_on(name: str, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_bytes(GOOD)
    (tmp_path / "s.yaml").write_bytes(BOMBS[name])
    fleet: Fleet = load_fleet([str(tmp_path)], SETTINGS, strict=False)
    assert [domain.name for domain in fleet.domains] == ["good"]
    assert fleet.exit_code == 65


@pytest.mark.parametrize("text", [f"x: [{MERGES}]", f"x: [{LISTS}]", f"? [{LISTS}]\n: x", "x: &a [*a]", "[" * MIB])
def test_meta_data_is_no_bomb_either(text: str) -> None:
    """A file or a text that virtrbd lays over its own, with `<<` followed."""
    with counted() as steps, pytest.raises(ValueError, match=r"^line 1: "):
        laid_over({}, text.encode())
    assert steps[0] < 50_000


def test_meta_data_may_have_merges() -> None:
    assert laid_over({}, b"a: &a {x: 1}\nb: {<<: *a, y: 2}\n").endswith("b:\n  x: 1\n  y: 2\n")


PIECES = st.sampled_from([
    b"name: s\n", b"memory: 1G\n", b"disks:\n  - size: 1G\n", b"cloud_init:\n", b"  user_data: ", b"- ", b"? ", b": ",
    b"[", b"]", b"{", b"}", b",", b"&a ", b"*a", b"<<: *a\n", b"&b [*a,*a,*a,*a]", b"!!set ", b"!!binary ", b"!!float ",
    b"!!python/none ", b"\n", b"  ", b"\t", b'"\\0"', b'"\\ud800"', b"'", b"---\n", b"%YAML 1.1\n", b"|\n",
    b"2001-99-99",
    b"0x" + b"f" * 5000, b"9" * 5000, b".inf", b"~", b"uses: [[a]]\n", b"title:\n", b"\xff\xfe", b"\xef\xbb\xbf", b"#",
])  # fmt: skip
BYTES = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join))


@settings(deadline=None, max_examples=200)
@given(raw=BYTES, profiles=st.none() | BYTES)
def test_any_bytes_become_specs_or_problems_in_bounded_steps(raw: bytes, profiles: bytes | None) -> None:
    steps, problems = checked(raw, profiles)
    assert steps < MOST_STEPS
    for problem in problems:
        assert problem.startswith("d/"), problem
        assert problem.isprintable()


def test_a_bomb_in_the_settings_is_refused(
    virtrbd: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_bytes(f"host: kvm-1\n? [{LISTS}]\n: x\n".encode())
    (tmp_path / "s.yaml").write_bytes(GOOD)
    done = virtrbd("validate", "s.yaml")
    assert done.returncode == 78, done.stderr
