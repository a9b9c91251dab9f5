"""A report as one HTML page: no script, nothing from elsewhere; every text in it is escaped twice.

First as for a terminal (`printable`: no control characters, no letters that turn the reading direction), then by Jinja2
for HTML.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from virtrbd import __version__
from virtrbd.commands.output.image_tree import flatten_command, flatten_reason
from virtrbd.commands.output.info import local_time
from virtrbd.commands.output.overview import growth_text, images_text
from virtrbd.engine.overview import Overview
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.overview import PoolGrowth
from virtrbd.model.power import PowerState
from virtrbd.model.size import format_size
from virtrbd.planning.tree_drawing import draw
from virtrbd.printable import Printable, printable

# More of a kind are only counted: the page is for a mail, JSON has everything.
_MOST_NEEDS, _MOST_NAMES, _MOST_FREED, _MOST_FLATTENS, _MOST_FAILURES = 100, 200, 10, 20, 20
_LONGEST_TEXT = 600
# A growth line, in the units of its drawing.
_WIDTH, _HEIGHT = 240.0, 44.0
_STATES = (
    PowerState.RUNNING, PowerState.PAUSED, PowerState.SAVED, PowerState.SHUT_OFF, PowerState.CRASHED,
    PowerState.UNKNOWN,
)  # fmt: skip


def page_of(found: Overview) -> str:
    """Return the page."""
    # No `*.xml.j2`: autoescape is on for whatever the template is called.
    environment = Environment(
        loader=PackageLoader("virtrbd.templates", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": _size, "time": local_time, "day": _day, "fitting": _fitting}
    return environment.get_template("page.html.j2").render(
        report=found,
        version=__version__,
        states=_by_state(found),
        words=_WORDS,
        rows=draw(found.tree, frozenset(each.ref for each in found.flattens)),
        # Numbers only, and more of them than a text may be long.
        pools=[(pool, growth_text(pool), Markup(growth_line(pool))) for pool in found.pools],
        flattens=[(each, flatten_reason(each), flatten_command(each)) for each in found.flattens[:_MOST_FLATTENS]],
        images_text=images_text,
        user_kind=SnapshotKind.USER,
        largest_bytes=max((image.total_bytes or 0 for image in found.storage.largest), default=0),
        most_snapshots=max((age.count for age in found.storage.ages), default=0),
        most={"needs": _MOST_NEEDS, "names": _MOST_NAMES, "freed": _MOST_FREED, "failures": _MOST_FAILURES},
    )


# Classes of the page's style, by the kind of what waits; all others are findings.
_WORDS: Mapping[str, str] = {"failed": "bad", "blocked": "warn", "next run": "plain"}


def _shown(value: Any) -> Any:
    """Return a value as it may be shown; Jinja2 escapes it for HTML afterwards."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, _LONGEST_TEXT)


def _size(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else format_size(size_bytes)


def _day(seconds: float) -> str:
    return local_time(seconds)[: len("2026-11-27")] if seconds else "unknown"


def _fitting(text: object, length: int) -> Printable:
    """Return the text as it may be shown, without its middle where it is too long for its place."""
    return printable(str(text), length)


def _by_state(found: Overview) -> list[tuple[PowerState, int, Sequence[str]]]:
    """Return each state that a domain has, with how many have it and their names."""
    names: dict[PowerState, list[str]] = defaultdict(list)
    for domain in found.domains or ():
        names[domain.state].append(domain.name)
    counts = Counter({state: len(each) for state, each in names.items()})
    return [(state, counts[state], names[state]) for state in _STATES if counts[state]]


def growth_line(pool: PoolGrowth) -> str:
    """Return the points of a pool's line, as SVG has them; "" where there is none to draw."""
    if len(pool.points) < 2:
        return ""
    times, values = zip(*pool.points, strict=True)
    begin, length = times[0], max(times[-1] - times[0], 1.0)
    low, high = min(values), max(values)
    height = max(high - low, 1)
    return " ".join(
        f"{(at - begin) / length * _WIDTH:.1f},{_HEIGHT - 4 - (value - low) / height * (_HEIGHT - 8):.1f}"
        for at, value in pool.points
    )
