"""Specs with odd values in them: each gets its proper answer, and what virtrbd did not foresee harms only its spec."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from virtrbd.errors import DefectError, ExitCode, SpecError
from virtrbd.model.settings import Settings
from virtrbd.specs import load as loading
from virtrbd.specs import resolve as resolving
from virtrbd.specs.checked import Strict, check
from virtrbd.specs.directory import Fleet, load_fleet
from virtrbd.specs.document import YamlDocument
from virtrbd.specs.fragments import with_fragments
from virtrbd.specs.resolve_interfaces import resolve_interfaces
from virtrbd.specs.schema import DomainSpec, FragmentSpec
from virtrbd.specs.settings_schema import SettingsFile

pytestmark = pytest.mark.slow

SETTINGS = Settings(host="kvm-1")
GOOD = "name: good\nmemory: 1G\ndisks:\n  - size: 1G\n"
HEAD = GOOD.replace("good", "odd")
SECRET = "hunter2"
Run = Callable[..., subprocess.CompletedProcess[str]]

# What is wrong, and what is said of it; `odd.yaml` has four lines before it.
CASES = {
    "a list in uses": ("uses: [[a]]\n", "5: uses[0]: input should be a valid string, not ['a']"),
    "a mapping in uses": ("uses: {a: b}\n", "5: uses: "),
    "a number in uses": ("uses: 7\n", "5: uses[0]: 7 is a number to YAML"),
    "many profiles": (f"uses: [{'a, ' * 51}]\n", "5: uses: a list of 51; 50 at most"),
    "a number of many digits": (f"vcpus: {'9' * 5000}\n", "5: vcpus: a number of 5000 digits; write a smaller one"),
    "a number that Python prints": (f"vcpus: {'9' * 4000}\n", "5: vcpus: a number of 4000 digits"),
    "a hexadecimal number": (f"vcpus: 0x{'f' * 5000}\n", "5: vcpus: a number of 5002 digits"),
    "a power of ten": ("vcpus: 1e400\n", "5: vcpus: input should be a valid integer, not '1e400'"),
    "infinity": ("vcpus: .inf\n", "5: vcpus: input should be a valid integer, not '.inf'"),
    "no number": ("vcpus: .nan\n", "5: vcpus: input should be a valid integer, not '.nan'"),
    "a date": ("vcpus: 2001-01-01\n", "5: vcpus: input should be a valid integer, not '2001-01-01'"),
    "a size of many bytes": ("hugepages: 99999999999999999999999\n", "5: hugepages: a larger number of bytes"),
    "binary": ("title: !!binary aGk=\n", "5: title: the tag !!binary does not fit here; leave it out"),
    "a set": ("title: !!set {a}\n", "5: title: the tag !!set does not fit here"),
    "an ordered mapping": ("title: !!omap [a: b]\n", "5: title: the tag !!omap does not fit here"),
    "an object": ("title: !!python/object:os.system x\n", "5: title: the tag !!python/object:os.system does not fit"),
    "a tag of its own": ("title: !mine x\n", "5: title: the tag !mine does not fit here"),
    "a tag that would include a file": ("title: !include x\n", "5: title: the tag !include does not fit here"),
    "a tag on a key": ("!include x: y\n", "5: the tag !include does not fit here; leave it out"),
    "a tag on a key of a guest's": (
        "cloud_init: {user_data: {!!binary aGk=: b, !x a: b}}\n",
        "5: cloud_init.user_data: the tag !x does not fit here",
    ),
    "a wrong tag": ("vcpus: !!int abc\n", "5: vcpus: the tag !!int does not fit here; leave it out"),
    "a wrong truth": ("autostart: !!bool maybe\n", "5: autostart: the tag !!bool does not fit here"),
    "a merge": ("cpu:\n  <<: 7\n", "6: cpu: `<<` is not followed here; write it out, or use a profile (uses:)"),
    "a list as a key": ("? [a]\n: b\n", "5: a list or a mapping cannot be a key; write a word"),
    "an anchor as a key": ("x: &a [b]\n? *a\n: c\n", "5: a list or a mapping cannot be a key"),
    "a NUL": ('title: "a\\0b"\n', "5: title: holds control or other invisible characters"),
    "a NUL in a path": ('cloud_init: {user_data: "a\\0b"}\n', "5: cloud_init.user_data: holds a NUL"),
    "a direction": ('title: "a\\u202Eb"\n', "5: title: holds control or other invisible characters"),
    "half a pair": ('title: "\\uD800"\n', "5: not YAML: found invalid Unicode character escape code"),
    "control characters in a key": ('"a\\eb": 1\n', "5: holds control or other"),
    "a tab": ("\tvcpus: 1\n", "5: not YAML: found a tab character that violates indentation"),
    "a long zone": (f"clock: A/{'x' * 300}\n", "5: clock: 302 characters; 100 at most"),
    "a zone that is a path": ("clock: A/../../etc/passwd\n", "5: clock: string should match pattern"),
    "a long title": (f"title: {'x' * 5000}\n", "5: title: 5000 characters; 1000 at most"),
    "many drives": ("cdroms: [" + "{}, " * 79 + "]\n", "5: cdroms: a list of 79; 78 at most"),
    "a secret with a wrong tag": (
        f"cloud_init: {{user_data: {{a: !!float {SECRET}}}}}\n",
        "5: cloud_init.user_data.a: the tag !!float does not fit here",
    ),
    "a secret that is no base64": (
        f"cloud_init: {{user_data: {{a: !!binary '{SECRET}*'}}}}\n",
        "5: cloud_init.user_data.a: this is not a binary that can be passed on; write it in quotes",
    ),
    "a secret number": (
        "cloud_init: {user_data: {a: 1.0e+400}}\n",
        "5: cloud_init.user_data.a: this is not a float that can be passed on",
    ),
    "a secret under a tag": (
        f"cloud_init: {{user_data: {{a: !!python/none {SECRET}}}}}\n",
        "5: cloud_init.user_data.a: the tag !!python/none does not fit here",
    ),
}


@pytest.fixture
def fleet(tmp_path: Path) -> Callable[[bytes], Fleet]:
    """Load a file beside a good one."""

    def load(raw: bytes) -> Fleet:
        (tmp_path / "good.yaml").write_text(GOOD)
        (tmp_path / "odd.yaml").write_bytes(raw)
        return load_fleet([str(tmp_path)], SETTINGS, strict=False)

    return load


@pytest.mark.parametrize("name", CASES)
def test_odd_values_get_their_answer_and_the_others_go_on(name: str, fleet: Callable[[bytes], Fleet]) -> None:
    text, message = CASES[name]
    found = fleet((HEAD + text).encode())
    assert [domain.name for domain in found.domains] == ["good"]
    assert found.failures == ()
    assert any(problem.partition("odd.yaml:")[2].startswith(message) for problem in found.problems), found.problems
    assert not any(SECRET in problem for problem in found.problems)
    assert all(len(problem) < 1500 for problem in found.problems)


EMPTY = {
    "nothing": b"", "a newline": b"\n", "comments": b"# a\n# b\n", "null": b"~\n",
    "documents of nothing": b"---\n---\n",    "a byte order mark": b"\xef\xbb\xbf", "spaces": b"  \n  ",
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_file_is_a_problem(name: str, fleet: Callable[[bytes], Fleet]) -> None:
    found = fleet(EMPTY[name])
    assert [domain.name for domain in found.domains] == ["good"]
    assert "no domain in it" in found.problems[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_read_or_refused(encoding: str, fleet: Callable[[bytes], Fleet]) -> None:
    found = fleet(HEAD.encode(encoding))
    expected = ["good", "odd"] if encoding in ("utf-8-sig", "utf-16") else ["good"]
    assert [domain.name for domain in found.domains] == expected
    assert bool(found.problems) == (len(expected) == 1)


@pytest.mark.parametrize("raw", [b"\xff\xfea", b"\xfe\xff\xd8\x00", b"name: \xff\n", b"\x00\x01"])
def test_what_is_no_text_is_refused(raw: bytes, fleet: Callable[[bytes], Fleet]) -> None:
    found = fleet(raw)
    assert [domain.name for domain in found.domains] == ["good"]
    assert ": not YAML: " in found.problems[0]


@pytest.mark.parametrize("name", [b"\xff\xfe.yaml", b"new\nline.yaml", b"\xe2\x80\xae.yaml"])
def test_a_file_whose_name_cannot_be_printed_is_refused(name: bytes, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / os.fsdecode(name)).write_text(HEAD)
    found = load_fleet([str(tmp_path)], SETTINGS, strict=False)
    assert [domain.name for domain in found.domains] == ["good"]
    assert found.problems[0].endswith(".yaml': the name holds bytes that are not UTF-8 or not printable; rename it")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "\ud800", "nowhere/\n"])
def test_a_path_that_names_no_file_is_a_problem(path: str, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    found = load_fleet([str(tmp_path), path], SETTINGS, strict=False)
    assert [domain.name for domain in found.domains] == ["good"]
    assert len(found.problems) == 1


ODD: tuple[object, ...] = (
    None, "", [], {}, [[]], [["a"]], [None], [{}], {"a": None}, {"": ""}, {"a": {"a": []}}, True, False, 0, -1, 10**99,
    -(10**99), "x" * 5000, f"A/{'x' * 300}", "A/x/..", "\N{ARABIC-INDIC DIGIT THREE}G", "1e400", ".inf", "<<", "~",
    "a\nb", "9" * 5000, "9" * 400 + "T", 1.5, float("inf"), float("nan"), b"x", "#a", "a: b",
)  # fmt: skip
LISTS: dict[str, dict[str, object]] = {"disks": {"size": "1G"}, "cdroms": {}, "interfaces": {"network": "n"}}


def paths(model: type[Strict], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field."""
    for name, field in model.model_fields.items():
        here = (*above, field.alias or name)
        yield here
        for inner in _models(field.annotation):
            yield from paths(inner, here)


def _models(annotation: object) -> Iterator[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


def with_value(data: dict[str, object], path: tuple[str, ...], value: object) -> dict[str, object]:
    """Return the data with a value at a path."""
    holder = data
    for word in path[:-1]:
        inner: dict[str, object] = dict(LISTS.get(word, {}))
        holder[word] = [inner] if word in LISTS else inner
        holder = inner
    holder[path[-1]] = value
    return data


@pytest.mark.parametrize("model", [DomainSpec, FragmentSpec, SettingsFile])
def test_every_field_takes_any_value_or_refuses_it(model: type[Strict]) -> None:
    for path in paths(model):
        for value in ODD:
            base: dict[str, object] = (
                {} if model is SettingsFile else {"name": "s", "memory": "1G", "disks": [{"size": "1G"}]}
            )
            data = with_value(base, path, value)
            found, problems = check(model, YamlDocument(file="f", data=data, lines={}))
            assert found or problems, (path, value)


@pytest.mark.parametrize("path", [path for path in paths(DomainSpec) if len(path) == 1], ids=lambda path: path[0])
def test_a_field_left_empty_has_its_default_or_is_missed(
    path: tuple[str, ...], fleet: Callable[[bytes], Fleet]
) -> None:
    lines = [line for line in HEAD.splitlines() if not line.startswith((f"{path[0]}:", "  -"))]
    disks = "  - size: 1G\n" if path[0] != "disks" else ""
    text = "\n".join([*(line for line in lines if line != "disks:"), f"{path[0]}:"])
    text += "\ndisks:\n" + disks if disks else "\n"
    found = fleet(text.encode())
    needed = path[0] in ("name", "memory", "disks")
    assert [domain.name for domain in found.domains] == (["good"] if needed else ["good", "odd"]), found.problems
    assert bool(found.problems) == needed


def test_what_was_not_foreseen_in_loading_fails_its_spec_alone(
    fleet: Callable[[bytes], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = with_fragments

    def odd(document: YamlDocument, *rest: Any) -> object:
        if "odd.yaml" in document.file:
            raise LookupError(SECRET)
        return genuine(document, *rest)

    monkeypatch.setattr(loading, "with_fragments", odd)
    found = fleet(HEAD.encode())
    assert [domain.name for domain in found.domains] == ["good"]
    [failure] = found.failures
    assert "odd.yaml: loading specs: " in failure.text
    assert any(line.endswith(" in odd") for line in failure.trace)
    assert SECRET not in repr(failure)
    assert (found.exit_code, found.is_whole) == (ExitCode.BUG, False)


def test_what_was_not_foreseen_in_resolving_fails_its_spec_alone(
    fleet: Callable[[bytes], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = resolve_interfaces

    def odd(spec: DomainSpec) -> object:
        return genuine(spec) if spec.name == "good" else [][0]

    monkeypatch.setattr(resolving, "resolve_interfaces", odd)
    found = fleet(HEAD.encode() + b"vcpus: 0x\n")
    assert [domain.name for domain in found.domains] == ["good"]
    found = fleet(HEAD.encode())
    assert [domain.name for domain in found.domains] == ["good"]
    assert "odd.yaml:1: odd: resolving the spec: " in found.failures[0].text
    assert found.exit_code is ExitCode.BUG


def test_a_defect_is_the_exit_code_of_all_problems() -> None:
    error = SpecError("a", "b", defects=(DefectError("c", ("place",)),))
    assert (str(error), error.exit_code) == ("a\nb\nc", ExitCode.BUG)
    assert SpecError("a").exit_code is ExitCode.SPEC


DEFECT = """
import virtrbd.specs.load as loading
def odd(*_):
    raise LookupError("hunter2")
loading.with_fragments = odd
from virtrbd.__main__ import main
main()
"""


def test_a_defect_is_shown_with_a_trace_without_values(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(HEAD)
    words = [sys.executable, "-c", DEFECT, "validate", "s.yaml", "--output", "json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "s.yaml: loading specs: virtrbd cannot handle this (LookupError)" in done.stderr
    assert "trace: " in done.stderr
    assert SECRET not in done.stderr + done.stdout
    assert json.loads(done.stdout)["exit_code"] == 70
