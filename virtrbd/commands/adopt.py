"""The verb `adopt`: a domain that others made becomes virtrbd's."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import asdict

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.types import FILE_TYPE
from virtrbd.errors import ExitCode, UsageError, VirtrbdError, worst
from virtrbd.lazily import lazily
from virtrbd.printable import cut, shell_command

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.output.failures import show_trace
    from virtrbd.commands.output.printing import print_lines
    from virtrbd.commands.output.report import show_outcome
    from virtrbd.contained import contained
    from virtrbd.engine.adopt import Adoption, adopt_domain, is_adopted
    from virtrbd.images.host import Host
    from virtrbd.model.failure import failure_of
    from virtrbd.model.plan import Result
    from virtrbd.model.size import counted


# The length of an element that is readable in a terminal; the spec has it whole.
_MAX_XML = 100


@verb
@click.argument("names", metavar="DOMAIN…", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All domains of this host that are not virtrbd's yet.")
@click.option("--into", type=FILE_TYPE, metavar="DIR", default=".", help="Folder for the specs; default: the current.")
@click.option(
    "--no-xml", is_flag=True, help="Leave what no field can express in libvirt's definition, not in the spec's xml:."
)
@ALLOW
def adopt(run: Run, *, names: tuple[str, ...], is_all: bool, into: str, no_xml: bool, allow: tuple[str, ...]) -> None:
    """Write specs for domains that virsh or virt-install made.

    With --allow takes-over they become virtrbd's. Only virtrbd's own mark is changed in the domains.
    """
    if bool(names) == is_all:
        raise UsageError("adopt takes names of domains, or --all")
    with connected(run, run.settings(), parse_allowed(allow)) as host:
        tally = _Tally(run, host, into, carries=not no_xml, is_brief=is_all)
        for name in _names(host, tally) if is_all else dict.fromkeys(names):
            tally.adopt(name)
    code = worst(*tally.codes)
    lines = tally.summary() if is_all else []
    run.answer({"domains": tally.answers, **(tally.counts() if is_all else {}), "exit_code": int(code)}, lines)
    run.end(code)


def _names(host: Host, tally: _Tally) -> list[str]:
    """Return the domains of a host that can be tried, and count the others."""
    held = host.hypervisor.domains()
    for unread in held.unread:
        tally.refuse(unread.name, (f"{unread.name}: {unread.failure.text}",), unread.failure.exit_code)
    tally.known = [domain.name for domain in held.read if is_adopted(domain)]
    return [domain.name for domain in held.read if domain.name not in tally.known]


class _Tally:
    """The result of each domain: reported at once, and summed up at the end."""

    def __init__(self, run: Run, host: Host, into: str, *, carries: bool, is_brief: bool) -> None:
        self.answers: list[dict[str, Any]] = []
        self.codes: list[ExitCode] = []
        self.known: list[str] = []
        self._run, self._host, self._into = run, host, into
        self._carries, self._is_brief = carries, is_brief
        self._adopted: list[Adoption] = []
        self._refused: list[str] = []

    def adopt(self, name: str) -> None:
        """Adopt a domain, and report the result; a domain that cannot be adopted stops no other."""
        try:
            with contained(f"adopting domain {name}"):
                adoption = adopt_domain(self._host, name, self._into, carries=self._carries)
        except VirtrbdError as error:
            show_trace(self._run, name, failure_of(error).trace)
            self.refuse(name, error.messages, error.exit_code)
            return
        self._adopted.append(adoption)
        self.codes += [outcome.exit_code for outcome in adoption.outcomes]
        self.answers.append(_data(name, adoption))
        if not self._run.is_json:
            (_show_briefly if self._is_brief else _show)(self._run, name, adoption)

    def refuse(self, name: str, messages: tuple[str, ...], code: ExitCode) -> None:
        """Say why a domain cannot be adopted."""
        self._refused.append(name)
        self.codes.append(code)
        self.answers.append({"name": name, "errors": list(messages)})
        if not self._run.is_json:
            print_lines(messages, to_stderr=True)

    def counts(self) -> dict[str, int]:
        """Return the number of domains by result."""
        with_xml = sum(1 for adoption in self._adopted if adoption.has_xml)
        return {
            "exact": len(self._adopted) - with_xml,
            "with_xml": with_xml,
            "refused": len(self._refused),
            "known": len(self.known),
        }

    def summary(self) -> list[str]:
        """Return the last lines of the text."""
        counts = self.counts()
        count = sum(counts.values())
        lines = [
            f"{counted(count, 'domain')}: {counts['exact']} exact, {counts['with_xml']} with xml:, "
            f"{counts['refused']} refused, {counts['known']} virtrbd's already"
        ]
        if any(outcome.exit_code is ExitCode.BLOCKED for each in self._adopted for outcome in each.outcomes):
            command = shell_command("virtrbd define --allow takes-over", self._into)
            lines.append(f"nothing is changed yet; {command} does it")
        return lines


def _show_briefly(run: Run, name: str, adoption: Adoption) -> None:
    how = "exact"
    if adoption.unexpressed:
        how = "with xml:" if adoption.has_xml else "the rest is only in libvirt's definition"
    print_lines([f"{name}: {adoption.spec_file} ({how})"])
    for outcome in adoption.outcomes:
        if outcome.result is not Result.BLOCKED:
            show_outcome(run, outcome)


def _show(run: Run, name: str, adoption: Adoption) -> None:
    lines = [f"{name}: spec: {adoption.spec_file}"]
    if adoption.unexpressed:
        holder = "in its xml:" if adoption.has_xml else "only in libvirt's definition:"
        lines.append(f"{name}: what no field of a spec can express is {holder}")
    lines += [
        f"  {each.path}: {cut(each.xml, _MAX_XML)}" + (f" ({each.why})" if each.why else "")
        for each in adoption.unexpressed
    ]
    print_lines(lines)
    for lint in (lint for domain in adoption.plan.domains for lint in domain.lints):
        run.say(str(lint))
    for outcome in adoption.outcomes:
        show_outcome(run, outcome)
    if any(outcome.result is Result.BLOCKED for outcome in adoption.outcomes):
        run.say(
            f"{name}: nothing is changed yet; "
            f"{shell_command('virtrbd define --allow takes-over', adoption.spec_file)} does it"
        )


def _data(name: str, adoption: Adoption) -> dict[str, Any]:
    return {
        "name": name,
        "spec": adoption.spec_file,
        "has_xml": adoption.has_xml,
        "unexpressed": [{**asdict(each), "path": str(each.path)} for each in adoption.unexpressed],
        "lints": [asdict(lint) for domain in adoption.plan.domains for lint in domain.lints],
        "actions": [
            {"text": outcome.text, "result": outcome.result.value, "detail": outcome.detail}
            for outcome in adoption.outcomes
            if not outcome.quiet
        ],
    }
