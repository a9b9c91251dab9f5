"""What makes a function a verb: the global options, and the Run that they give it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.options.types import FILE_TYPE
from virtrbd.deadline import followed_by
from virtrbd.errors import UsageError
from virtrbd.lazily import import_waiting
from virtrbd.model.record import replace
from virtrbd.printable import is_utf8, quoted

GLOBAL_OPTIONS = (
    click.option("--config", type=FILE_TYPE, metavar="FILE", help="Settings file."),
    click.option("--connect", metavar="URI", help="libvirt connection."),
    click.option("--output", type=click.Choice(["text", "json"]), help="Form of the answer."),
    click.option("-v", "--verbose", is_flag=True, help="Show which calls are made, and how long they take."),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing when there is nothing to do."),
)


def verb(function: Callable[..., None]) -> click.Command:
    """Make a verb of a function, which gets a Run and the values of its own options.

    The verb has the global options too, which win over those before the verb.
    """

    @functools.wraps(function)
    @click.pass_context
    def wrapped(context: click.Context, /, **values: Any) -> None:
        require_text(context, values)
        own = {name: values.pop(name) for name in ("config", "connect", "output", "verbose", "quiet")}
        run: Run = replace(context.find_root().obj, **{name: value for name, value in own.items() if value})
        import_waiting(function.__globals__)
        with followed_by(run):
            function(run, **values)

    command = click.command()(wrapped)
    for option in reversed(GLOBAL_OPTIONS):
        option(command)
    return command


def require_text(context: click.Context, values: Mapping[str, Any]) -> None:
    """Raise UsageError for a word on the command line that is not UTF-8, unless it names a file."""
    for parameter in context.command.params:
        value = None if isinstance(parameter.type, click.Path) else values.get(parameter.name or "")
        for word in value if isinstance(value, tuple) else (value,):
            if isinstance(word, str) and not is_utf8(word):
                raise UsageError(f"{parameter.human_readable_name}: {quoted(word)} is not UTF-8; check the encoding")
