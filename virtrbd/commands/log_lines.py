"""Lines for programs that read logs: one JSON object a line, with the same fields in every version."""

import json
from datetime import UTC, datetime


def log_line(line: str, *, is_error: bool, event: str, **fields: str) -> str:
    """Return a line as JSON. `event` is action, finding, problem or note; `fields` are the event's own."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": "error" if is_error else "info",
        "event": event,
        "line": line,
        **fields,
    }
    return json.dumps(entry)
