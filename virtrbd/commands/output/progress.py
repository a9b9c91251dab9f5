"""Progress of long work: a bar on a terminal, JSON lines on request, nothing in cron."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virtrbd.commands.frame.run import Run
from virtrbd.commands.output.printing import print_json
from virtrbd.printable import cut, printable

_Progress = Callable[[int, int], None]
_LINE_EVERY_S = 1.0


@contextmanager
def showing_progress(run: Run, how: str, title: str) -> Iterator[_Progress]:
    """Yield a function that takes the bytes done and in all (0 where unknown)."""
    if how == "json":
        yield _json_lines(title)
    elif how == "auto" and not run.quiet and sys.stderr.isatty():
        with _bar(title) as update:
            yield update
    else:
        yield lambda _done, _total: None


def _json_lines(title: str) -> _Progress:
    began_at, shown_at, last = time.monotonic(), 0.0, (-1, -1)

    def update(done: int, total: int) -> None:
        nonlocal shown_at, last
        now, is_end = time.monotonic(), done == total and (done, total) != last
        if now < shown_at + _LINE_EVERY_S and not is_end:
            return
        shown_at, last = now, (done, total)
        rate = done / (now - began_at) if now > began_at else 0.0
        line = {
            "what": title,
            "done_bytes": done,
            "total_bytes": total or None,
            "bytes_per_s": round(rate),
            "eta_s": round((total - done) / rate, 1) if total and rate else None,
        }
        print_json({"progress": line}, to_stderr=True)

    return update


@contextmanager
def _bar(title: str) -> Iterator[_Progress]:
    # Without a terminal on standard error there is no bar.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        # Titles name files and images, which may hold what rich takes for its markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(cut(title)), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)
