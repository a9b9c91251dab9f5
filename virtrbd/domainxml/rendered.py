"""A spec's rendered document: held against libvirt's schema, with the source of each problem."""

from collections.abc import Iterator

from msgspec import Struct

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.image_uses import images_elsewhere, images_of_disk
from virtrbd.domainxml.overlay import disks_with_monitors, laid_over
from virtrbd.domainxml.render import STOCK, render
from virtrbd.domainxml.validate import refused, schema_problems
from virtrbd.errors import SpecError
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.overlay import Overlay
from virtrbd.model.record import replace


class Rendering(Struct, frozen=True, kw_only=True):
    """What a spec was rendered to, None where that fails; why it can't be defined: each `file:line: name: reason`."""

    document: Rendered | None
    problems: tuple[str, ...] = ()


def render_document(
    fitted: Fitted, cluster: ClusterFacts, secret_uuid: str, template_dir: str = "", *, check_schema: bool = True
) -> Rendering:
    """Return the rendering; a template's error is a problem like one of the schema's.

    The schema is this machine's libvirt's: it proves nothing for another version.
    """
    domain = fitted.domain
    where = f"{domain.origin}: {domain.name}"
    try:
        document = render(fitted, cluster, secret_uuid, template_dir)
    except SpecError as error:
        return Rendering(document=None, problems=tuple(f"{domain.origin}: {message}" for message in error.messages))
    problems = schema_problems(document) if check_schema else ()
    if problems and domain.xml:
        beneath = replace(fitted, domain=replace(domain, xml=None))
        bare = render(beneath, cluster, secret_uuid, template_dir)
        problems = schema_problems(bare)
        said = {_without_line(problem) for problem in problems}
        of_overlay = [found for found in _refused_of(domain.xml, bare) if found[1] not in said]
        own = tuple(f"{place}: {domain.name}: xml: {text}" for place, text in of_overlay)
    else:
        own = ()
    if domain.xml and cluster.monitors:
        found = _moved_disks(domain, domain.xml, document, cluster)
        own += tuple(f"{place}: {domain.name}: xml: {text}" for place, text in found)
    if problems and (template_dir or domain.template != STOCK):
        plain = replace(fitted, domain=replace(domain, template=STOCK, xml=None))
        # The packaged templates' document of the same spec shows whose part it is.
        stock = {_without_line(problem) for problem in schema_problems(render(plain, cluster, secret_uuid))}
        problems = tuple(
            problem if _without_line(problem) in stock else f"in template {domain.template}: {problem}"
            for problem in problems
        )
    return Rendering(document=document, problems=(*(f"{where}: {problem}" for problem in problems), *own))


def _moved_disks(
    domain: Domain, overlay: Overlay, document: Rendered, cluster: ClusterFacts
) -> Iterator[tuple[str, str]]:
    """Yield the spec's own drives that its XML puts on other monitors, where no gate would check their images.

    Some of this cluster's monitors, or other ports, count as all.
    """
    own = {disk.target for disk in domain.disks} | {cdrom.target for cdrom in domain.cdroms}
    named = [(line, target) for line, target in disks_with_monitors(overlay.text) if target in own]
    if not named:
        return
    root = document.tree
    elsewhere = images_elsewhere(root, cluster.addresses)
    for line, target in named:
        if images_of_disk(root, f"disk:{target}") & elsewhere:
            why = f"disk {target} is in the spec, so on this cluster, and these are not its monitors"
            yield overlay.place(line), f"{why}; leave out <host>"


def _refused_of(overlay: Overlay, beneath: Rendered) -> Iterator[tuple[str, str]]:
    """Yield what the schema refuses after a spec's XML was merged into a document: its place in the spec, and why."""
    root = beneath.copy()
    lines = laid_over(root, overlay.text)
    for element, text in refused(root):
        touched = (lines[each] for each in (element, *element.iterancestors()) if each in lines)
        yield overlay.place(next(touched, 1)), text


def _without_line(problem: str) -> str:
    return problem.partition(" (line ")[0]
