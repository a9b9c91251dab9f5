"""Targets that take YAML: specs, profiles, settings, and the documents of a cloud-init seed."""

from __future__ import annotations

from support.strategies import CLUSTER, EMPTY, FILE_BYTES, USER_DATA

from fuzzlib.mutate import mutate_yaml
from fuzzlib.target import Target
from fuzzlib.world import NEWER, ODD, POLICY, raise_defects
from virtrbd.compat.adapt import fit
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.domainxml.rendered import render_document
from virtrbd.errors import VirtrbdError
from virtrbd.model.domain import Domain
from virtrbd.model.record import replace
from virtrbd.model.seed import Seed, SeedDocument, SeedFile
from virtrbd.model.settings import Settings
from virtrbd.planning.plan import make_plan
from virtrbd.specs.directory import _claims
from virtrbd.specs.explain import explain
from virtrbd.specs.files import SpecFile, SpecFiles
from virtrbd.specs.load import check_files
from virtrbd.specs.resolve import resolve
from virtrbd.specs.settings_schema import parse_settings

SETTINGS = Settings(host="kvm-1")
SECRET = "11111111-1111-1111-1111-111111111111"
ERA = "libvirt=9.0,qemu=7.2"
USING = b"name: web\nmemory: 1G\nuses: [small]\ndisks:\n  - size: 1G\n"

WORDS = (
    "name: ", "memory: ", "disks:", "interfaces:", "cdroms:", "cloud_init:", "user_data: ", "uses: [", "profiles:",
    "defaults:", "<<: *", "&a ", "*a", "!!binary ", "!!float ", "!!set ", "!!python/object:", "!!timestamp ", "? ",
    "---\n", "\\0", "\\ud800", "\\e", "0x7fffffffffffffff", "-.inf", "1e400", "52:54:00:12:34:56", "~", "{}",
    "[]", "%YAML 1.2",
)  # fmt: skip


def try_spec(data: bytes) -> None:
    """A spec: loaded, resolved, fitted, rendered, explained and planned."""
    _use(SpecFiles(specs=(SpecFile(path="web.yaml", raw=data),)), SETTINGS)


def try_profiles(data: bytes) -> None:
    """A profiles.yaml beside a spec that uses one of its profiles."""
    profiles = {".": SpecFile(path="profiles.yaml", raw=data)}
    _use(SpecFiles(specs=(SpecFile(path="web.yaml", raw=USING),), profiles=profiles), SETTINGS)


def try_settings(data: bytes) -> None:
    """The settings file, and a spec that is loaded under it."""
    settings = parse_settings("virtrbd.yaml", data, "kvm-1")
    _use(SpecFiles(specs=(SpecFile(path="web.yaml", raw=USING),)), settings)


def try_seed_file(data: bytes) -> None:
    """A file that a spec's cloud_init names, as each of the three documents."""
    document = SeedDocument(file=USER_DATA, where="web.yaml:7")
    seed = Seed(image=ODD.disks[0].image, user_data=document, network_config=document)
    for each in (seed, replace(seed, meta_data=document, user_data=None)):
        world = replace(EMPTY, seed_files={USER_DATA: SeedFile(raw=data)})
        plan = make_plan((replace(ODD, seed=each),), world, POLICY)
        raise_defects(plan)


def _use(files: SpecFiles, settings: Settings) -> None:
    loaded = check_files(files, settings)
    domains = resolve(loaded, settings)
    by_name = {domain.name: domain for domain in domains}
    for item in loaded:
        explain(item, by_name[item.spec.name], settings)
    for domain in domains:
        list(_claims([domain]))
        _render(domain)
    # Beside the others' domains, on a host where nothing is yet.
    documents = (each for domain in domains if domain.seed for each in domain.seed.documents.values())
    files_read = {document.file: SeedFile(raw=b"") for document in documents if document.file}
    imported = {disk.import_source: FILE_BYTES for domain in domains for disk in domain.disks if disk.import_file}
    world = replace(EMPTY, seed_files={**EMPTY.seed_files, **files_read}, file_sizes={**EMPTY.file_sizes, **imported})
    raise_defects(make_plan((*domains, *(other for other in NEWER if other.name not in by_name)), world, POLICY))


def _render(domain: Domain) -> None:
    try:
        capabilities = capabilities_by_hand(ERA, domain.machine)
    except VirtrbdError:
        return
    fitted = fit(domain, capabilities)
    if not fitted.problems:
        render_document(fitted.fitted, CLUSTER, SECRET)


TARGETS = (
    Target(
        name="spec",
        about="a spec file: load, resolve, fit, render, explain, plan",
        seeds=("corpus/spec", "specs/valid", "specs/invalid"),
        run=try_spec,
        words=WORDS,
        mutate=mutate_yaml,
    ),
    Target(name="profiles", about="a profiles.yaml beside a spec", run=try_profiles, words=WORDS, mutate=mutate_yaml),
    Target(name="settings", about="the settings file", run=try_settings, words=WORDS, mutate=mutate_yaml),
    Target(
        name="seed-file",
        about="a file that a spec's cloud_init names",
        run=try_seed_file,
        words=("#cloud-config\n", "#include", "instance-id: ", "version: 2", *WORDS),
        mutate=mutate_yaml,
    ),
)
