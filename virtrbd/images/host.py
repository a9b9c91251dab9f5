"""The host of a run: its cluster, its libvirt, its state directory, and what the operator allows there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from msgspec import Struct, field

from virtrbd.ceph.cluster import Cluster
from virtrbd.errors import DeniedError, UnavailableError, VirtrbdError
from virtrbd.images.into_cache import Progress
from virtrbd.lazily import lazily
from virtrbd.local.state_dir import StateDir
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_use import DomainUse
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings

if TYPE_CHECKING:
    from virtrbd.hypervisor.connection import Hypervisor

# It imports a parser of XML, which most work on images does not need.
with lazily():
    from virtrbd.images.users import read_uses


class Host(Struct, frozen=True, kw_only=True):
    """The host of a run. libvirt is connected to when it is first asked for: a machine for images alone has none.

    `say` gets a message for the operator; `did` what was done, for the report of a run that a signal ends; `progress`
    the bytes done and the bytes in all, 0 in all where unknown.
    """

    settings: Settings
    cluster: Cluster
    state: StateDir
    allowed: frozenset[Hazard]
    say: Callable[[str], None]
    did: Callable[[str], None]
    progress: Progress = lambda _done, _total: None
    # What a copy with another progress shares: libvirt or why it refused, once it was asked, and what ends connections.
    _libvirt: list["Hypervisor | VirtrbdError"] = field(default_factory=list)
    _connections: ExitStack = field(default_factory=ExitStack)
    # Several threads make clones, and each needs this host's UUID.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    @contextmanager
    def connect(
        cls,
        settings: Settings,
        allowed: frozenset[Hazard],
        say: Callable[[str], None],
        did: Callable[[str], None],
        *,
        needs_libvirt: bool,
    ) -> Iterator[Self]:
        """Connect to Ceph, to libvirt before it where it is needed, and disconnect at the end.

        Raises UnavailableError, DeniedError, ConfigError.
        """
        with ExitStack() as connections:
            libvirt = [_connect(settings, connections)] if needs_libvirt else []
            cluster = connections.enter_context(Cluster.connect(settings))
            host = cls(
                settings=settings,
                cluster=cluster,
                state=StateDir(settings.state_dir),
                allowed=allowed,
                say=say,
                did=did,
                _libvirt=[*libvirt],
                _connections=connections,
            )
            if needs_libvirt:
                # Every mark has it: a libvirt that does not say it ends the run before anything is begun.
                _ = host.host_uuid
            yield host

    @property
    def hypervisor(self) -> "Hypervisor":
        """libvirt. Raises UnavailableError, DeniedError where it does not answer."""
        answer = self._answer()
        if isinstance(answer, VirtrbdError):
            raise answer
        return answer

    @property
    def host_uuid(self) -> str:
        """libvirt's UUID of this host; empty where there is no libvirt: images made on such a host carry no mark."""
        with self._lock:
            answer = self._answer()
            return "" if isinstance(answer, VirtrbdError) else answer.host_uuid()

    @property
    def has_libvirt(self) -> bool:
        """Whether libvirt was asked for, and answers."""
        return any(not isinstance(answer, VirtrbdError) for answer in self._libvirt)

    def uses(self) -> tuple[DomainUse, ...] | None:
        """Return what the domains of this host use, None where libvirt does not answer."""
        answer = self._answer()
        return None if isinstance(answer, VirtrbdError) else read_uses(answer)

    def known_uses(self, ref: ImageRef) -> tuple[DomainUse, ...] | None:
        """Return what the domains of this host use, None where libvirt does not answer and that is allowed.

        Raises UnavailableError, DeniedError: on a machine without libvirt the operator writes `--allow takes-over`.
        """
        if Hazard.TAKES_OVER not in self.allowed:
            self._require_libvirt(f"which domains of this host use image {ref.image}")
        return self.uses()

    def require_owner(self, image: Image) -> None:
        """Raise UnavailableError, DeniedError where libvirt would have to say whether the image's host is this one."""
        if image.mark and Hazard.TAKES_OVER not in self.allowed:
            self._require_libvirt(
                f"whether host {image.mark.host_label}, which image {image.ref} belongs to, is this one"
            )

    def with_progress(self, progress: Progress) -> Self:
        """Return the host with its progress display."""
        return replace(self, progress=progress)

    def _require_libvirt(self, what: str) -> None:
        answer = self._answer()
        if isinstance(answer, VirtrbdError):
            fact = f"libvirt does not answer here, so {what} is unknown; start libvirtd, then run again"
            raise type(answer)(f"{fact} ({answer.as_line})")

    def _answer(self) -> "Hypervisor | VirtrbdError":
        """Return libvirt, or why it does not answer: it is asked once."""
        with self._lock:
            if not self._libvirt:
                try:
                    self._libvirt.append(_connect(self.settings, self._connections))
                except (UnavailableError, DeniedError) as error:
                    self._libvirt.append(error)
            return self._libvirt[0]


def _connect(settings: Settings, connections: ExitStack) -> "Hypervisor":
    # Here: a machine for images alone has no bindings either, and they take longer to import than Ceph's.
    from virtrbd.hypervisor.connection import Hypervisor

    return connections.enter_context(Hypervisor.connect(settings))
