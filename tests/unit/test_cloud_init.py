"""Cloud-init seeds: how they are written down, what becomes of them, and that nothing of them is ever told."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pycdlib import PyCdlib
from support.strategies import EMPTY, HERE, HOST_UUID, SOMEBODY, USER_DATA, WEB, done, seed_drive

from virtrbd.domainxml.document import LiveDocument
from virtrbd.errors import SpecError
from virtrbd.images.seed_iso import seed_iso
from virtrbd.model.disk import Bus
from virtrbd.model.domain import Domain
from virtrbd.model.image import Image, ImageMark, ImageRef
from virtrbd.model.image_actions import WriteSeed
from virtrbd.model.plan import DomainPlan
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.model.seed import SEED_BYTES, Seed, SeedDocument, SeedFile, seed_digest
from virtrbd.model.settings import Settings
from virtrbd.planning.plan import make_plan
from virtrbd.planning.world import World
from virtrbd.specs.load import load
from virtrbd.specs.resolve import resolve

Run = Callable[..., CompletedProcess[str]]
SETTINGS = Settings(host="kvm-1")
SEED = ImageRef(pool="vms", name="web.seed")
DISK = "disks:\n  - size: 1G\n"


def resolved(tmp_path: Path, rest: str) -> Domain:
    (tmp_path / "s.yaml").write_text(f"name: web-01\nmemory: 1G\n{rest}")
    [domain] = resolve(load([str(tmp_path / "s.yaml")], SETTINGS), SETTINGS)
    return domain


def user_data(tmp_path: Path, text: str) -> SeedDocument:
    seed = resolved(tmp_path, f"{DISK}cloud_init:\n  user_data: {text}\n").seed
    assert seed is not None
    assert seed.user_data is not None
    return seed.user_data


def test_true_is_a_seed_with_the_domains_identity_only(tmp_path: Path) -> None:
    domain = resolved(tmp_path, f"{DISK}cloud_init: true\n")
    assert domain.seed == Seed(image=ImageRef(pool="vms", name="web-01.seed"), where=f"{tmp_path}/s.yaml:5")
    [drive] = domain.cdroms
    assert (drive.target, drive.bus, drive.image, drive.is_seed) == ("sdg", Bus.SCSI, domain.seed.image, True)
    assert resolved(tmp_path, f"{DISK}cloud_init: {{}}\n") == replace(
        domain, digest=resolved(tmp_path, f"{DISK}cloud_init: {{}}\n").digest
    )
    assert resolved(tmp_path, f"{DISK}cloud_init: false\n").seed is None


def test_a_mapping_is_user_data_in_yaml(tmp_path: Path) -> None:
    document = user_data(tmp_path, "{hostname: web, runcmd: [[ls, -l]], weight: 1.5, mac: 52:54:00:12:34:56}")
    head, _, rest = document.text.partition("\n")
    assert head == "#cloud-config"
    said = {"hostname": "web", "runcmd": [["ls", "-l"]], "weight": 1.5, "mac": "52:54:00:12:34:56"}
    assert yaml.safe_load(rest) == said


def test_bytes_stay_bytes_and_a_mode_stays_as_it_was_written(tmp_path: Path) -> None:
    document = user_data(tmp_path, "{write_files: [{content: !!binary aGVsbG8=, permissions: 0644}]}")
    assert yaml.safe_load(document.text) == {"write_files": [{"content": b"hello", "permissions": "0644"}]}


@pytest.mark.parametrize("text", ["#!/bin/sh\nreboot\n", "#include https://example.org/u", "Content-Type: x\n\ny\n"])
def test_a_text_goes_on_as_it_is(text: str, tmp_path: Path) -> None:
    assert user_data(tmp_path, yaml.safe_dump(text).removesuffix("...\n").replace("\n", "\n   ")).text == text


def test_anything_else_is_a_file_from_where_it_is_written(tmp_path: Path) -> None:
    document = user_data(tmp_path, "seeds/web.yaml")
    assert (document.text, document.file) == ("", f"{tmp_path}/seeds/web.yaml")
    assert user_data(tmp_path, f"{tmp_path}/seed").file == f"{tmp_path}/seed"
    (tmp_path / "profiles").mkdir()
    settings_file = tmp_path / "profiles" / "virtrbd.yaml"
    raw = b"profiles:\n  base: {cloud_init: {user_data: base.yaml, meta_data: {a: b}}}\n"
    settings = replace(SETTINGS, file=str(settings_file), raw=raw)
    (tmp_path / "s.yaml").write_text(f"name: w\nmemory: 1G\nuses: base\n{DISK}cloud_init: {{meta_data: {{c: d}}}}\n")
    [domain] = resolve(load([str(tmp_path / "s.yaml")], settings), settings)
    assert domain.seed is not None
    file = f"{tmp_path}/profiles/base.yaml"
    assert domain.seed.user_data == SeedDocument(file=file, beneath=("/",), where=f"{settings_file}:2")
    assert domain.seed.meta_data is not None
    assert domain.seed.meta_data.text == "a: b\nc: d\n", "mappings merge key by key"


@pytest.mark.parametrize(
    ("rest", "targets"),
    [
        ("disks: [{size: 1G, bus: scsi}]\ncloud_init: true\n", ["sdg"]),
        ("disks: [{size: 1G, bus: scsi, target: sdg}]\ncloud_init: true\n", ["sda"]),
        ("disks: [{size: 1G}]\ncdroms: [{}]\ncloud_init: {bus: sata}\n", ["sda", "sdf"]),
        ("disks: [{size: 1G}]\ncloud_init: {bus: ide}\n", ["hda"]),
        ("disks: [{size: 1G}]\ncloud_init: {target: sdc}\n", ["sdc"]),
    ],
)
def test_the_drive_leaves_the_first_targets_to_disks(rest: str, targets: list[str], tmp_path: Path) -> None:
    assert [drive.target for drive in resolved(tmp_path, rest).cdroms] == targets


SECRET = "geheim"
REFUSED = {
    "a list": (f"{{user_data: [{SECRET}]}}", "s.yaml:5: cloud_init.user_data: write a mapping, a text in several"),
    "a number": ("{user_data: 5}", "s.yaml:5: cloud_init.user_data: write a mapping, a text in several"),
    "one line of YAML": (f"{{user_data: 'password: {SECRET}'}}", "s.yaml:5: cloud_init.user_data: neither a path nor"),
    "nothing": ("{user_data: ''}", "s.yaml:5: cloud_init.user_data: neither a path nor"),
    "a text": (f"{SECRET}", "s.yaml:5: cloud_init: write true, or a mapping of user_data"),
    "a hyphen": (
        f"{{user-data: {SECRET}}}",
        "s.yaml:5: cloud_init.user-data: unknown field; did you mean `user_data`?",
    ),
    "an image": ("{image: vms/x}", "s.yaml:5: cloud_init.image: it is <pool>/<domain>.seed, which virtrbd rewrites"),
    "a tag": (
        f"{{user_data: {{a: !vault {SECRET}}}}}",
        "s.yaml:5: cloud_init.user_data.a: the tag !vault does not fit",
    ),
    "a merge": (f"{{user_data: {{a: &a {{b: {SECRET}}}, <<: *a}}}}", "s.yaml:5: cloud_init.user_data: `<<` is not"),
    "virtio": ("{bus: virtio}", "s.yaml:5: cloud_init.bus: 'virtio' is not known"),
    "another bus's target": ("{target: vda}", "s.yaml:5: cloud_init.target: target vda does not fit bus scsi"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named_and_never_repeated(name: str, virtrbd: Run, tmp_path: Path) -> None:
    text, message = REFUSED[name]
    (tmp_path / "s.yaml").write_text(f"name: w\nmemory: 1G\n{DISK}cloud_init: {text}\n")
    done = virtrbd("validate", "s.yaml")
    assert done.returncode == 65
    assert done.stderr.startswith(message)
    assert SECRET not in done.stderr


def test_an_image_of_another_domain_is_no_seed(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        f"name: a\nmemory: 1G\n{DISK}cloud_init: true\n---\nname: b\nmemory: 1G\n"
        "disks:\n  - {size: 1G, image: vms/a.seed}\n"
    )
    with pytest.raises(SpecError, match=r"s\.yaml:9: disks: image vms/a\.seed is already used in"):
        resolve(load([str(tmp_path / "s.yaml")], SETTINGS), SETTINGS)


def test_explain_tells_where_a_document_is_and_not_what_it_says(virtrbd: Run, tmp_path: Path) -> None:
    seed = f"cloud_init:\n  user_data: {{password: {SECRET}}}\n  network_config: net.yaml\n"
    (tmp_path / "s.yaml").write_text(f"name: w\nmemory: 1G\n{DISK}{seed}")
    said = virtrbd("render", "--explain", "--for", "libvirt=9.0,qemu=7.2", "s.yaml").stdout
    lines = [line.split() for line in said.splitlines()]
    assert ["cloud_init.user_data", "inline,", "31", "bytes", "s.yaml:6"] in lines
    assert ["cloud_init.network_config", f"{tmp_path}/net.yaml", "s.yaml:7"] in lines
    assert ["cloud_init.image", "vms/w.seed", "default:", "<pool", "of", "the", "settings>/<domain>.seed"] in lines
    assert SECRET not in said + virtrbd("render", "--for", "libvirt=9.0,qemu=7.2", "s.yaml").stdout


# The planner.

SEEDED = replace(
    WEB,
    seed=Seed(image=ImageRef(pool="vms", name="web.seed"), user_data=SeedDocument(file=USER_DATA, where="web.yaml:9")),
    cdroms=(seed_drive("web"),),
)


def planned(domain: Domain, actual: World) -> DomainPlan:
    [plan] = make_plan([domain], actual, HERE).domains
    return plan


def writes(domain: Domain, actual: World) -> list[WriteSeed]:
    return [action for action in planned(domain, actual).actions if isinstance(action, WriteSeed)]


def with_file(actual: World, file: SeedFile) -> World:
    return replace(actual, seed_files={USER_DATA: file})


def test_a_new_domain_gets_a_seed_with_its_identity_and_its_user_data() -> None:
    [write] = writes(SEEDED, EMPTY)
    assert write.text == "make cloud-init seed vms/web.seed (meta-data, user-data)"
    identity = f"instance-id: {WEB.uuid}\nlocal-hostname: web\n".encode()
    assert write.documents == (("meta-data", identity), ("user-data", b"#cloud-config\n"))


def test_what_a_person_says_of_the_domain_is_laid_over_what_it_is() -> None:
    meta_data = SeedDocument(text="local-hostname: www\nrole: front\n")
    domain = replace(SEEDED, seed=Seed(image=SEED, meta_data=meta_data))
    [write] = writes(domain, EMPTY)
    laid = f"instance-id: {WEB.uuid}\nlocal-hostname: www\nrole: front\n".encode()
    assert dict(write.documents) == {"meta-data": laid, "user-data": b""}


def test_a_file_that_changes_is_written_and_then_there_is_nothing_to_do() -> None:
    world = done([SEEDED], EMPTY)
    assert writes(SEEDED, world) == []
    changed = with_file(world, SeedFile(raw=b"#cloud-config\n# more\n"))
    [write] = writes(SEEDED, changed)
    assert write.text == "rewrite cloud-init seed vms/web.seed (meta-data, user-data)"
    [defined] = changed.domains
    running = replace(
        changed, domains=(replace(defined, state=PowerState.RUNNING, live=LiveDocument(defined.definition.text)),)
    )
    assert writes(SEEDED, running)[0].text == f"{write.text}; the guest reads it at its next boot"
    assert planned(SEEDED, done([SEEDED], changed)).actions == ()


def test_a_copy_that_inherited_the_digest_is_written_all_the_same() -> None:
    from virtrbd.ceph.metadata import seed_of, seed_value  # the room needs Ceph's bindings only to talk to it

    value = {"virtrbd.seed": seed_value("d1", "source")}
    assert (seed_of(value, "source"), seed_of(value, "copy"), seed_of({}, "source")) == ("d1", "", "")


@pytest.mark.parametrize(
    ("raw", "is_known"),
    [
        (b"users: [default]\n", False), (b"<powershell>\n", True), (b"\n#!/bin/sh\n", True), (b"\x1f\x8b\x08", True),
        (b"Content-Type: multipart/mixed\nMIME-Version: 1.0\n", True), (b"", True), (b"#ps1_sysnative\n", True),
        (b"# ours\nusers: []\n", False), (b"## template: jinja\n", True),
    ],
)  # fmt: skip
def test_user_data_that_no_cloud_init_knows_is_refused(raw: bytes, is_known: bool) -> None:
    """YAML without its first line is the usual slip, and only the guest's own log would tell."""
    told = f"{USER_DATA}: does not begin with a #cloud-config or #! line, so cloud-init would ignore it; add one"
    problems = planned(SEEDED, with_file(EMPTY, SeedFile(raw=raw))).problems
    assert problems == (() if is_known else (f"web.yaml:9: cloud_init.user_data: {told}",))


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (SeedFile(problem="No such file or directory"), f"{USER_DATA}: No such file or directory; check the path"),
        (SeedFile(raw=b"#!".ljust(1024**2 + 1)), "larger than 1 MiB; let the guest fetch the rest (#include)"),
    ],
)
def test_a_file_that_cant_be_used_holds_back_its_domain(file: SeedFile, problem: str) -> None:
    plan = planned(SEEDED, with_file(EMPTY, file))
    assert plan.problems == (f"web.yaml:9: cloud_init.user_data: {problem}",)
    assert plan.actions == ()


@pytest.mark.parametrize("text", [f"- {SECRET}\n", f"a: [{SECRET}\n", f"{SECRET}: {SECRET}: 1\n"])
def test_meta_data_that_is_no_mapping_is_refused_without_repeating_it(text: str) -> None:
    meta_data = SeedDocument(text=text, where="web.yaml:9")
    [problem] = planned(replace(SEEDED, seed=Seed(image=SEED, meta_data=meta_data)), EMPTY).problems
    assert re.match(r"web.yaml:9: cloud_init.meta_data: (line \d: )?not ", problem)
    assert SECRET not in problem


def image(**facts: Any) -> Image:
    return replace(Image(ref=SEED, image_id="i", size_bytes=SEED_BYTES, created_at=0), **facts)


def in_place(found: Image) -> World:
    return replace(EMPTY, images={**EMPTY.images, found.ref: found})


def test_whoever_takes_over_an_image_for_a_seed_allows_that_its_content_goes() -> None:
    foreign = ImageMark(domain_uuid=SOMEBODY, image_id="i", host=HOST_UUID)
    for mark in (None, foreign):
        [taken] = [a for a in planned(SEEDED, in_place(image(mark=mark))).actions if a.hazards]
        assert taken.hazards == ("takes-over", "loses-data")
    moved = ImageMark(domain_uuid=WEB.uuid, image_id="i", host="elsewhere")
    [taken] = [a for a in planned(SEEDED, in_place(image(mark=moved))).actions if a.hazards]
    assert taken.hazards == ("takes-over",), "its own seed, which moves with it"


@pytest.mark.parametrize(
    "facts",
    [{"size_bytes": 1024**2}, {"object_bytes": 1024**2}, {"parent": ImageRef(pool="p", name="i", snapshot="s")}],
)
def test_an_image_that_no_seed_fits_into_is_left_alone(facts: dict[str, object]) -> None:
    [problem] = planned(SEEDED, in_place(image(**facts))).problems
    assert "image vms/web.seed cannot hold a seed (it needs 4 MiB in one object, not a clone)" in problem


def test_nothing_that_may_be_secret_is_in_a_repr() -> None:
    world = with_file(EMPTY, SeedFile(raw=f"#{SECRET}".encode()))
    assert SEEDED.seed is not None
    inline = replace(SEEDED, seed=replace(SEEDED.seed, meta_data=SeedDocument(text=f"a: {SECRET}\n")))
    [write] = writes(inline, world)
    assert SECRET in str(dict(write.documents))
    assert SECRET not in repr((inline, world, planned(inline, world), write.text))


names = st.sampled_from(["user-data", "meta-data", "network-config"])
contents = st.dictionaries(names, st.binary(max_size=4))


@given(one=contents, other=contents)
def test_equal_digests_are_equal_documents(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (seed_digest("u", "n", one) == seed_digest("u", "n", other)) == (one == other)
    assert seed_digest("u", "n", one) != seed_digest("v", "n", one)
    assert seed_digest("u", "n", one) == seed_digest("u", "n", dict(reversed(one.items())))


# The disc.


def test_the_disc_has_cloud_inits_label_and_names() -> None:
    documents = {"user-data": b"", "meta-data": b"instance-id: x\n", "network-config": b"n" * 3000}
    written = seed_iso(documents)
    assert len(written) == SEED_BYTES
    disc = PyCdlib()
    disc.open_fp(BytesIO(written))
    assert disc.pvd.volume_identifier.strip() == b"cidata"
    for name, content in documents.items():
        for path in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
            found = BytesIO()
            disc.get_file_from_iso_fp(found, **path)
            assert found.getvalue() == content


def test_three_documents_of_the_largest_size_fit() -> None:
    assert len(seed_iso(dict.fromkeys(["user-data", "meta-data", "network-config"], bytes(1024**2)))) == SEED_BYTES
