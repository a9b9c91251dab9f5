"""The verbs that help to write specs: new, schema."""

import json

import click

from virtrbd.commands.app import Run, app, with_global_options
from virtrbd.errors import UsageError


@app.command()
@click.argument("name")
@with_global_options
def new(run: Run, name: str) -> None:
    """Print a commented spec to start from."""
    from virtrbd.model.names import check_new_domain_name
    from virtrbd.specs.starting import starting_spec

    try:
        check_new_domain_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    text = starting_spec(name, run.settings().ceph.pool)
    run.answer_document({"name": name, "spec": text}, text.rstrip())


@app.command()
@with_global_options
def schema(run: Run) -> None:
    """Print the JSON Schema of specs, for editors."""
    from virtrbd.specs.json_schema import spec_schema

    document = spec_schema()
    run.answer_document({"json_schema": document}, json.dumps(document, indent=2))
