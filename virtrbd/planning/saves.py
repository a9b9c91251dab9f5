"""Managed saves that are older than the disks which they belong to. Pure.

A save holds the memory of a guest whose disks stay as they were at that moment. Once another run has written to them,
resuming it puts old memory on newer disks, which destroys file systems in silence (law 17).
"""

from datetime import UTC, datetime

from virtrbd.model.image import ImageRef, LastRun
from virtrbd.printable import shell_command


def is_newer(last: LastRun, run: LastRun) -> bool:
    """Whether a guest ran on the image since the run that is to be resumed.

    A run on another host is another one; here the generation tells, where both are known.
    """
    return last.host != run.host or bool(last.generation and run.generation and last.generation != run.generation)


def stale_save(ref: ImageRef, last: LastRun, domain: str) -> str:
    """Return why the domain's save must not be resumed, and how to go on without it."""
    since = f" since {datetime.fromtimestamp(last.started_at, UTC):%Y-%m-%d %H:%M} UTC" if last.started_at else ""
    drop = shell_command("virsh managedsave-remove", domain)
    return (
        f"image {ref} was last run on host {last.host_told}{since}, and the managed save is of an earlier run: its old "
        f"memory would destroy what is on the newer disk; drop the save with {drop}"
    )
