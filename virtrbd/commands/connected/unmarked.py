"""Images that were made while libvirt did not answer, and wait for their mark."""

from contextlib import suppress

from virtrbd.errors import DeniedError
from virtrbd.images.host import Host
from virtrbd.images.traces import unmarked


def mark_what_waits(host: Host) -> None:
    """Mark what was made while libvirt did not answer; usually there is nothing."""
    # A user who may not read the state directory makes nothing there either.
    with suppress(DeniedError):
        if next(unmarked(host.state), None):
            # Usually it is not needed, and takes long to import.
            from virtrbd.images.create import mark_unmarked

            mark_unmarked(host)
