"""Tables."""

from collections.abc import Sequence


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a plain table: one row a line, never wrapped, so that grep and awk work on it."""
    upper = [title.upper() for title in titles]
    widths = [max(len(row[column]) for row in (upper, *rows)) for column in range(len(titles))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (upper, *rows)
    ]
