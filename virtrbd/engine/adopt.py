"""Adopt an existing domain: find its spec, check it against a plan, write it, and set the mark."""

import contextlib
import os
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from msgspec import Struct

from virtrbd.adoption.adopt import Adopted, adopted
from virtrbd.adoption.disk_values import images_of
from virtrbd.adoption.trial import Circumstances
from virtrbd.adoption.unexpressed import Unexpressed
from virtrbd.ceph.images import pool_config, read_image
from virtrbd.deadline import call_within
from virtrbd.domainxml.defined import DefinedDomain, require_readable
from virtrbd.domainxml.monitors import monitor_names
from virtrbd.engine.converge import look
from virtrbd.engine.execute import execute
from virtrbd.engine.new_files import write_new
from virtrbd.engine.observe import observe
from virtrbd.engine.perform import perform
from virtrbd.errors import ConfigError, DocumentError, ExitCode, HypervisorError, SpecError
from virtrbd.hypervisor.command_line import made_of
from virtrbd.images.host import Host
from virtrbd.local.write_whole import cannot_write
from virtrbd.model.actions import Action
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.domain_actions import DefineDomain, DefineSecret
from virtrbd.model.file_name import typed_file_name
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_actions import MarkImage
from virtrbd.model.names import check_domain_name
from virtrbd.model.plan import Outcome, Plan, Result
from virtrbd.model.power import PowerState
from virtrbd.planning.policy import Policy
from virtrbd.planning.secret import plan_secret
from virtrbd.printable import cut, quoted, shell_command
from virtrbd.specs.files import PROFILES, SpecFile, SpecFiles, read_bounded
from virtrbd.specs.load import check_files
from virtrbd.specs.resolve import resolve


class Adoption(Struct, frozen=True, kw_only=True):
    """The result of adopting a domain: its spec, what the spec cannot express, and the outcomes of the marks."""

    spec_file: str
    has_xml: bool
    unexpressed: tuple[Unexpressed, ...]
    plan: Plan
    outcomes: tuple[Outcome, ...]


def _make_folder(folder: Path) -> None:
    """Make the folder for specs, where it is missing. Raises VirtrbdError."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, "choose another folder, or mend that") from error


def is_adopted(domain: DefinedDomain) -> bool:
    """Whether the domain is virtrbd's already; a domain that cannot be read is not."""
    try:
        return domain.definition.mark is not None
    except DocumentError:
        return False


def adopt_domain(host: Host, name: str, into: str, *, carries: bool) -> Adoption:
    """Write the domain's spec, then set its marks as far as they are allowed. Raises VirtrbdError.

    `carries`: what no field can express goes into its `xml:`. It is written only when a plan with it changes only
    marks.
    """
    domain = _adoptable(host, name)
    spec_file = Path(into) / spec_name(domain)
    with ExitStack() as stack:
        here = _circumstances(host, domain, spec_file, carries=carries)
        locks = [domain.name, *map(str, here.images)]
        stack.enter_context(host.state.locked(locks, "adopt"))
        found = adopted(here)
        if found.refusals:
            raise SpecError(*(f"{domain.name}: {refusal}" for refusal in found.refusals))
        if found.has_xml and not host.settings.trust_specs:
            raise SpecError(_forbidden(domain.name, found, host))
        spec = SpecFile(path=str(spec_file), raw=found.spec.encode())
        plan = _plan(host, spec, here.profiles)
        _refuse_more_than_marks(domain.name, plan)
        way_out = (
            f"take it over with "
            f"{shell_command('virtrbd define --allow takes-over', spec_file)}, move it away, or choose --into DIR"
        )
        _make_folder(spec_file.parent)
        write_new(spec_file, found.spec, way_out)
        outcomes = list(execute(plan, host.allowed, lambda action: perform(action, host), whole=True))
        if outcomes and all(outcome.result is Result.DONE for outcome in outcomes):
            outcomes += _left(_plan(host, spec, here.profiles))
    return Adoption(
        spec_file=str(spec_file),
        has_xml=found.has_xml,
        unexpressed=found.unexpressed,
        plan=plan,
        outcomes=tuple(outcomes),
    )


def _adoptable(host: Host, name: str) -> DefinedDomain:
    """Return the domain. Raises HypervisorError, and SpecError where no spec can have its name."""
    domain = host.hypervisor.domain(name)
    if domain is None:
        raise HypervisorError(f"{cut(name) or quoted(name)}: no such domain on this host; see virtrbd list")
    require_readable(domain)
    if not domain.persistent:
        raise HypervisorError(f"{name}: is transient, it has no definition to adopt; virsh define makes one")
    if domain.definition.mark:
        raise HypervisorError(f"{name}: is virtrbd's already; change it by its spec, with virtrbd define")
    if domain.state is PowerState.SAVED:
        raise HypervisorError(
            f"{name}: holds a managed save, whose own definition applies; start it to resume, or drop the save "
            f"with virsh managedsave-remove, then adopt again"
        )
    try:
        check_domain_name(domain.name)
    except ValueError as error:
        raise SpecError(f"{domain.name}: {error}; shut it down and rename it with virsh domrename") from None
    return domain


def _circumstances(host: Host, domain: DefinedDomain, spec_file: Path, *, carries: bool) -> Circumstances:
    key = domain.definition.hypervisor_type, domain.definition.machine
    capabilities = host.hypervisor.capabilities(*key)
    if capabilities is None:
        raise SpecError(f"{domain.name}: libvirt knows no machine {key[1]} with hypervisor {key[0]} here")
    policy = Policy(host=host.settings.host, template_dir=host.settings.template_dir)
    world = observe((), host, policy, {})
    monitors = _monitors(host, world.cluster, monitor_names(domain.definition))
    # Another cluster's images are not looked for here, where a pool of that name may be another, or missing.
    refs = images_of(domain.definition, monitors)
    images = {ref: image for ref in refs if (image := _read_image(host, ref))}
    profiles = spec_file.parent / PROFILES
    return Circumstances(
        definition=domain.definition,
        autostart=domain.autostart,
        settings=host.settings,
        file=str(spec_file),
        profiles=SpecFile(path=str(profiles), raw=read_bounded(profiles)) if os.path.exists(profiles) else None,
        capabilities=capabilities,
        cluster=world.cluster,
        monitors=monitors,
        secret_uuid=plan_secret(world).uuid,
        images=images,
        pool_config={pool: pool_config(host.cluster, pool) for pool in sorted({ref.pool for ref in images})},
        carries=carries,
        made_of=partial(made_of, host.hypervisor),
    )


def _read_image(host: Host, ref: ImageRef) -> Image | None:
    try:
        return read_image(host.cluster, ref)
    except ConfigError:
        # The pool is missing: some disks of a domain may be gone while others exist.
        return None


def _monitors(host: Host, cluster: ClusterFacts, named: frozenset[str]) -> frozenset[str]:
    """Return the cluster's addresses, and the names in a definition that lead to one of them."""
    addresses = cluster.addresses

    def leads_here(name: str) -> bool:
        with contextlib.suppress(OSError):
            found = call_within(
                host.settings.timeouts.ceph, f"looking up the monitor {name}", partial(socket.getaddrinfo, name, None)
            )
            return any(address[0] in addresses for *_, address in found)
        return False

    return addresses | frozenset(name for name in named - addresses if leads_here(name))


def spec_name(domain: DefinedDomain) -> str:
    """Return the file name of a domain's spec, which is never that of the profiles beside it."""
    name = f"{typed_file_name(domain.name, domain.uuid)}.yaml"
    return f"domain-{name}" if name == PROFILES else name


def _forbidden(name: str, found: Adopted, host: Host) -> str:
    paths = ", ".join(str(each.path) for each in found.unexpressed)
    return (
        f"{name}: no field of a spec can express {paths}, and {host.settings.file} forbids xml: in specs (trust_specs: "
        f"false); adopt with --no-xml, which leaves them only in libvirt's definition"
    )


def _plan(host: Host, spec: SpecFile, profiles: SpecFile | None) -> Plan:
    folder = {str(Path(spec.path).parent): profiles} if profiles else {}
    settings = host.settings
    domains = resolve(check_files(SpecFiles(specs=(spec,), profiles=folder), settings), settings)
    return look(domains, Policy(host=settings.host, template_dir=settings.template_dir), host)


def _refuse_more_than_marks(name: str, plan: Plan) -> None:
    """Raise SpecError where the plan does more than adopting may: the planner must agree with the search.

    Raises HypervisorError where the planner can do nothing with the domain.
    """
    for domain in plan.domains:
        for failure in domain.failures:
            raise HypervisorError(f"{name}: {failure.text}")
        problems = [*domain.problems, *([domain.note] if domain.note else [])]
        more = [action for action in domain.actions if not (action.quiet or _is_mark(action))]
        problems += [f"{name}: can't be expressed: {action.text}" for action in more]
        if problems:
            raise SpecError(*problems)


def _is_mark(action: Action) -> bool:
    match action:
        case DefineDomain():
            # That it is the same cluster was found before.
            return bool(action.based_on) and all(difference.is_of_monitors for difference in action.differences)
        case DefineSecret() | MarkImage():
            return True
        case _:
            return False


def _left(plan: Plan) -> list[Outcome]:
    return [
        Outcome(
            domain=domain.name,
            text=action.text,
            result=Result.FAILED,
            detail="done, but a second look wants it again",
            exit_code=ExitCode.FAILED,
        )
        for domain in plan.domains
        for action in domain.actions
        if not action.quiet
    ]
