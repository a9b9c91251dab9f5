"""The verb `new`: a commented spec to start from."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.model.names import check_new_domain_name
    from virtrbd.specs.starting import starting_spec


@verb
@click.argument("name")
def new(run: Run, name: str) -> None:
    """Print a commented spec to start from."""
    try:
        check_new_domain_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    text = starting_spec(name, run.settings().ceph.pool)
    run.answer_document({"name": name, "spec": text}, text.rstrip())
