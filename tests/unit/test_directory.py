"""A directory of specs of which some are broken: those hold back only themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from virtrbd.errors import SpecError
from virtrbd.model.settings import Settings
from virtrbd.specs.directory import Fleet, load_fleet

SETTINGS = Settings(host="kvm-1")
Load = Callable[..., Fleet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def run(files: dict[str, str], *, strict: bool = False) -> Fleet:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        folders = sorted({str((tmp_path / name).parent) for name in files})
        return load_fleet(folders, SETTINGS, strict=strict)

    return run


def spec(name: str, more: str = "") -> str:
    return f"name: {name}\nmemory: 1G\ndisks:\n  - size: 1G\n{more}"


def names(fleet: Fleet) -> list[str]:
    return [domain.name for domain in fleet.domains]


def test_good_files_are_all_there(load: Load) -> None:
    fleet = load({"a.yaml": spec("a"), "b.yaml": spec("b")})
    assert (names(fleet), fleet.problems) == (["a", "b"], ())


@pytest.mark.parametrize(
    "broken", ["name: [", "", spec("b", "discrad: 1\n"), spec("b") + "---\n" + spec("c", "x: 1\n")]
)
def test_one_broken_file_holds_back_only_its_own_domains(load: Load, broken: str) -> None:
    fleet = load({"a.yaml": spec("a"), "b.yaml": broken})
    assert names(fleet) == ["a"]
    assert fleet.problems
    assert all("b.yaml:" in problem for problem in fleet.problems)


def test_strict_holds_back_everything(load: Load) -> None:
    with pytest.raises(SpecError, match="unknown field"):
        load({"a.yaml": spec("a"), "b.yaml": spec("b", "discrad: 1\n")}, strict=True)


@pytest.mark.parametrize(
    "clash",
    ["uuid: 11111111-1111-1111-1111-111111111111\n", "interfaces:\n  - {bridge: br0, mac: '52:54:00:00:00:01'}\n"],
    ids=["uuid", "mac"],
)
def test_files_that_clash_hold_back_each_other(load: Load, clash: str) -> None:
    fleet = load({"a.yaml": spec("a", clash), "b.yaml": spec("b", clash), "c.yaml": spec("c")})
    assert names(fleet) == ["c"]
    assert "is already used in" in fleet.problems[0]


def test_two_files_of_one_name_hold_back_both(load: Load) -> None:
    assert names(load({"a.yaml": spec("a"), "b.yaml": spec("a"), "c.yaml": spec("c")})) == ["c"]


def test_profiles_that_are_broken_hold_back_their_own_folder(load: Load) -> None:
    fleet = load({"one/a.yaml": spec("a"), "two/b.yaml": spec("b"), "two/profiles.yaml": "profiles: 7\n"})
    assert names(fleet) == ["a"]
    assert "two/profiles.yaml" in fleet.problems[0]


def test_profiles_that_cant_be_read_do_not_make_another_domain(load: Load, tmp_path: Path) -> None:
    """Without its defaults the spec would mean something else, and a run would bring that about."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two/profiles.yaml").symlink_to("nowhere")
    fleet = load({"one/a.yaml": spec("a"), "two/b.yaml": spec("b")})
    assert names(fleet) == ["a"]
    assert "two/profiles.yaml: No such file or directory" in fleet.problems[0]
    with pytest.raises(SpecError):
        load({"two/b.yaml": spec("b")}, strict=True)


def test_what_editors_and_macs_hide_in_a_directory_is_no_spec(load: Load) -> None:
    hidden = {".#a.yaml": "root@kvm-1:17", "._a.yaml": "\0\5", ".a.yaml": spec("z"), "a.yaml~": "x", "#a.yaml#": "x"}
    fleet = load({"a.yaml": spec("a"), **hidden})
    assert (names(fleet), fleet.problems) == (["a"], ())


def test_a_directory_without_specs_is_a_problem(tmp_path: Path) -> None:
    fleet = load_fleet([str(tmp_path)], SETTINGS, strict=False)
    assert (fleet.domains, len(fleet.problems)) == ((), 1)
