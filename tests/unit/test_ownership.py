"""Who could change settings, specs and templates: what is refused, what is said, and what goes on."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from virtrbd.errors import ConfigError, SpecError
from virtrbd.model.settings import Settings
from virtrbd.specs.directory import load_fleet
from virtrbd.specs.files import folder_of, read_files
from virtrbd.specs.ownership import ownership_warnings
from virtrbd.specs.settings import load_settings

Run = Callable[..., CompletedProcess[str]]
SETTINGS = Settings(host="kvm-1")
SPEC = "name: {}\nmemory: 1G\ndisks:\n  - size: 1G\n"
# Each verb that reads settings, with nothing behind it to reach: what is refused is refused first.
VERBS = (["validate", "s.yaml"], ["define", "s.yaml"], ["plan"], ["apply"], ["reconcile"], ["list"])


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(SPEC.format(name))
    return folder


def names(paths: list[str], **how: bool) -> list[str]:
    return [domain.name for domain in load_fleet(paths, SETTINGS, strict=False, **how).domains]


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
def test_settings_that_others_may_write_are_78_with_the_command_that_mends_it(
    words: list[str], virtrbd: Run, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("host: kvm-1\n")
    file.chmod(0o666)
    done = virtrbd(*words)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        f"{file}: is writable by others (mode 0666), and a user who can change the settings decides what virtrbd does; "
        f"chmod go-w {file}\n"
    )


def test_settings_in_a_folder_that_others_may_write_are_refused(virtrbd: Run, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/v.yaml").write_text("host: kvm-1\n")
    (tmp_path / "etc").chmod(0o777)
    for how in (["--config", "etc/v.yaml"], ["--config", f"{tmp_path}/etc/v.yaml"]):
        done = virtrbd("validate", *how, "s.yaml")
        assert (done.returncode, f"chmod go-w {tmp_path}/etc\n" in done.stderr) == (78, True)
    done = virtrbd("validate", "s.yaml", env={"VIRTRBD_CONFIG": "etc/v.yaml"})
    assert done.returncode == 78


ODD_SETTINGS = """\
state_dir: "a\\0b"
spec_dir: "a\\0b"
template_dir: "/x\\ny"
textfile: "\\e[2J"
connect: "q\\0"
host: "a\\0"
ceph: {conf: "a\\0"}
ceph: {pool: "a\\0"}
ceph: {keyring: "a\\0"}
allowed_dirs: ["/a\\0"]
allowed_dirs: [srv]
allowed_dirs: [""]
ceph_configs: [a.conf]
keep_environment: ["A=B"]
keep_environment: CEPH_ARGS
"""


@pytest.mark.parametrize("line", ODD_SETTINGS.splitlines())
def test_names_that_no_file_has_are_78(line: str, tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text(f"{line}\n")
    with pytest.raises(ConfigError) as refused:
        load_settings(str(tmp_path / "v.yaml"))
    assert str(refused.value).startswith(f"{tmp_path}/v.yaml:1: {line.split(':')[0]}")


def test_a_settings_file_whose_name_is_not_utf8_is_78(virtrbd: Run, tmp_path: Path) -> None:
    name = os.fsdecode(b"v\xff.yaml")
    (tmp_path / name).write_text("host: kvm-1\n")
    done = virtrbd("validate", "--config", name, "s.yaml")
    assert (done.returncode, done.stdout) == (78, "")


def test_relative_folders_of_the_settings_are_meant_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the working directory: cron's is another one, and root's may be a stranger's."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/v.yaml").write_text("spec_dir: specs\ntemplate_dir: ./templates\nceph: {conf: ceph.conf}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("etc/v.yaml", str(tmp_path / "etc/v.yaml")):
        settings = load_settings(name)
        folder = f"{tmp_path}/etc"
        said = (settings.spec_dir, settings.template_dir, settings.ceph.conf, settings.ceph.keyring)
        assert said == (f"{folder}/specs", f"{folder}/./templates", f"{folder}/ceph.conf", "")


def test_a_spec_folder_that_others_may_write_is_refused_unwatched(specs: Path) -> None:
    assert names([str(specs)], is_owned=True) == ["a", "b"]
    for weak in (specs, specs.parent):
        weak.chmod(0o777)
        for paths in ([str(specs)], [f"{specs}/*.yaml"], [f"{specs}/a.yaml"]):
            with pytest.raises(ConfigError, match=f"chmod go-w {weak}$"):
                names(paths, is_owned=True)
        weak.chmod(0o755)


@pytest.mark.parametrize("verb", ["plan", "apply", "reconcile"])
def test_the_settings_spec_dir_is_refused_with_78(verb: str, virtrbd: Run, specs: Path) -> None:
    (specs.parent / "settings.yaml").write_text(f"host: h\nspec_dir: {specs}\nstate_dir: {specs.parent}/state\n")
    specs.chmod(0o775)
    done = virtrbd(verb)
    assert (done.returncode, f"chmod go-w {specs}" in done.stderr) == (78, True)


def test_one_file_that_others_may_write_holds_back_itself_alone(specs: Path) -> None:
    (specs / "b.yaml").chmod(0o646)
    fleet = load_fleet([str(specs)], SETTINGS, strict=False, is_owned=True)
    assert [domain.name for domain in fleet.domains] == ["a"]
    assert fleet.problems == (
        f"{specs}/b.yaml: is writable by others (mode 0646), who would decide what is done here; "
        f"chmod go-w {specs}/b.yaml",
    )
    assert names([str(specs)]) == ["a", "b"], "a person who names a folder means what is in it"


def test_profiles_that_others_may_write_hold_back_their_folder(specs: Path) -> None:
    (specs / "profiles.yaml").write_text("defaults: {vcpus: 2}\n")
    (specs / "profiles.yaml").chmod(0o666)
    fleet = load_fleet([str(specs)], SETTINGS, strict=False, is_owned=True)
    assert (fleet.domains, len(fleet.problems)) == ((), 1)


def test_a_person_who_names_such_a_file_is_warned(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (specs / "b.yaml").chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for path, fact in (("b.yaml", "is"), ("", f"{specs}/b.yaml is"), ("[bc]*", f"{specs}/b.yaml is")):
        [warning] = ownership_warnings([str(specs / path)], SETTINGS)
        assert warning.startswith(f"warning: {specs / path}: {fact} writable by others (mode 0666): ")
        assert warning.endswith(f"; chmod go-w {specs}/b.yaml")
    assert ownership_warnings([str(specs / "a.yaml")], SETTINGS) == ()


def test_templates_that_others_may_write_are_said_once(virtrbd: Run, specs: Path) -> None:
    templates = specs.parent / "templates"
    templates.mkdir()
    (templates / "a.xml.j2").write_text("")
    (specs.parent / "settings.yaml").write_text(f"host: h\ntemplate_dir: {templates}\n")
    assert virtrbd("validate", "specs").stderr == ""
    for weak in (templates, templates / "a.xml.j2"):
        before = weak.stat().st_mode
        weak.chmod(0o777)
        done = virtrbd("validate", "specs")
        assert done.returncode == 0
        [line] = done.stderr.splitlines()
        which = "" if weak == templates else f"{weak} "
        assert line.startswith(f"warning: {templates}: {which}is writable by others (mode 0777): ")
        weak.chmod(before)


def test_links_that_lead_out_of_the_spec_folder_are_refused_alone(specs: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.yaml").write_text(SPEC.format("c"))
    (specs / "c.yaml").symlink_to("../elsewhere/c.yaml")
    (specs / "within.yaml").symlink_to("b.yml.disabled")
    (specs / "b.yml.disabled").write_text(SPEC.format("d"))
    for paths in ([str(specs)], [f"{specs}/*.yaml"], [f"{specs}/**/*.yaml"]):
        fleet = load_fleet(paths, SETTINGS, strict=False)
        assert [domain.name for domain in fleet.domains] == ["a", "b", "d"], paths
        assert fleet.problems == (
            f"{specs}/c.yaml: leads to {tmp_path}/elsewhere/c.yaml, outside {specs} and the settings' allowed_dirs; "
            f"put the file there itself, or remove the link",
        )
    allowed = Settings(host="kvm-1", allowed_dirs=(str(tmp_path / "elsewhere"),))
    assert len(load_fleet([str(specs)], allowed, strict=True).domains) == 4
    assert names([str(specs / "c.yaml")]) == ["c"], "a file that a person names is meant as it is"


def test_a_folder_that_leads_outside_is_not_searched_by_a_pattern(specs: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.yaml").write_text(SPEC.format("c"))
    (specs / "sub").symlink_to("../elsewhere")
    for pattern in (f"{specs}/*/*.yaml", f"{specs}/sub*/c.yaml"):
        files = read_files([pattern])
        assert (files.specs, len(files.problems)) == ((), 1)


def test_profiles_that_lead_outside_are_refused(specs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: geheim\n")
    (specs / "profiles.yaml").symlink_to("../secret")
    for paths in ([str(specs)], [str(specs / "a.yaml")]):
        with pytest.raises(SpecError) as refused:
            load_fleet(paths, SETTINGS, strict=True)
        assert f"{specs}/profiles.yaml: leads to {tmp_path}/secret, outside" in str(refused.value)
        assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("name", [b"\xff.yaml", b"a\nb.yaml", b"a\x1b[2J.yaml", "a\u202eb.yaml".encode()])
def test_a_spec_whose_file_has_an_odd_name_holds_back_itself_alone(name: bytes, virtrbd: Run, specs: Path) -> None:
    odd = specs / os.fsdecode(name)
    odd.write_text(SPEC.format("odd"))
    fleet = load_fleet([str(specs)], SETTINGS, strict=False)
    assert [domain.name for domain in fleet.domains] == ["a", "b"]
    [problem] = fleet.problems
    assert problem.endswith("the name holds bytes that are not UTF-8 or not printable; rename it")
    for words in (["specs"], [os.fsdecode(b"specs/" + name), "--output", "json"]):
        done = virtrbd("validate", *words)
        assert (done.returncode, "Traceback" in done.stderr) == (65, False), done.stderr
        assert not done.stdout or json.loads(done.stdout)["exit_code"] == 65
    odd.rename(specs / "odd.yaml")
    assert names([str(specs)]) == ["a", "b", "odd"]


def test_a_nul_in_a_path_is_a_problem_of_that_path_alone(specs: Path) -> None:
    """Not from a command line, but a saved plan may hold one."""
    for odd in ("a\0b", "a\0*.yaml", f"{specs}/\0/*"):
        fleet = load_fleet([odd, str(specs)], SETTINGS, strict=False)
        assert [domain.name for domain in fleet.domains] == ["a", "b"]
        assert len(fleet.problems) == 1


def test_a_working_directory_that_is_gone_is_a_problem_and_no_bug(tmp_path: Path, specs: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    os.chdir(gone)
    try:
        gone.rmdir()
        assert names([str(specs)]) == ["a", "b"]
        fleet = load_fleet(["s.yaml", str(specs)], SETTINGS, strict=False)
        assert (len(fleet.domains), len(fleet.problems)) == (2, 1)
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    ("path", "folder"),
    [("x/*.yaml", "x"), ("*.yaml", "."), ("/x/*/y/*.yaml", "/x"), ("x/a.yaml", "x"), ("a.yaml", "."), ("/*", "/"),
     ("x/[ab]/**/c.yaml", "x")],
)  # fmt: skip
def test_the_folder_of_a_pattern_is_its_plain_beginning(path: str, folder: str) -> None:
    assert folder_of(path) == folder
