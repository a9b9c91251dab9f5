"""The verb `render`: the XML or QEMU command line of a spec, or the source of each value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import asdict

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.specs import FILES
from virtrbd.errors import DeniedError, SpecError, UnavailableError, UsageError, VirtrbdError
from virtrbd.lazily import lazily
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.record import replace
from virtrbd.printable import cut

if TYPE_CHECKING:
    from virtrbd.ceph.cluster import Cluster

with lazily():
    from virtrbd.ceph.offline import NO_CLUSTER, read_cluster_facts
    from virtrbd.commands.output.table import table
    from virtrbd.compat.adapt import Fit, fit
    from virtrbd.compat.assumed import capabilities_by_hand
    from virtrbd.compat.explain import explain_cache
    from virtrbd.domainxml.rendered import render_document
    from virtrbd.model.capabilities import Capabilities, version_text
    from virtrbd.model.domain import Domain
    from virtrbd.model.settings import Settings
    from virtrbd.planning.interest import images_of_interest, pools_of_interest
    from virtrbd.planning.secret import secret_uuid_for
    from virtrbd.qemu.command import command_text, qemu_command
    from virtrbd.specs.explain import explain
    from virtrbd.specs.load import LoadedSpec, load
    from virtrbd.specs.resolve import resolve


# By image, and by pool.
_Options = tuple[Mapping[ImageRef, Image | None], Mapping[str, Mapping[str, str]]]

# Facts from libvirt and Ceph are used where they answer fast: a document can be rendered without.
_ASKED_S = 3.0


@verb
@FILES
@click.option("--for", "hypervisor", metavar="VERSIONS", default="", help="Like libvirt=11.6,qemu=10.0,machine=q35.")
@click.option("--as", "form", type=click.Choice(["xml", "qemu"]), default="xml", help="XML, or a QEMU command line.")
@click.option("--explain", is_flag=True, help="Show where every value comes from, and what librbd will do.")
def render(run: Run, files: tuple[str, ...], hypervisor: str, form: str, explain: bool) -> None:
    """Print the XML or the QEMU command that specs become.

    It is for this host's libvirt and QEMU, or for those of --for, and needs neither of them.

    fsid and monitors come from ceph.conf; without it the XML has no monitors, and its secret belongs to no cluster.
    """
    if explain and form != "xml":
        raise UsageError("--explain describes the spec, --as qemu prints a command line; write one of the two")
    settings = run.settings()
    loaded = load(files, settings)
    domains = resolve(loaded, settings)
    documents = {item.spec.name: item for item in loaded}
    with _known(run, settings, hypervisor) as known:
        if explain:
            explained = [_explained(documents[d.name], d, settings, known) for d in domains]
            lines = [line for _, of_domain in explained for line in of_domain]
            run.answer({"domains": [data for data, _ in explained]}, lines)
            return
        as_text = _as_qemu if form == "qemu" else partial(_as_xml, run)
        answers = [as_text(d, settings, known) for d in domains]
    run.answer_document({"domains": [data for data, _ in answers]}, "\n".join(text for _, text in answers))


class _Hypervisor(Struct, frozen=True, kw_only=True):
    """The hypervisor of the rendering; `is_here`: this host's, whose schema can check the XML."""

    capabilities: Callable[[Domain], Capabilities]
    is_here: bool
    options: Callable[[Domain], _Options | None] = lambda _domain: None

    def fit(self, domain: Domain) -> Fit:
        """Return the domain adapted to it, with the lints of images and pools."""
        capabilities, options = self.capabilities(domain), self.options(domain)
        return fit(domain, capabilities, *options) if options else fit(domain, capabilities)


class _Librbd:
    """librbd's options of images and pools, which override the spec's cache mode; queried while Ceph answers."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        self._cluster: Cluster | None = None
        self._is_silent = False

    def options(self, domain: Domain) -> _Options | None:
        """Return the options of the domain's images and pools, None where Ceph does not answer."""
        # Here, as libvirt's below: a machine that only writes specs has neither.
        from virtrbd.ceph.cluster import Cluster
        from virtrbd.ceph.images import pool_config, read_image

        refs, pools = images_of_interest((domain,)), pools_of_interest((domain,))
        if self._is_silent or not refs:
            return None
        try:
            cluster = self._cluster or self._stack.enter_context(Cluster.connect(self._settings))
            self._cluster = cluster
            return {ref: read_image(cluster, ref) for ref in refs}, {pool: pool_config(cluster, pool) for pool in pools}
        except VirtrbdError as error:
            # An odd image or pool does not stop the others.
            self._is_silent = self._cluster is None or isinstance(error, UnavailableError)
            return None


@contextmanager
def _known(run: Run, settings: Settings, by_hand: str) -> Iterator[_Hypervisor]:
    """Yield the hypervisor of the rendering: the stated one, else this host's, else the newest, which is reported."""
    hasty = replace(settings, timeouts=replace(settings.timeouts, ceph=_ASKED_S, libvirt=_ASKED_S))
    elsewhere = _Hypervisor(capabilities=lambda d: capabilities_by_hand(by_hand, d.machine), is_here=False)
    if by_hand:
        yield elsewhere
        return
    with ExitStack() as stack:
        try:
            from virtrbd.hypervisor.connection import Hypervisor

            here = stack.enter_context(Hypervisor.connect(hasty))
        except (UnavailableError, DeniedError):
            newest = capabilities_by_hand("", "q35")
            versions = f"libvirt {version_text(newest.libvirt)} and QEMU {version_text(newest.qemu)}"
            run.say(f"no libvirt at {cut(settings.connect)}: rendered for {versions}; --for names others")
            yield elsewhere
            return
        yield _Hypervisor(
            capabilities=lambda d: here.capabilities(d.hypervisor, d.machine) or elsewhere.capabilities(d),
            is_here=True,
            options=_Librbd(hasty, stack).options,
        )


def _as_xml(run: Run, domain: Domain, settings: Settings, known: _Hypervisor) -> tuple[dict[str, Any], str]:
    cluster = read_cluster_facts(settings)
    if not cluster.monitors:
        run.say(f"no monitors in {settings.ceph.conf}: the XML of {domain.name} has none")
    elif cluster.fsid == NO_CLUSTER:
        run.say(f"no fsid in {settings.ceph.conf}: the secret in the XML of {domain.name} belongs to no cluster")
    fitted = known.fit(domain)
    rendering = render_document(
        fitted.fitted, cluster, secret_uuid_for(cluster.secret_usage), settings.template_dir, check_schema=known.is_here
    )
    if fitted.problems or rendering.problems or rendering.document is None:
        raise SpecError(*fitted.problems, *rendering.problems)
    xml = rendering.document.text
    if not run.is_json:
        for lint in fitted.lints:
            run.say(str(lint))
    data = {"name": domain.name, "xml": xml, "lints": [asdict(lint) for lint in fitted.lints]}
    return data, xml.rstrip()


def _as_qemu(domain: Domain, settings: Settings, known: _Hypervisor) -> tuple[dict[str, Any], str]:
    command = qemu_command(domain, read_cluster_facts(settings), known.capabilities(domain), settings.ceph.conf)
    data = {"name": domain.name, "argv": list(command.words), "notes": list(command.notes)}
    return data, command_text(command).rstrip()


def _explained(
    item: LoadedSpec, domain: Domain, settings: Settings, known: _Hypervisor
) -> tuple[dict[str, Any], list[str]]:
    fitted = known.fit(domain)
    if fitted.problems:
        raise SpecError(*fitted.problems)
    granularities = {**fitted.fitted.blockio, **fitted.fitted.override, **fitted.fitted.set_device}
    values = explain(item, domain, settings, granularities)
    caches = {disk.target: explain_cache(disk, known.capabilities(domain)) for disk in domain.disks}
    lines = table(("field", "value", "from"), [(each.field, each.value, each.source) for each in values])
    lines += ["", *(f"disk {target}: {text}" for target, text in caches.items())]
    lines += [str(lint) for lint in fitted.lints]
    data = {
        "name": domain.name,
        "lints": [asdict(lint) for lint in fitted.lints],
        "values": [{"field": each.field, "value": each.value, "from": each.source} for each in values],
        "librbd": caches,
    }
    return data, [f"{domain.name} ({domain.origin})", *lines]
