"""The check of documents against a pydantic model, with messages that an operator can act on."""

import difflib
from collections.abc import Callable, Collection, Iterator
from typing import Annotated, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from virtrbd.model.image import ImageRef
from virtrbd.model.names import check_plain
from virtrbd.model.size import parse_size
from virtrbd.printable import quoted
from virtrbd.specs.document import YamlDocument
from virtrbd.specs.limits import MAX_PROBLEMS, MAX_WORD

_LARGEST = 2**63 - 1


class Strict(BaseModel):
    """A mapping in which every key must be known; `refused`: the reasons for well-known other keys."""

    refused: ClassVar[dict[str, str]] = {}

    # defer_build: a part of a document is checked within the whole, so its own validator is never used.
    # arbitrary_types_allowed: virtrbd's own types, which validators of their own make.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _take_back(cls, data: object) -> object:
        """Drop each known field that is null: it gets its default; a required field is then missing."""
        if not isinstance(data, dict) or None not in data.values():
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


def _size(value: object) -> int:
    return parse_size(str(value))


def _bytes(value: object) -> int:
    # bool is an int to Python, but true does not mean 1 byte.
    if not isinstance(value, int) or isinstance(value, bool):
        return _size(value)
    if value > _LARGEST:
        raise ValueError("a larger number of bytes than libvirt takes; write a smaller one, like 2M")
    return value


def _image(value: object) -> ImageRef:
    return ImageRef.parse(check_plain(str(value)))


def absolute(path: str) -> str:
    """Return the path. Raises ValueError for a relative path."""
    if not path.startswith("/"):
        raise ValueError(f"{quoted(path)} is relative; write the absolute path")
    return path


# Names of things that virtrbd does not make, and paths: any visible text.
Plain = Annotated[str, AfterValidator(check_plain)]
AbsolutePath = Annotated[Plain, AfterValidator(absolute)]

Model = TypeVar("Model", bound=Strict)


def without_nulls(value: object) -> object:
    """Return a mapping without the entries that a nearer mapping took back by null."""
    return {key: member for key, member in value.items() if member is not None} if isinstance(value, dict) else value


SizeBytes = Annotated[int, BeforeValidator(_size, json_schema_input_type=str)]
# Where a plain number of bytes is usual: 512.
Bytes = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=str | int)]
ImageName = Annotated[ImageRef, BeforeValidator(_image, json_schema_input_type=str)]
Boot = Annotated[StrictInt, Field(ge=1, le=100)]


def short_for(field: str) -> Callable[[object], object]:
    """Return a validator that accepts the value of one field instead of a mapping."""
    return lambda value: {field: value} if isinstance(value, str) else value


def list_of_one(value: object) -> object:
    """Accept one value instead of a list."""
    return [value] if isinstance(value, str | int) else value


def nearest(word: str, known: Collection[str]) -> str:
    """Return the known word that was probably meant, or ""."""
    near = difflib.get_close_matches(word, known, n=1) if len(word) <= MAX_WORD else []
    return near[0] if near else ""


def check(model: type[Model], document: YamlDocument, *, is_part: bool = False) -> tuple[Model | None, tuple[str, ...]]:
    """Return the model, or None and all problems of the document; of a part only those that the whole cannot mend."""
    if not isinstance(document.data, dict):
        return None, (document.at((), "not a mapping; write `name: …` and the other fields, one a line"),)
    try:
        return model.model_validate(document.data), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
        if is_part:
            details = [detail for detail in details if not _is_about_the_whole(detail)]
        problems = [document.at(detail["loc"], _message(model, detail)) for detail in details[:MAX_PROBLEMS]]
        if len(details) > MAX_PROBLEMS:
            problems.append(document.at((), f"{len(details) - MAX_PROBLEMS} more problems; mend these first"))
        return None, tuple(problems)


def _is_about_the_whole(detail: ErrorDetails) -> bool:
    """Whether something is missing, or a mapping does not add up: the spec may state the rest."""
    return detail["type"] == "missing" or (detail["type"] == "value_error" and isinstance(detail["input"], dict))


def _message(model: type[Strict], detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            holder = _model_at(model, detail["loc"][:-1])
            word = str(detail["loc"][-1])
            if word in holder.refused:
                return holder.refused[word]
            known = sorted(field.alias or name for name, field in holder.model_fields.items())
            near = nearest(word, known)
            return f"unknown field; did you mean `{near}`?" if near else f"unknown field; known are {', '.join(known)}"
        case "missing":
            return "missing; it has no default"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "enum" | "literal_error" if isinstance(detail["input"], bool):
            return f"YAML reads yes, no, on and off as true and false; write {detail['ctx']['expected']}, in quotes"
        case "too_long":
            return f"a list of {detail['ctx']['actual_length']}; {detail['ctx']['max_length']} at most"
        case "string_too_long":
            return f"{len(str(detail['input']))} characters; {detail['ctx']['max_length']} at most"
        case "string_type" if isinstance(detail["input"], bool):
            return "YAML reads yes, no, on and off as true and false; write it in quotes"
        case "string_type" if isinstance(detail["input"], int):
            return f'{quoted(detail["input"])} is a number to YAML; write it in quotes: "{detail["input"]}"'
        case "enum" | "literal_error":
            return f"{quoted(detail['input'])} is not known; write {detail['ctx']['expected']}"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {quoted(detail['input'])}"


def _model_at(model: type[Strict], path: tuple[int | str, ...]) -> type[Strict]:
    """Return the (nested) model at a path."""
    for part in path:
        if not isinstance(part, int):
            annotation = next(f.annotation for n, f in model.model_fields.items() if part in (n, f.alias))
            model = next(_models_in(annotation))
    return model


def _models_in(annotation: object) -> Iterator[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)
