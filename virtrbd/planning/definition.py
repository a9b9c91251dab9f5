"""What a domain's definition and its running guest need: both compared with what is desired."""

import shlex
from collections.abc import Collection

from msgspec import Struct

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.edit import edit_definition, with_mark
from virtrbd.domainxml.ignoring import not_ignored
from virtrbd.domainxml.live import wanted_memory
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.own_devices import rendered_places
from virtrbd.lazily import lazily
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.lint import Lint
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.planning.basis import Basis
from virtrbd.planning.definition_edit import Redefinition, foreign_findings, plan_edit
from virtrbd.planning.definition_plan import DefinitionPlan
from virtrbd.planning.live import Guest, plan_live
from virtrbd.planning.machine_type import capabilities_key
from virtrbd.planning.world import World

# A run in which nothing changed needs no Jinja2, and fits nothing.
with lazily():
    from virtrbd.compat.adapt import fit
    from virtrbd.domainxml.rendered import render_document


class _Rendered(Struct, frozen=True, kw_only=True):
    """What the spec was rendered to, None where it cannot be."""

    document: Rendered | None = None
    problems: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()


def plan_definition(
    domain: Domain, defined: DefinedDomain | None, mark: DomainMark | None, basis: Basis
) -> DefinitionPlan:
    """Return what brings definition and guest into line."""
    actual, inputs = basis.actual, basis.inputs(domain, domain.uuid)
    is_known = bool(
        defined
        and defined.persistent
        and mark
        and (mark.inputs, mark.definition) == (inputs, defined.definition.digest)
    )
    if defined and mark and is_known and not defined.live:
        return DefinitionPlan(findings=foreign_findings(domain, mark.foreign))
    rendered = _render(domain, defined, basis)
    if rendered.document is None or rendered.problems:
        return DefinitionPlan(problems=rendered.problems, lints=rendered.lints)
    desired = rendered.document
    new_mark = _new_mark(domain, mark, desired, inputs, actual)
    if defined is None:
        xml = with_mark(desired, new_mark).text
        define = DefineDomain(domain_uuid=domain.uuid, xml=xml, inputs=inputs, rendered=desired.text)
        return DefinitionPlan(actions=(define,), lints=rendered.lints)
    wanted = Redefinition(domain=domain, defined=defined, mark=mark, desired=desired, new_mark=new_mark)
    if mark and is_known:
        # Only the guest must be looked at, and lints were reported before.
        found = DefinitionPlan(findings=foreign_findings(domain, mark.foreign))
    else:
        found = replace(plan_edit(wanted, actual), lints=rendered.lints)
    return _with_live(found, wanted, actual)


def _with_live(found: DefinitionPlan, wanted: Redefinition, actual: World) -> DefinitionPlan:
    """Return the plan of a definition with what its guest needs, where it runs."""
    defined = wanted.defined
    if not defined.live:
        return found
    normal, left_out = _in_libvirts_words(wanted)
    guest = Guest(domain=wanted.domain, live=defined.live, definition=defined.definition, desired=normal)
    live = plan_live(guest, wanted.new_mark, actual, left_out)
    actions = tuple(
        _with_pending(action, live.waiting) if isinstance(action, DefineDomain) else action for action in found.actions
    )
    return replace(found, actions=(*actions, *live.actions), findings=(*found.findings, *live.findings))


def _with_pending(edit: DefineDomain, waiting: Collection[ElementPath]) -> DefineDomain:
    """Return the edit, which says whether a part of it must wait for the next boot."""
    return replace(edit, pending=any(difference.path in waiting for difference in edit.differences))


def _new_mark(domain: Domain, mark: DomainMark | None, rendered: Rendered, inputs: str, actual: World) -> DomainMark:
    ignored = mark.ignored if mark else ()
    return DomainMark(
        uuid=domain.uuid,
        host=actual.host_uuid,
        inputs=inputs,
        stated=not_ignored(stated_paths(rendered), ignored),
        foreign=mark.foreign if mark else (),
        ignored=ignored,
        hold=mark.hold if mark else None,
        balloon_bytes=wanted_memory(rendered),
        generation=mark.generation if mark else "",
        places=rendered_places(rendered),
        forms=mark.forms if mark else (),
    )


def _in_libvirts_words(wanted: Redefinition) -> tuple[Rendered, tuple[ElementPath, ...]]:
    """Return the rendered document in the forms that the mark records, and what libvirt left out: a guest starts so."""
    if wanted.mark is None or not wanted.mark.forms:
        return wanted.desired, ()
    edit = edit_definition(wanted.defined.definition, wanted.desired, wanted.mark, wanted.new_mark)
    return edit.normal, edit.left_out


def _render(domain: Domain, defined: DefinedDomain | None, basis: Basis) -> _Rendered:
    actual = basis.actual
    capabilities = actual.capabilities.get(capabilities_key(domain, defined))
    if capabilities is None:
        return _Rendered(problems=(_unknown_machine(domain, defined),))
    if domain.machine_upgrade:
        # An alias would mean the version that libvirt chose at the first define.
        domain = replace(domain, machine=capabilities.machine)
    fitted = fit(domain, capabilities, actual.images, actual.pool_config)
    if fitted.problems:
        return _Rendered(problems=fitted.problems, lints=fitted.lints)
    rendering = render_document(fitted.fitted, actual.cluster, basis.secret.uuid, basis.policy.template_dir)
    return _Rendered(document=rendering.document, problems=rendering.problems, lints=fitted.lints)


def _unknown_machine(domain: Domain, defined: DefinedDomain | None) -> str:
    hypervisor, machine = capabilities_key(domain, defined)
    way_out = "write another machine or hypervisor"
    if machine != domain.machine:
        way_out = "write machine_upgrade: true, or use a QEMU that has it"
    return (
        f"{domain.origin}: {domain.name}: libvirt knows no machine {machine} with hypervisor {hypervisor} here "
        f"(virsh domcapabilities --virttype {shlex.quote(hypervisor)} --machine {shlex.quote(machine)}); {way_out}"
    )
