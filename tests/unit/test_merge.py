"""Defaults and profiles lie under a spec by plain rules, and every value knows where it came from."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from virtrbd.errors import SpecError
from virtrbd.model.disk import Cache
from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.specs.document import parse_documents
from virtrbd.specs.explain import explain
from virtrbd.specs.limits import Budget
from virtrbd.specs.load import load
from virtrbd.specs.merge import Fragment, lay_under
from virtrbd.specs.resolve import resolve
from virtrbd.specs.settings import load_settings

SPEC = "name: web\nmemory: 1G\ndisks:\n  - size: 1G\n"


def domain_of(folder: Path, spec: str = SPEC, *, settings: str = "", profiles: str = "") -> Domain:
    (folder / "web.yaml").write_text(spec)
    (folder / "settings.yaml").write_text(f"host: kvm-1\n{settings}")
    if profiles:
        (folder / "profiles.yaml").write_text(profiles)
    known = load_settings(str(folder / "settings.yaml"))
    [domain] = resolve(load([str(folder)], known_without_settings(folder, known)), known)
    return domain


def known_without_settings(folder: Path, known: Settings) -> Settings:
    # The folder is loaded whole, and the settings file is no spec.
    (folder / "settings.yaml").unlink()
    return known


def test_nearer_wins(tmp_path: Path) -> None:
    settings = "defaults: {vcpus: 1, title: far, clock: localtime}\nprofiles: {p: {vcpus: 5, watchdog: ib700}}\n"
    profiles = "defaults: {vcpus: 2, title: near}\nprofiles: {p: {vcpus: 3}, q: {vcpus: 4}}\n"
    assert domain_of(tmp_path, settings=settings, profiles=profiles).vcpus == 2
    domain = domain_of(tmp_path, SPEC + "uses: p\n", settings=settings, profiles=profiles)
    assert (domain.vcpus, domain.title, domain.clock, domain.watchdog) == (3, "near", "localtime", None)
    assert domain_of(tmp_path, SPEC + "uses: [p, q]\n", settings=settings, profiles=profiles).vcpus == 4
    assert domain_of(tmp_path, SPEC + "uses: [q, p]\n", settings=settings, profiles=profiles).vcpus == 3
    assert domain_of(tmp_path, SPEC + "uses: p\nvcpus: 9\n", settings=settings, profiles=profiles).vcpus == 9


def test_mappings_merge_and_lists_replace(tmp_path: Path) -> None:
    settings = "defaults:\n  features: {pae: true, hap: true}\n  interfaces: [{bridge: br0}]\n"
    domain = domain_of(tmp_path, SPEC + "features: {hap: false}\n", settings=settings)
    assert domain.features == {"acpi": True, "apic": True, "pae": True, "hap": False}
    assert [nic.bridge for nic in domain.interfaces] == ["br0"]
    domain = domain_of(tmp_path, SPEC + "interfaces: [{bridge: br1}]\n", settings=settings)
    assert [nic.bridge for nic in domain.interfaces] == ["br1"]


def test_item_mappings_lie_under_every_item(tmp_path: Path) -> None:
    settings = "defaults:\n  disk: {cache: none, iotune: {total_iops_sec: 10}}\n  interface: {model: e1000}\n"
    spec = SPEC + "  - {size: 1G, cache: unsafe, iotune: {total_bytes_sec: 5}}\ninterfaces: [{bridge: br0}]\n"
    domain = domain_of(tmp_path, spec, settings=settings)
    assert [disk.cache for disk in domain.disks] == [Cache.NONE, Cache.UNSAFE]
    assert domain.disks[1].iotune == {"total_iops_sec": 10, "total_bytes_sec": 5}
    assert domain.interfaces[0].model == "e1000"


def test_null_takes_a_value_back_to_virtrbds_own(tmp_path: Path) -> None:
    settings = "defaults: {vcpus: 4, rng: false, disk: {cache: none}}\n"
    spec = "name: web\nmemory: 1G\nvcpus: null\nrng: null\ndisks:\n  - {size: 1G, cache: null}\n"
    domain = domain_of(tmp_path, spec, settings=settings)
    assert (domain.vcpus, domain.rng, domain.disks[0].cache) == (1, True, Cache.WRITEBACK)


def test_null_takes_back_an_entry_of_a_mapping_too(tmp_path: Path) -> None:
    settings = (
        "defaults:\n  cpu: {model: EPYC, features: {vmx: require, pcid: disable}}\n"
        "  max_vcpus: 4\n  interface: {filterref: {name: f, parameters: {IP: 1.2.3.4, MAC: x}}}\n"
        "  disk: {iotune: {total_iops_sec: 5, total_bytes_sec: 7}}\n"
    )
    spec = (
        "name: web\nmemory: 1G\nmax_vcpus: null\ncpu: {topology: {sockets: null}, features: {vmx: null}}\n"
        "disks: [{size: 1G, iotune: {total_iops_sec: null}}]\n"
        "interfaces: [{bridge: b, filterref: {parameters: {MAC: null}}}]\n"
    )
    domain = domain_of(tmp_path, spec, settings=settings)
    assert domain.cpu
    assert dict(domain.cpu.features) == {"pcid": "disable"}
    assert domain.disks[0].iotune == {"total_bytes_sec": 7}
    assert domain.interfaces[0].filterref
    assert dict(domain.interfaces[0].filterref.parameters) == {"IP": "1.2.3.4"}


def test_a_profile_of_which_nothing_is_left_says_nothing(tmp_path: Path) -> None:
    domain = domain_of(tmp_path, SPEC + "uses: [p, q]\n", profiles="profiles:\n  q: {vcpus: 3}\n  p:\n    # vcpus: 2\n")
    assert domain.vcpus == 3


BAD = {
    "an unknown word that is null": (SPEC + "vpcus: null\n", "", "web.yaml:5: vpcus: unknown field; did you mean"),
    "a required word that is null": (SPEC.replace("memory: 1G", "memory: null"), "", "web.yaml:2: memory: missing"),
    "unknown profile": (
        SPEC + "uses: smal\n", "profiles: {small: {}}\n",
        "web.yaml:5: uses: profile smal does not exist; did you mean small?",
    ),
    "no profiles": (SPEC + "uses: x\n", "", "web.yaml:5: uses: profile x does not exist; known are none"),
    "a value in a profile": (SPEC + "uses: p\n", "profiles:\n  p:\n    vcpus: lots\n", "profiles.yaml:3: vcpus: "),
    "a profile that nobody uses": (
        SPEC, "profiles:\n  p:\n    vpcus: 1\n", "profiles.yaml:3: vpcus: unknown field; did you mean `vcpus`?"
    ),
    "a name in a profile": (SPEC, "profiles:\n  p:\n    name: x\n", "profiles.yaml:3: name: belongs into a spec"),
    "a profile in a profile": (SPEC, "profiles:\n  p:\n    uses: q\n", "profiles.yaml:3: uses: belongs into a spec"),
    "not a mapping": (SPEC, "profiles: [p]\n", "profiles.yaml:1: profiles: "),
    "an unknown word": (SPEC, "profile: {}\n", "profiles.yaml:1: profile: unknown field; did you mean `profiles`?"),
    "what adds up to nonsense": (
        SPEC + "uses: p\n", "profiles:\n  p:\n    disk:\n      target: hda\n",
        "profiles.yaml:4: disks[0].target: target hda does not fit bus virtio",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_where_it_stands(name: str, tmp_path: Path) -> None:
    spec, profiles, message = BAD[name]
    with pytest.raises(SpecError) as caught:
        domain_of(tmp_path, spec, profiles=profiles)
    assert str(caught.value).startswith(f"{tmp_path}/{message}"), caught.value
    assert len(str(caught.value).splitlines()) == 1


def test_half_a_disk_in_defaults_is_no_mistake(tmp_path: Path) -> None:
    assert domain_of(tmp_path, settings="defaults: {disk: {bus: scsi}}\n").disks[0].target == "sda"


def test_every_value_says_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(
        "name: web\nmemory: 1G\nuses: p\ncpu: EPYC\nboot_menu: {enable: true, timeout: 3000}\n"
        "hostdevs: [{usb: '1050:0407'}]\ndisks:\n  - bus: scsi\n    size: 1G\n  - size: 2G\n"
    )
    (tmp_path / "profiles.yaml").write_text("profiles:\n  p:\n    vcpus: 2\n    disk: {cache: none}\n")
    known = Settings(host="kvm-1")
    [item] = load([str(tmp_path)], known)
    [domain] = resolve([item], known)
    found = {each.field: (each.value, each.source.replace(f"{tmp_path}/", "")) for each in explain(item, domain, known)}
    assert found["memory"] == ("1 GiB", "web.yaml:2")
    assert found["vcpus"] == ("2", "profiles.yaml:3 (profile p)")
    assert found["cpu.model"] == ("EPYC", "web.yaml:4")
    assert found["boot_menu.timeout"] == ("3000", "web.yaml:5")
    assert found["hostdevs[0].usb"] == ("1050:0407", "web.yaml:6")
    assert found["disks[0].bus"] == ("scsi", "web.yaml:8")
    assert found["disks[0].target"] == ("sda", "default: the next free one")
    assert found["disks[1].size"] == ("2 GiB", "web.yaml:10")
    assert found["disks[1].cache"] == ("none", "profiles.yaml:4 (profile p)")
    assert found["machine"] == ("q35", "default: q35, or pc where a disk is ide")
    assert found["uuid"][1] == "default: derived from the name"


values = st.recursive(
    st.none() | st.integers() | st.sampled_from("xyz"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@profile(max_examples=200, deadline=None)
@given(layers=st.lists(mappings, min_size=1, max_size=4))
def test_laying_is_associative_and_the_last_word_counts(layers: list[dict[str, object]]) -> None:
    """JSON is YAML: what each layer says comes out as a plain recursive merge would have it."""
    documents = [parse_documents(f"{n}.yaml", json.dumps(layer).encode())[0][0] for n, layer in enumerate(layers)]
    fragments = [Fragment(layer=document.file, document=document) for document in documents[:-1]]
    merged = lay_under(documents[-1], fragments, Budget())
    expected: object = {}
    for layer in layers:
        expected = plain(expected, layer)
    assert merged.data == expected
    for path in (*merged.lines, *merged.elsewhere):
        assert merged.place(path).line == 1


def plain(under: object, over: object) -> object:
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: plain(under[key], value) if key in under else value for key, value in over.items()}}
    return over
