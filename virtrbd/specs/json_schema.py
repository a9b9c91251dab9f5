"""The spec's JSON Schema, for editors."""

from typing import Any

from virtrbd.specs.schema import DomainSpec


def spec_schema() -> dict[str, Any]:
    """Return the schema of one spec as JSON Schema 2020-12, with a description of every field.

    null is valid everywhere but not proposed: it only takes back what a profile states.
    """
    schema = DomainSpec.model_json_schema()
    for model in (schema, *schema.get("$defs", {}).values()):
        for field in model.get("properties", {}).values():
            _without_null(field)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_null(field: dict[str, Any]) -> None:
    field.pop("title", None)
    choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    if field.get("default", 0) is None:
        del field["default"]
    if len(choices) == 1:
        del field["anyOf"]
        field.update(choices[0])
    elif choices:
        field["anyOf"] = choices
