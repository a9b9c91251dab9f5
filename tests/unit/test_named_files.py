"""Files that a spec names: they lie where specs may read, whatever they are written like."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.sources import open_source

from virtrbd.engine.spec_files import seed_file
from virtrbd.errors import SpecError
from virtrbd.model.domain import Domain
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.desired import desired_domains
from virtrbd.trust import OutsideError

Run = Callable[..., CompletedProcess[str]]
SETTINGS = Settings(host="kvm-1")
DISK = "disks:\n  - size: 1G\n"
SECRET = "root:geheim:1"

FIELDS = {
    "import": "disks:\n  - import: {}\n",
    "user_data": DISK + "cloud_init:\n  user_data: {}\n",
    "meta_data": DISK + "cloud_init:\n  meta_data: {}\n",
    "network_config": DISK + "cloud_init:\n  network_config: {}\n",
}
every_field = pytest.mark.parametrize("field", FIELDS)


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    folder = tmp_path / "specs"
    (folder / "seeds").mkdir(parents=True)
    (folder / "seeds/web").write_text("#cloud-config\n")
    (folder / "link").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    return folder


def domain_of(specs: Path, text: str, settings: Settings = SETTINGS) -> Domain:
    (specs / "web.yaml").write_text(f"name: web\nmemory: 1G\n{text}")
    [domain] = desired_domains([str(specs)], settings)
    return domain


def named(domain: Domain) -> str:
    documents = domain.seed.documents.values() if domain.seed else ()
    return "".join([disk.import_file for disk in domain.disks] + [document.file for document in documents])


@every_field
def test_a_file_in_the_specs_own_folder_is_taken(field: str, specs: Path) -> None:
    assert named(domain_of(specs, FIELDS[field].format("seeds/web"))) == f"{specs}/seeds/web"
    assert named(domain_of(specs, FIELDS[field].format(specs / "seeds/web"))) == f"{specs}/seeds/web"


@every_field
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("/etc/shadow", "/etc"),
        ("../secret", "{parent}"),
        ("seeds/../../secret", "{parent}"),
        ("link", "{parent}"),
        ("up/secret", "{parent}"),
        ("up/not-there-yet", "{parent}"),
        ("/proc/self/environ", "/proc/"),
        ("/dev/sda", "/dev"),
    ],
)
def test_a_file_outside_is_refused_with_what_would_allow_it(field: str, name: str, folder: str, specs: Path) -> None:
    with pytest.raises(SpecError) as refused:
        domain_of(specs, FIELDS[field].format(name))
    [message] = refused.value.messages
    line = 4 if field == "import" else 6
    where = f"{specs}/web.yaml:{line}: {'disks[0].' if field == 'import' else 'cloud_init.'}{field}: "
    assert message.startswith(where + name)
    assert f"outside {specs}" in message
    folder = folder.format(parent=specs.parent)
    assert f"write `allowed_dirs: [{folder}" in message
    assert message.endswith("into /etc/virtrbd/virtrbd.yaml")
    assert SECRET not in message


@every_field
def test_an_allowed_folder_is_taken_also_by_a_link(field: str, specs: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, allowed_dirs=(str(tmp_path),))
    for name in ("../secret", "link", "up/secret", str(tmp_path / "secret")):
        assert named(domain_of(specs, FIELDS[field].format(name), settings))
    with pytest.raises(SpecError, match=rf"write `allowed_dirs: \[{tmp_path}, /etc\]` into"):
        domain_of(specs, FIELDS[field].format("/etc/shadow"), settings)


@every_field
def test_the_line_to_write_is_yaml_whatever_the_folder_is_called(field: str, specs: Path, tmp_path: Path) -> None:
    (tmp_path / "a, b").mkdir()
    (tmp_path / "a, b/x").write_text("x")
    with pytest.raises(SpecError, match=rf'write `allowed_dirs: \["{tmp_path}/a, b"\]` into'):
        domain_of(specs, FIELDS[field].format("'../a, b/x'"))


@every_field
def test_what_the_settings_name_is_roots_word(field: str, specs: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    text = FIELDS[field].removeprefix(DISK).replace("disks:\n  - ", "disk:\n  ").format("../secret")
    raw = "defaults:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    settings = replace(SETTINGS, file=str(tmp_path / "etc/virtrbd.yaml"), raw=raw.encode())
    spec = "disks:\n  - {}\n" if field == "import" else DISK
    assert named(domain_of(specs, spec, settings)) == f"{tmp_path}/etc/../secret"
    with pytest.raises(SpecError, match="outside"):
        domain_of(specs, FIELDS[field].format("../secret"), settings)


@every_field
def test_profiles_beside_the_specs_are_no_more_than_specs(field: str, specs: Path) -> None:
    text = FIELDS[field].removeprefix(DISK).replace("disks:\n  - ", "disk:\n  ").format("../secret")
    (specs / "profiles.yaml").write_text("defaults:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    with pytest.raises(SpecError, match=rf"{specs}/profiles.yaml:3: .*{field}: ../secret leads to|is outside"):
        domain_of(specs, "disks:\n  - {}\n" if field == "import" else DISK)


@every_field
@pytest.mark.parametrize("name", ['"a\\0b"', '"a\\eb"', '"a\\u202Eb"', '"\\x85"'])
def test_a_name_that_cant_be_printed_is_a_problem_of_its_spec(field: str, name: str, specs: Path) -> None:
    with pytest.raises(SpecError) as refused:
        domain_of(specs, FIELDS[field].format(name))
    assert all(message.startswith(f"{specs}/web.yaml:") for message in refused.value.messages)


@every_field
def test_a_name_that_is_too_long_is_a_problem_of_its_domain(field: str, specs: Path) -> None:
    domain = domain_of(specs, FIELDS[field].format("x" * 5000))
    for document in domain.seed.documents.values() if domain.seed else ():
        assert seed_file(document).problem == "File name too long"


@every_field
def test_a_link_that_is_changed_after_the_check_is_not_followed(field: str, specs: Path) -> None:
    """A spec that was checked is remembered, what its files are is looked at in every run."""
    text = FIELDS[field].format("seeds/web")
    domain_of(specs, text)
    (specs / "seeds/web").unlink()
    (specs / "seeds/web").symlink_to("../../secret")
    # The whole check finds it too; what is remembered is what was right once.
    domain = domain_of(specs, text)
    if field == "import":
        leads_out = pytest.raises(OutsideError, match=f"leads to {specs.parent}/secret, outside")
        with leads_out, open_source(domain.disks[0].import_file, beneath=domain.disks[0].import_beneath):
            pass
        return
    assert domain.seed is not None
    [document] = domain.seed.documents.values()
    found = seed_file(document)
    assert (found.raw, found.problem.split(",")[0]) == (b"", f"leads to {specs.parent}/secret")


def test_a_spec_folder_that_is_a_link_may_lead_elsewhere_later(specs: Path, tmp_path: Path) -> None:
    """As tools that deploy from git do it: a new folder, then the link is turned."""
    (tmp_path / "now").symlink_to("specs")
    (specs / "web.yaml").write_text(f"name: web\nmemory: 1G\n{FIELDS['user_data'].format('seeds/web')}")
    [before] = desired_domains([str(tmp_path / "now")], SETTINGS)
    specs.rename(tmp_path / "next")
    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to("next")
    [after] = desired_domains([str(tmp_path / "now")], SETTINGS)
    assert after == before
    assert after.seed is not None
    assert after.seed.user_data is not None
    assert seed_file(after.seed.user_data).raw == b"#cloud-config\n"


CONFIG = "disks:\n  - {{size: 1G, ceph_config: {}}}\n"


def test_a_ceph_config_is_one_of_the_settings(specs: Path) -> None:
    settings = replace(SETTINGS, ceph_configs=("/etc/ceph/a.conf",))
    assert domain_of(specs, CONFIG.format("/etc/ceph/a.conf"), settings).disks[0].ceph_config == "/etc/ceph/a.conf"
    for path in (f"{specs}/seeds/web", "/etc/ceph/../ceph/a.conf", "/etc/ceph//a.conf"):
        with pytest.raises(SpecError) as refused:
            domain_of(specs, CONFIG.format(path), settings)
        assert str(refused.value) == (
            f"{specs}/web.yaml:4: disks[0].ceph_config: {path} is not in the settings' ceph_configs; it can make QEMU "
            f"run code: write `ceph_configs: [/etc/ceph/a.conf, {path}]` into /etc/virtrbd/virtrbd.yaml"
        )


def test_a_ceph_config_in_the_settings_defaults_needs_no_list(specs: Path) -> None:
    settings = replace(SETTINGS, file="/etc/virtrbd/v.yaml", raw=b"defaults: {disk: {ceph_config: /etc/ceph/b.conf}}\n")
    assert domain_of(specs, DISK, settings).disks[0].ceph_config == "/etc/ceph/b.conf"
    (specs / "profiles.yaml").write_text("defaults: {disk: {ceph_config: /etc/ceph/c.conf}}\n")
    with pytest.raises(SpecError, match=r"profiles.yaml:1: disks\[0\].ceph_config: /etc/ceph/c.conf is not in"):
        domain_of(specs, DISK, settings)


def test_validate_says_it_with_65(specs: Path, virtrbd: Run) -> None:
    (specs / "web.yaml").write_text(f"name: web\nmemory: 1G\n{FIELDS['network_config'].format('/etc/shadow')}")
    done = virtrbd("validate", "specs/web.yaml")
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr == (
        f"specs/web.yaml:6: cloud_init.network_config: /etc/shadow is outside {specs}; put it there, or let specs read "
        f"all of its folder: write `allowed_dirs: [/etc]` into {specs.parent}/settings.yaml\n"
    )
