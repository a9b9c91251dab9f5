"""The trial of a spec: what it would change in a definition, and what of the definition it does not express."""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field

from virtrbd.adoption.unexpressed import Places, UnexpressedXml, unexpressed_xml
from virtrbd.compat.adapt import fit
from virtrbd.domainxml.document import Definition, Document, Rendered
from virtrbd.domainxml.edit import edit_definition
from virtrbd.domainxml.overlay import lay_over, renamed_sources
from virtrbd.domainxml.render import render
from virtrbd.errors import SpecError
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.difference import Difference
from virtrbd.model.domain import Domain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.mark import DomainMark
from virtrbd.model.settings import Settings
from virtrbd.specs.document import Path as FieldPath
from virtrbd.specs.files import SpecFile, SpecFiles
from virtrbd.specs.load import LoadedSpec, check_files
from virtrbd.specs.resolve import resolve
from virtrbd.specs.writing import spec_text

# Mappings by target or MAC here, lists in a spec.
LISTED = ("disks", "cdroms", "interfaces")
# Mappings that a spec may write as one of their values.
_SHORT = (
    {"cpu": ["mode"]},
    {"cpu": ["model"]},
    {"firmware": ["type"]},
    {"graphics": ["type"]},
    {"watchdog": ["model"]},
    {"boot_menu": ["enable"]},
    {"numatune": ["nodeset"]},
    {"usb_controller": ["model"]},
    {"filterref": ["name"]},
)


class Circumstances(Struct, frozen=True, kw_only=True):
    """What a spec is tried against; `file` is the spec's file, and `profiles` lies beside it already.

    `monitors` are the names and addresses that mean this cluster. `carries`: elements without a field may go into
    its `xml:`; `places`: what of libvirt's choices is stated there. `made_of` returns what libvirt would make of a
    document, as a text to compare, None where libvirt gives none.
    """

    definition: Definition
    autostart: bool
    settings: Settings
    file: str
    profiles: SpecFile | None
    capabilities: Capabilities
    cluster: ClusterFacts
    monitors: frozenset[str]
    secret_uuid: str
    images: Mapping[ImageRef, Image]
    pool_config: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    carries: bool = True
    places: Places = Places.CHOSEN
    made_of: Callable[[Document], str | None] = lambda _document: None


class Trial(Struct, frozen=True, kw_only=True):
    """The result of a trial: `differences` it would make, the `rest` it does not express, the `document` it becomes.

    `elsewhere`: the places where settings and profiles state what the spec does not.
    """

    spec: Mapping[str, object]
    domain: Domain
    differences: tuple[Difference, ...]
    rest: UnexpressedXml
    document: Rendered
    elsewhere: tuple[FieldPath, ...] = ()

    @property
    def score(self) -> tuple[int, int]:
        """The smaller the better: a change weighs more than everything that is left unexpressed."""
        return len(self.differences), self.rest.weight

    @property
    def beside_the_document(self) -> tuple[object, ...]:
        """Values of a spec that no document shows."""
        domain = self.domain
        sources = [(d.target, d.image, d.size_bytes, d.existing, d.clone, d.import_file) for d in domain.disks]
        return domain.autostart, domain.host, domain.machine_upgrade, domain.template, sources


def as_data(spec: Mapping[str, object]) -> dict[str, object]:
    """Return the spec in its written form: with lists."""
    return {
        key: [_short(item) for item in value.values()] if key in LISTED and isinstance(value, dict) else value
        for key, value in _short(spec).items()
    }


def _short(mapping: Mapping[str, object]) -> dict[str, object]:
    """Write the one value instead of its mapping where a spec allows that."""
    return {
        key: next(iter(value.values())) if isinstance(value, dict) and {key: [*value]} in _SHORT else value
        for key, value in mapping.items()
    }


def load_spec(spec: Mapping[str, object], here: Circumstances) -> tuple[Domain, LoadedSpec]:
    """Return what the written spec becomes, and the spec. Raises SpecError where it is invalid."""
    raw = spec_text(as_data(spec)).encode()
    folder = {str(Path(here.file).parent): here.profiles} if here.profiles else {}
    (loaded,) = check_files(SpecFiles(specs=(SpecFile(path=here.file, raw=raw),), profiles=folder), here.settings)
    (domain,) = resolve((loaded,), here.settings)
    return domain, loaded


def try_spec(spec: Mapping[str, object], here: Circumstances) -> Trial:
    """Return the result of the trial. Raises SpecError where the spec is invalid or impossible on this hypervisor."""
    domain, loaded = load_spec(spec, here)
    fitted = fit(domain, here.capabilities, here.images, here.pool_config)
    if fitted.problems:
        raise SpecError(*fitted.problems)
    rendered = render(fitted.fitted, here.cluster, here.secret_uuid, here.settings.template_dir)
    rest = unexpressed_xml(here.definition, rendered, here.places)
    if here.carries and rest.xml:
        _refuse_overlap(domain, rest.xml)
    wanted = lay_over(rendered, rest.xml) if here.carries and rest.xml else rendered
    edit = edit_definition(here.definition, wanted, None, DomainMark(uuid=domain.uuid, host=""))
    several = map(ElementPath.of_device, edit.unclear)
    unclear = tuple(Difference(path=path, wanted="one", found="several") for path in several)
    elsewhere = tuple(loaded.document.elsewhere)
    return Trial(
        spec=spec,
        domain=domain,
        differences=edit.differences + unclear,
        rest=rest,
        document=wanted,
        elsewhere=elsewhere,
    )


def _refuse_overlap(domain: Domain, xml: str) -> None:
    """Raise SpecError where a drive would be both the spec's and its XML's: only one place may name the source."""
    targets = {disk.target for disk in domain.disks} | {cdrom.target for cdrom in domain.cdroms}
    for _, target in renamed_sources(xml):
        if target in targets:
            raise SpecError(f"{domain.origin}: disk {target} has a source that no field of a spec can express")
