"""What the image verbs begin with: the arguments, the cluster, and libvirt where there is one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import Run
from virtrbd.ending import EndedError
from virtrbd.errors import DeniedError, UnavailableError, UsageError, VirtrbdError
from virtrbd.model.duration import parse_duration
from virtrbd.model.image import ImageRef
from virtrbd.model.size import parse_size

if TYPE_CHECKING:
    from virtrbd.hypervisor.connection import Hypervisor
    from virtrbd.images.image_host import ImageHost, Progress
    from virtrbd.local.state_dir import StateDir
    from virtrbd.model.hazard import Hazard
    from virtrbd.model.image import Image
    from virtrbd.model.image_use import DomainUse
    from virtrbd.model.settings import Settings


@contextmanager
def until_answered(state: "StateDir", ref: ImageRef) -> Iterator[None]:
    """Forget the intent of what was made when its answer is out, or cannot be written.

    Only a run that is ended before leaves it: run again, it says that there is nothing left to do.
    """
    try:
        yield
    except EndedError:
        raise
    except BaseException:
        state.drop_intent(ref)
        raise
    state.drop_intent(ref)


class _Parsed(click.ParamType[object]):
    """A parameter that one of the model's own parsers reads."""

    def __init__(self, name: str, parse: object) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)  # type: ignore[operator]
        except ValueError as error:
            self.fail(str(error), param, ctx)


IMAGE_TYPE = _Parsed("image", ImageRef.parse)
NEW_IMAGE_TYPE = _Parsed("image", ImageRef.parse_new)
SIZE_TYPE = _Parsed("size", parse_size)
DURATION_TYPE = _Parsed("duration", parse_duration)

IMAGE = click.argument("ref", metavar="IMAGE", type=IMAGE_TYPE)
NEW_IMAGE = click.argument("ref", metavar="IMAGE", type=NEW_IMAGE_TYPE)
SNAPSHOT = click.argument("ref", metavar="IMAGE@SNAPSHOT", type=IMAGE_TYPE)
NEW_SNAPSHOT = click.argument("ref", metavar="IMAGE@SNAPSHOT", type=NEW_IMAGE_TYPE)
VERIFY = click.option("--verify", is_flag=True, help="Read both again and compare them.")


# What an answer says of an image that an earlier run of the same made, and was ended before it could say so.
ALREADY_THERE = "already there, "


def require_plain(ref: ImageRef) -> None:
    """Raise UsageError when the name is a snapshot's."""
    if ref.snapshot:
        raise UsageError(f"{ref} is a snapshot; write {ref.image}")


def require_snapshot(ref: ImageRef) -> None:
    """Raise UsageError when the name is not a snapshot's."""
    if not ref.snapshot:
        raise UsageError(f"{ref} names no snapshot; write {ref}@NAME")


class _Libvirt:
    """libvirt, connected to when something is asked of it first; its bindings take longer to import than Ceph's."""

    def __init__(self, settings: "Settings", stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        # Clones are made by several threads, and each wants to know who we are.
        self._lock = threading.RLock()
        self._refused: VirtrbdError | None = None

    def hypervisor(self) -> "Hypervisor | None":
        """Return the connection, None where libvirt does not answer."""
        with self._lock:
            return self._connected

    def has_answered(self) -> bool:
        """Whether libvirt was asked for something, and answers."""
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
            from virtrbd.hypervisor.connection import Hypervisor

            return self._stack.enter_context(Hypervisor.connect(self._settings))
        except (UnavailableError, DeniedError) as error:
            # A machine for images alone has none; verbs that must know what domains do say so.
            self._refused = error
            return None

    @cached_property
    def _host_uuid(self) -> str:
        return self._connected.host_uuid() if self._connected else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A host for work on images."""

    host: "ImageHost"
    libvirt: _Libvirt

    @property
    def hypervisor(self) -> "Hypervisor | None":
        """libvirt, None where it does not answer."""
        return self.libvirt.hypervisor()

    def uses(self) -> "tuple[DomainUse, ...] | None":
        """Return what the domains of this host use, None where libvirt does not answer."""
        from virtrbd.images.users import read_uses

        return read_uses(self.hypervisor) if self.hypervisor else None

    def known_uses(self, ref: ImageRef, allowed: "frozenset[Hazard]") -> "tuple[DomainUse, ...] | None":
        """Return what the domains of this host use, None where libvirt does not answer and that may be passed by.

        Raises UnavailableError, DeniedError: on a machine for images alone a person says `--allow takes-over`.
        """
        if "takes-over" not in allowed:
            self.libvirt.require(f"which domains of this host use image {ref.image}")
        return self.uses()

    def require_owner(self, image: "Image", allowed: "frozenset[Hazard]") -> None:
        """Raise UnavailableError, DeniedError where libvirt would have to say whether the image's host is this one."""
        if image.mark and "takes-over" not in allowed:
            self.libvirt.require(
                f"whether host {image.mark.host_told}, which image {image.ref} belongs to, is this one"
            )

    def with_progress(self, progress: "Progress") -> "ImageHost":
        """Return the host with what shows progress."""
        return replace(self.host, progress=progress)


@contextmanager
def image_session(run: Run) -> Iterator[Session]:
    """Connect to Ceph, and to libvirt once it is asked: it knows who we are and what its domains use.

    Raises UnavailableError, DeniedError, ConfigError for Ceph.
    """
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.images.image_host import ImageHost
    from virtrbd.local.state_dir import StateDir

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


def mark_what_waits(host: "ImageHost") -> None:
    """Mark what was made while libvirt did not answer; mostly there is nothing."""
    from virtrbd.images.traces import unmarked

    # Whoever may not read the state directory makes nothing there either.
    with suppress(DeniedError):
        if next(unmarked(host.state), None):
            from virtrbd.images.create import mark_unmarked

            mark_unmarked(host)
