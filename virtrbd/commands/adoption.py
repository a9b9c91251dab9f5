"""The verb that makes a domain of somebody else's virtrbd's: adopt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from virtrbd.commands.app import ALLOW, FILE_TYPE, Run, app, with_global_options
from virtrbd.commands.printing import print_lines
from virtrbd.errors import ExitCode, VirtrbdError, worst
from virtrbd.printable import cut, shell_command

if TYPE_CHECKING:
    from virtrbd.host.adopting import Adoption

# Nobody reads more of an element in a terminal; the template has it whole.
_MAX_XML = 100


@app.command()
@click.argument("names", metavar="DOMAIN…", nargs=-1, required=True)
@click.option("--into", type=FILE_TYPE, metavar="DIR", default=".", help="Folder for the specs; default: the current.")
@click.option("--no-template", is_flag=True, help="Leave what a spec has no word for to libvirt's definition alone.")
@ALLOW
@with_global_options
def adopt(run: Run, names: tuple[str, ...], into: str, no_template: bool, allow: tuple[str, ...]) -> None:
    """Write specs for domains that virsh or virt-install made.

    With --allow takes-over they become virtrbd's. Nothing of the domains is changed but virtrbd's own mark.
    """
    from virtrbd.commands.failures import show_trace
    from virtrbd.commands.pipeline import connected, parse_allowed
    from virtrbd.contained import contained
    from virtrbd.host.adopting import adopt_domain
    from virtrbd.model.failure import failure_of

    answers: list[dict[str, Any]] = []
    codes: list[ExitCode] = []
    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host:
        for name in dict.fromkeys(names):
            try:
                with contained(f"adopting domain {name}"):
                    adoption = adopt_domain(host, name, into, carries=not no_template)
            except VirtrbdError as error:
                codes.append(error.exit_code)
                answers.append({"name": name, "errors": list(error.messages)})
                show_trace(run, name, failure_of(error).trace)
                if not run.is_json:
                    print_lines(error.messages, to_stderr=True)
                continue
            codes += [outcome.exit_code for outcome in adoption.outcomes]
            answers.append(_data(name, adoption))
            if not run.is_json:
                _tell(run, name, adoption)
    code = worst(*codes)
    run.answer({"domains": answers, "exit_code": int(code)}, [])
    run.end(code)


def _tell(run: Run, name: str, adoption: Adoption) -> None:
    from virtrbd.commands.pipeline import tell
    from virtrbd.model.plan import Result

    lines = [f"{name}: spec: {adoption.spec_file}"]
    if adoption.unexpressed:
        holder = adoption.template_file or "libvirt's definition alone"
        lines.append(f"{name}: what a spec has no word for is in {holder}:")
    lines += [
        f"  {each.path}: {cut(each.xml, _MAX_XML)}" + (f" ({each.why})" if each.why else "")
        for each in adoption.unexpressed
    ]
    print_lines(lines)
    for lint in (lint for domain in adoption.plan.domains for lint in domain.lints):
        run.say(str(lint))
    for outcome in adoption.outcomes:
        tell(run, outcome)
    if any(outcome.result is Result.BLOCKED for outcome in adoption.outcomes):
        run.say(
            f"{name}: nothing is changed yet; "
            f"{shell_command('virtrbd define --allow takes-over', adoption.spec_file)} does it"
        )


def _data(name: str, adoption: Adoption) -> dict[str, Any]:
    return {
        "name": name,
        "spec": adoption.spec_file,
        "template": adoption.template_file,
        "unexpressed": [asdict(each) for each in adoption.unexpressed],
        "lints": [asdict(lint) for domain in adoption.plan.domains for lint in domain.lints],
        "actions": [
            {"text": outcome.text, "result": outcome.result.value, "detail": outcome.detail}
            for outcome in adoption.outcomes
            if not outcome.quiet
        ],
    }
