"""Documents checked against a pydantic model, with messages an operator can act on."""

import difflib
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from virtrbd.model.image import ImageRef
from virtrbd.model.size import parse_size
from virtrbd.spec.document import Document

Model = TypeVar("Model", bound=BaseModel)

# Nobody reads more, and a file that is no spec at all would have thousands.
_MAX_PROBLEMS = 50


class Strict(BaseModel):
    """A mapping in which every key must be known."""

    # defer_build: a part of a document is checked within the whole, a validator of its own is never asked for.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _size(value: object) -> int:
    return parse_size(str(value))


def _image(value: object) -> ImageRef:
    return ImageRef.parse(str(value))


SizeBytes = Annotated[int, BeforeValidator(_size)]
ImageName = Annotated[ImageRef, BeforeValidator(_image)]


def check(model: type[Model], document: Document) -> tuple[Model | None, tuple[str, ...]]:
    """Return the model, or None and all that is wrong with the document."""
    if not isinstance(document.data, dict):
        return None, (document.at((), "not a mapping; write `name: …` and the other fields, one a line"),)
    try:
        return model.model_validate(document.data), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [document.at(detail["loc"], _message(model, detail)) for detail in details[:_MAX_PROBLEMS]]
        if len(details) > _MAX_PROBLEMS:
            problems.append(document.at((), f"{len(details) - _MAX_PROBLEMS} more problems; mend these first"))
        return None, tuple(problems)


def _message(model: type[BaseModel], detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(_known_fields(model, detail["loc"][:-1]))
            near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
            return (
                f"unknown field; did you mean `{near[0]}`?" if near else f"unknown field; known are {', '.join(known)}"
            )
        case "missing":
            return "missing; it has no default"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "enum" | "literal_error":
            return f"{detail['input']!r} is not known; write {detail['ctx']['expected']}"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {detail['input']!r}"


def _known_fields(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    """Return the fields of the (nested) model that stands at a path."""
    for part in path:
        if isinstance(part, int):
            continue
        annotation = next(f.annotation for n, f in model.model_fields.items() if part in (n, f.alias))
        model = next(
            kind
            for kind in (annotation, *getattr(annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return {field.alias or name for name, field in model.model_fields.items()}
