"""What a definition needs, as data: usable without lxml and Jinja2, which only finding it out takes."""

from dataclasses import dataclass

from virtrbd.model.actions import Action
from virtrbd.model.lint import Lint
from virtrbd.model.plan import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionPlan:
    """What a definition needs, and what was found when it was rendered."""

    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()
    findings: tuple[Finding, ...] = ()
