"""What a spec may say: every valid example, every refusal, and the JSON Schema that says the same."""

import json
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from virtrbd.errors import SpecError
from virtrbd.model.disk import Bus
from virtrbd.model.domain import Domain
from virtrbd.model.machine import Cpu
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.checked import Strict, check
from virtrbd.specs.document import YamlDocument
from virtrbd.specs.json_schema import spec_schema
from virtrbd.specs.load import load
from virtrbd.specs.resolve import resolve
from virtrbd.specs.schema import FragmentSpec
from virtrbd.specs.settings_schema import SettingsFile
from virtrbd.specs.starting import starting_spec

VALID = sorted((Path(__file__).parent.parent / "specs/valid").glob("*.yaml"))
INVALID = sorted((Path(__file__).parent.parent / "specs/invalid").glob("*.yaml"))
SETTINGS = Settings(host="kvm-1", ceph_configs=("/etc/ceph/guests.conf",))


def domains_of(file: Path) -> tuple[Domain, ...]:
    return resolve(load([str(file)], SETTINGS), SETTINGS)


def domain_of(folder: Path, rest: str) -> Domain:
    """The domain of a spec without disks in `rest` or with; memory and name are given."""
    disks = "" if "disks:" in rest else "disks:\n  - size: 1G\n"
    file = folder / "s.yaml"
    file.write_text(f"name: s\nmemory: 1G\n{rest}{disks}")
    [domain] = domains_of(file)
    return domain


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_valid_specs_are_valid_and_the_json_schema_agrees(file: Path) -> None:
    assert domains_of(file)
    for document in yaml.safe_load_all(file.read_text()):
        jsonschema.validate(document, spec_schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("text", [
    "name: x\nmemory: 1G\ndisks: []\n", "name: x\nmemory: 1G\ndisks: [{siez: 1G}]\n", "name: x\ndisks: [{size: 1G}]\n",
    "name: x\nmemory: 1G\ndisks: [{size: 1G, bus: nvme}]\n", "name: x\nmemory: 1G\nvcpus: 0\ndisks: [{size: 1G}]\n",
    "name: x\nmemory: 1G\ngraphics: sdl\ndisks: [{size: 1G}]\n",
])  # fmt: skip
def test_the_json_schema_refuses_what_the_spec_refuses(text: str, tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), spec_schema())
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SpecError):
        domains_of(tmp_path / "s.yaml")


def test_every_field_of_domains_disks_and_interfaces_is_documented() -> None:
    reference = (Path(__file__).parent.parent.parent / "docs/spec.md").read_text()
    schema: dict[str, Any] = spec_schema()
    for name, model in {"DomainSpec": schema, **schema["$defs"]}.items():
        for field in model.get("properties", {}):
            assert re.search(rf"`([a-z_]+\.)?{field}`", reference), f"{name}.{field} is not in docs/spec.md"


def test_the_starting_spec_is_valid_as_it_stands_and_with_every_comment_taken_up(tmp_path: Path) -> None:
    text = starting_spec("web-9", "vms")
    (tmp_path / "a.yaml").write_text(text)
    assert domains_of(tmp_path / "a.yaml")[0].name == "web-9"
    full = re.sub(r"^( *)# ?( *-|[a-z_]+:)", r"\1\2", text, flags=re.MULTILINE).replace("uses: [small]", "")
    full = re.sub(r"^ +import:.*\n", "", full, flags=re.MULTILINE)
    (tmp_path / "a.yaml").write_text(full)
    [domain] = domains_of(tmp_path / "a.yaml")
    assert (domain.autostart, len(domain.disks), domain.watchdog is not None) == (True, 2, True)


def test_a_short_form_says_the_same_as_the_mapping(tmp_path: Path) -> None:
    pairs = [
        ("cpu: host-passthrough", "cpu: {mode: host-passthrough}"), ("cpu: EPYC", "cpu: {mode: custom, model: EPYC}"),
        ("firmware: uefi", "firmware: {type: uefi}"), ("graphics: vnc", "graphics: {type: vnc}"),
        ("disks: [{size: 1G, detect_zeroes: on}]", "disks: [{size: 1G, detect_zeroes: 'on'}]"),
        ("silence: cache-none", "silence: [cache-none]"),
        ("tpm: true", "tpm: {version: '2.0'}"), ("watchdog: ib700", "watchdog: {model: ib700, action: reset}"),
        ("vsock: auto", "vsock: true"), ("uses: []", ""), ("graphics: none", ""), ("tpm: false", ""),
        ("interfaces: [{bridge: b, vlan: 3, filterref: f}]",
         "interfaces: [{bridge: b, vlan: [3], filterref: {name: f}}]"),
    ]  # fmt: skip
    for short, long in pairs:
        one, other = domain_of(tmp_path, f"{short}\n"), domain_of(tmp_path, f"{long}\n")
        assert one == other or (one.digest != other.digest and strip(one) == strip(other)), short


def strip(domain: Domain) -> Domain:
    return replace(domain, digest="")


def test_without_a_word_a_kvm_guest_gets_the_hosts_model_and_a_tcg_guest_libvirts_choice(tmp_path: Path) -> None:
    assert domain_of(tmp_path, "").cpu == Cpu(mode="host-model")
    assert domain_of(tmp_path, "hypervisor: qemu\n").cpu is None


def test_drives_share_targets_boot_orders_and_the_ide_controller(tmp_path: Path) -> None:
    domain = domain_of(tmp_path, "disks:\n  - {bus: sata, size: 1G}\ncdroms:\n  - {}\n")
    assert ([disk.target for disk in domain.disks], [drive.target for drive in domain.cdroms]) == (["sda"], ["sdb"])
    domain = domain_of(tmp_path, "disks:\n  - {bus: ide, size: 1G}\ncdroms:\n  - {}\n")
    assert (domain.cdroms[0].bus, domain.cdroms[0].target) == (Bus.IDE, "hdb")


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_what_no_hypervisor_takes_is_refused_with_the_reason(file: Path) -> None:
    """The file's first line is the beginning of what is said of it."""
    with pytest.raises(SpecError) as caught:
        domains_of(file)
    [line] = str(caught.value).splitlines()
    assert line.partition(": ")[2].startswith(file.read_text().splitlines()[0].removeprefix("# ")), line


def test_hugepages_of_the_hosts_size_or_one_stated(tmp_path: Path) -> None:
    found = [
        domain_of(tmp_path, text).hugepages_bytes
        for text in ("", "hugepages: false\n", "hugepages: true\n", "hugepages: 1G\n")
    ]
    assert found == [None, None, 0, 1024**3]


def test_a_pattern_and_a_folder_name_the_same_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nmemory: 1G\ndisks: [{{size: 1G}}]\n")
    (tmp_path / "profiles.yaml").write_text("defaults: {vcpus: 3}\n")
    by_folder = resolve(load([str(tmp_path)], SETTINGS), SETTINGS)
    assert resolve(load([str(tmp_path / "*.yaml")], SETTINGS), SETTINGS) == by_folder
    assert [domain.vcpus for domain in by_folder] == [3, 3]
    with pytest.raises(SpecError, match="no spec files"):
        load([str(tmp_path / "x*.yaml")], SETTINGS)


def test_the_schema_is_json_and_describes_what_people_write() -> None:
    schema = json.loads(json.dumps(spec_schema()))
    assert schema["properties"]["disks"]["items"] == {"$ref": "#/$defs/DiskSpec"}
    assert "import" in schema["$defs"]["DiskSpec"]["properties"]
    assert schema["properties"]["graphics"]["anyOf"][1]["enum"] == ["none", "vnc", "spice"]
    assert "anyOf" not in schema["$defs"]["DiskSpec"]["properties"]["size"]


def test_an_empty_file_is_no_spec_in_sync(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("# nothing yet\n")
    with pytest.raises(SpecError, match=r"s\.yaml:1: no domain in it"):
        domains_of(tmp_path / "s.yaml")


def test_only_regular_files_are_read_and_not_without_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_bytes(b"x" * (1024**2 + 1))
    for name, reason in (("pipe", "not a regular file"), ("large", "larger than 1 MiB")):
        with pytest.raises(SpecError, match=reason):
            domains_of(tmp_path / f"{name}.yaml")


def models_in(annotation: object) -> Iterator[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for inner in typing.get_args(annotation):
        yield from models_in(inner)


@pytest.mark.parametrize("model", [*dict.fromkeys((*models_in(FragmentSpec), *models_in(SettingsFile)))])
def test_null_is_taken_by_every_field_that_has_a_default(model: type[Strict]) -> None:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    document = YamlDocument(file="x", data=dict.fromkeys(fields), lines={})
    _, problems = check(model, document)
    missing = {problem.split(": ")[1] for problem in problems if "missing; it has no default" in problem}
    assert missing == {name for name, field in fields.items() if field.is_required()}
    others = [problem for problem in problems if "missing" not in problem]
    assert all(other.startswith("x:1: ") and "write" in other for other in others), others
