"""The host as verbs on images work with it: Ceph, and libvirt where there is one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.commands.connected.unmarked import mark_what_waits
from virtrbd.commands.frame.run import Run
from virtrbd.errors import DeniedError, UnavailableError, VirtrbdError
from virtrbd.images.image_host import ImageHost, Progress
from virtrbd.local.state_dir import StateDir
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_use import DomainUse
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings

if TYPE_CHECKING:
    from virtrbd.hypervisor.connection import Hypervisor


class _Libvirt:
    """libvirt, connected to at the first query; its bindings take longer to import than Ceph's."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        # Several threads make clones, and each needs this host's UUID.
        self._lock = threading.RLock()
        self._refused: VirtrbdError | None = None

    def hypervisor(self) -> "Hypervisor | None":
        """Return the connection, None where libvirt does not answer."""
        with self._lock:
            return self._connected

    def has_answered(self) -> bool:
        """Whether libvirt was queried, and answers."""
        return bool(self.__dict__.get("_connected"))

    def require(self, what: str) -> None:
        """Raise UnavailableError, DeniedError where libvirt does not answer, with `what` is unknown for that reason."""
        with self._lock:
            if self._connected is None and self._refused:
                fact = f"libvirt does not answer here, so {what} is unknown; start libvirtd, then run again"
                raise type(self._refused)(f"{fact} ({self._refused.as_line})")

    def host_uuid(self) -> str:
        """Return the UUID of this host, "" where libvirt does not answer."""
        with self._lock:
            return self._host_uuid

    @cached_property
    def _connected(self) -> "Hypervisor | None":
        try:
            # Here: a machine for images alone has no bindings either.
            from virtrbd.hypervisor.connection import Hypervisor

            return self._stack.enter_context(Hypervisor.connect(self._settings))
        except (UnavailableError, DeniedError) as error:
            # Verbs that need the domains' uses report that themselves.
            self._refused = error
            return None

    @cached_property
    def _host_uuid(self) -> str:
        return self._connected.host_uuid() if self._connected else ""


class Session(Struct, frozen=True, kw_only=True):
    """A host for work on images."""

    host: ImageHost
    libvirt: _Libvirt

    @property
    def hypervisor(self) -> "Hypervisor | None":
        """libvirt, None where it does not answer."""
        return self.libvirt.hypervisor()

    def uses(self) -> tuple[DomainUse, ...] | None:
        """Return what the domains of this host use, None where libvirt does not answer."""
        # It imports a parser of XML, which most verbs on images do not need.
        from virtrbd.images.users import read_uses

        return read_uses(self.hypervisor) if self.hypervisor else None

    def known_uses(self, ref: ImageRef, allowed: frozenset[Hazard]) -> tuple[DomainUse, ...] | None:
        """Return what the domains of this host use, None where libvirt does not answer and that is allowed.

        Raises UnavailableError, DeniedError: on a machine without libvirt the operator writes `--allow takes-over`.
        """
        if "takes-over" not in allowed:
            self.libvirt.require(f"which domains of this host use image {ref.image}")
        return self.uses()

    def require_owner(self, image: Image, allowed: frozenset[Hazard]) -> None:
        """Raise UnavailableError, DeniedError where libvirt would have to say whether the image's host is this one."""
        if image.mark and "takes-over" not in allowed:
            self.libvirt.require(
                f"whether host {image.mark.host_told}, which image {image.ref} belongs to, is this one"
            )

    def with_progress(self, progress: Progress) -> ImageHost:
        """Return the host with its progress display."""
        return replace(self.host, progress=progress)


@contextmanager
def image_session(run: Run) -> Iterator[Session]:
    """Connect to Ceph, and to libvirt at the first query: it knows this host's UUID and what its domains use.

    Raises UnavailableError, DeniedError, ConfigError for Ceph.
    """
    settings = run.settings()
    with Cluster.connect(settings) as cluster, ExitStack() as stack:
        libvirt = _Libvirt(settings, stack)
        host = ImageHost(
            cluster=cluster,
            state=StateDir(settings.state_dir),
            settings=settings,
            identify=libvirt.host_uuid,
            say=run.say,
            progress=lambda _done, _total: None,
        )
        yield Session(host=host, libvirt=libvirt)
        if libvirt.has_answered():
            mark_what_waits(host)
