"""The verb `schema`: the JSON Schema of specs, for editors."""

from __future__ import annotations

import json

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.specs.json_schema import spec_schema


@verb
def schema(run: Run) -> None:
    """Print the JSON Schema of specs, for editors."""
    document = spec_schema()
    run.answer_document({"json_schema": document}, json.dumps(document, indent=2))
