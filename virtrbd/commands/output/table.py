"""Tables."""

from collections.abc import Sequence

from virtrbd.printable import VALUE_LENGTH, Printable, printable


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a plain table: one row a line, never wrapped, so that grep and awk work on it."""
    upper = [title.upper() for title in titles]
    # As wide as they are shown: an escape is longer than its character.
    cells: list[Sequence[str]] = [upper, *([printable(cell, VALUE_LENGTH) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    return [
        Printable("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for row in cells
    ]
