"""What a definition needs, as data: usable without lxml and Jinja2, which only finding it out takes."""

from msgspec import Struct

from virtrbd.model.actions import Action
from virtrbd.model.lint import Lint
from virtrbd.model.plan import Finding


class DefinitionPlan(Struct, frozen=True, kw_only=True):
    """What a definition needs, and what was found when it was rendered."""

    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()
    findings: tuple[Finding, ...] = ()
