"""Managed saves that are older than their disks. Pure.

A save holds the memory of a guest whose disks stay as they were at that moment. Once another run has written to them,
resuming it puts old memory on newer disks, which destroys file systems silently (law 17).
"""

from datetime import UTC, datetime

from virtrbd.model.image import ImageRef, LastRun
from virtrbd.printable import shell_command


def is_newer(last: LastRun, run: LastRun) -> bool:
    """Whether a guest ran on the image since the run of the save.

    A run on another host is another run; on this host the generation decides, where both are known.
    """
    return last.host != run.host or bool(last.generation and run.generation and last.generation != run.generation)


def stale_save(ref: ImageRef, last: LastRun, domain: str) -> str:
    """Return why the domain's save must not be resumed, and the way out."""
    since = f" since {datetime.fromtimestamp(last.started_at, UTC):%Y-%m-%d %H:%M} UTC" if last.started_at else ""
    drop = shell_command("virsh managedsave-remove", domain)
    return (
        f"image {ref} was last run on host {last.host_label}{since}, and the managed save is of an earlier run: its "
        f"old memory would destroy the data on the newer disk; drop the save with {drop}"
    )
