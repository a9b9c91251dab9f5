"""The layout of a new image on the cluster: options that several verbs share."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from virtrbd.errors import UsageError
from virtrbd.model.image import FEATURES, ImageLayout
from virtrbd.model.size import parse_size

_OPTIONS = (
    click.option("--object-size", metavar="SIZE", default="", help="Size of objects, 4K to 32M (librbd's own: 4M)."),
    click.option("--features", metavar="A,B", default="", help="Features instead of the cluster's default ones."),
    click.option("--data-pool", metavar="POOL", default="", help="Pool for the data, for erasure-coded ones."),
    click.option("--stripe-unit", metavar="SIZE", default="", help="Bytes in a row in one object."),
    click.option("--stripe-count", metavar="N", default="", help="Objects to stripe over; with --stripe-unit."),
)


def LAYOUT(command: Callable[..., None]) -> Callable[..., None]:  # noqa: N802 - it is used as a constant
    """Give a verb the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def layout_of(values: Mapping[str, Any]) -> ImageLayout:
    """Return what the options say. Raises UsageError."""
    object_bytes = _size("--object-size", values["object_size"])
    if object_bytes and (object_bytes & (object_bytes - 1) or not 4096 <= object_bytes <= 32 * 1024**2):
        raise UsageError("--object-size: write a power of two from 4K to 32M")
    stripe_unit, count = _size("--stripe-unit", values["stripe_unit"]), values["stripe_count"]
    if bool(stripe_unit) != bool(count) or (count and not (count.isdecimal() and int(count))):
        raise UsageError("--stripe-unit and --stripe-count need each other: a size and a number, like 64K and 4")
    if stripe_unit and (object_bytes or 4 * 1024**2) % stripe_unit:
        raise UsageError("--stripe-unit: must divide the object size")
    features = tuple(filter(None, values["features"].split(",")))
    if unknown := [name for name in features if name not in FEATURES]:
        raise UsageError(f"--features: {', '.join(unknown)}: no such feature; write some of {','.join(FEATURES)}")
    return ImageLayout(
        object_bytes=object_bytes,
        features=features,
        stripe_unit_bytes=stripe_unit,
        stripe_count=int(count or 0),
        data_pool=values["data_pool"],
    )


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text) if text else 0
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
