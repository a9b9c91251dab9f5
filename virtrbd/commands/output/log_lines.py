"""Lines on standard error: as text, or as one JSON object a line for programs that read logs."""

from collections.abc import Iterable
from datetime import UTC, datetime

from virtrbd.commands.output.printing import print_json, print_lines


def print_log(lines: Iterable[str], *, is_error: bool, event: str, as_json: bool, **fields: str) -> None:
    """Print the lines. `event` is action, finding, problem, trace or note; `fields` are the event's own.

    A line of JSON has the same fields in every version, and its values whole.
    """
    if not as_json:
        print_lines(lines, to_stderr=True)
        return
    for line in lines:
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "level": "error" if is_error else "info",
            "event": event,
            "line": line,
            **fields,
        }
        print_json(entry, to_stderr=True)
