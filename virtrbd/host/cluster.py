"""Ceph. With image_facts the only place that calls rados and rbd; no object of theirs leaves these."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from virtrbd.errors import ClusterError, ConfigError, DeniedError, ImageBusyError, UnavailableError
from virtrbd.host.bindings import rados, rbd
from virtrbd.host.deadline import call_within
from virtrbd.host.image_facts import describe, watchers_of
from virtrbd.host.image_metadata import (
    OWNER,
    RUNNING,
    STATE,
    config_of,
    owner_value,
    remove_metadata,
    running_value,
    strip_inherited,
)
from virtrbd.host.keyring import Key, read_key
from virtrbd.model.actual import ClusterFacts, Monitor
from virtrbd.model.image import Image, ImageMark, ImageRef, Watcher
from virtrbd.model.settings import Settings

T = TypeVar("T")


class Cluster:
    """A connection to the cluster. Every method ends within the settings' deadline or raises UnavailableError."""

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._rados = connection
        self._settings = settings

    @classmethod
    @contextmanager
    def connect(cls, settings: Settings) -> Iterator[Self]:
        """Connect, and disconnect at the end. Raises UnavailableError, DeniedError, ConfigError."""
        conf = settings.ceph.conf
        if not Path(conf).is_file():
            raise ConfigError(f"{conf}: no such file; copy the cluster's ceph.conf there, or set ceph: conf:")
        timeout = str(max(1, int(settings.timeouts.ceph)))
        # connect(timeout=) is ignored by librados, and the op timeouts are 0 = for ever by default.
        options = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"), timeout)
        if settings.ceph.keyring:
            options["keyring"] = settings.ceph.keyring
        connection = rados.Rados(conffile=conf, rados_id=settings.ceph.user, conf=options)
        cluster = cls(connection, settings)
        try:
            cluster._call("connecting to the cluster", connection.connect, extra_s=1)
        except (DeniedError, ClusterError):
            # Of a keyring that is missing or broken librados tells neither the file nor the fact: this does.
            cluster.key()
            raise
        try:
            yield cluster
        finally:
            # shutdown waits for calls in flight: it may hang like any other
            cluster._let_go("leaving the cluster", connection.shutdown)

    def _call(self, what: str, call: Callable[[], T], extra_s: float = 0) -> T:
        """Run a call into librados within the deadline and translate its errors."""
        with _translated(what, self._settings):
            return call_within(self._settings.timeouts.ceph + extra_s, f"Ceph: {what}", call)

    def _let_go(self, what: str, call: Callable[[], object]) -> None:
        """Close something. When Ceph does not answer, what was done or went wrong before is the news, not this.

        The process ends soon, and with it whatever could not be closed.
        """
        with suppress(UnavailableError):
            self._call(what, call)

    def facts(self) -> ClusterFacts:
        """Return what a domain's XML must know: fsid and every monitor of the cluster's own map."""

        def read() -> ClusterFacts:
            code, out, message = self._rados.mon_command('{"prefix": "mon dump", "format": "json"}', b"")
            if code:
                raise ClusterError(f"mon dump: {message}")
            return ClusterFacts(
                fsid=self._rados.get_fsid(),
                monitors=_monitors(json.loads(out)["mons"]),
                user=self._settings.ceph.user,
            )

        return self._call("reading the monitor map", read)

    def key(self) -> Key:
        """Return the user's cephx key. Raises ConfigError, DeniedError."""
        return read_key(self._rados.conf_get("keyring") or "", self._settings.ceph.user)

    def image(self, ref: ImageRef, *, usage: bool = False) -> Image | None:
        """Return the image (at its snapshot, when the reference has one), or None when there is none."""

        def read() -> Image | None:
            try:
                with (
                    self._ioctx(ref) as ioctx,
                    rbd.Image(ioctx, ref.name, ref.snapshot or None, read_only=True) as image,
                ):
                    return describe(ref, image, usage)
            except rbd.ImageNotFound:
                return None

        return self._call(f"reading image {ref}", read)

    def pool_config(self, pool: str) -> dict[str, str]:
        """Return the librbd options that are set on the pool: they beat ceph.conf, and QEMU's too."""

        def read() -> dict[str, str]:
            # librbd reads them from the default namespace, also for an image in another one.
            with self._ioctx(ImageRef(pool=pool, name="")) as ioctx:
                try:
                    return config_of(dict(rbd.RBD().pool_metadata_list(ioctx)))
                except rbd.PermissionError:
                    # A user of one namespace alone can't look, and nothing but a lint depends on it.
                    return {}

        return self._call(f"reading the configuration of pool {pool}", read)

    def create(self, ref: ImageRef, size_bytes: int, state: str = "") -> str:
        """Create an empty image and return its id; with `state` it is not ready until that is cleared."""

        def create() -> str:
            with self._ioctx(ref) as ioctx:
                rbd.RBD().create(ioctx, ref.name, size_bytes, old_format=False)
                with rbd.Image(ioctx, ref.name) as image:
                    if state:
                        image.metadata_set(STATE, state)
                    return str(image.id())

        return self._call(f"creating image {ref}", create)

    def clone(self, parent: ImageRef, ref: ImageRef) -> tuple[str, tuple[str, ...]]:
        """Clone a snapshot; return the clone's id and the settings of its parent that it was freed from.

        A clone inherits all image metadata of its source: marks, and conf_rbd_* that would override the spec.
        """

        def clone() -> tuple[str, tuple[str, ...]]:
            with self._ioctx(parent) as source, self._ioctx(ref) as ioctx:
                features = rbd.RBD_FEATURE_LAYERING
                with rbd.Image(source, parent.name, read_only=True) as image:
                    features = image.features() & ~_NOT_FOR_CLONES
                try:
                    rbd.RBD().clone(source, parent.name, parent.snapshot, ioctx, ref.name, features)
                except rbd.InvalidArgument as error:
                    # Clones v1, which a cluster makes until its min-compat-client is mimic, need protection.
                    raise ClusterError(
                        f"cloning {parent}: {error}; where it is not protected, do that with "
                        f"`virtrbd image snapshot create --protect {parent}`"
                    ) from error
                with rbd.Image(ioctx, ref.name) as image:
                    return str(image.id()), strip_inherited(image)

        return self._call(f"cloning {parent} to {ref}", clone)

    def strip_inherited(self, ref: ImageRef) -> tuple[str, ...]:
        """Free an image from the settings it inherited; return them as `key=value`."""
        return self._with_image(f"cleaning image {ref}", ref, strip_inherited)

    def mark(self, ref: ImageRef, mark: ImageMark) -> None:
        """Mark the image as a domain's. Raises ClusterError when it is another image by now."""
        value = owner_value(mark)

        def write(image: Any) -> None:
            if image.id() != mark.image_id:
                raise ClusterError(f"image {ref} was replaced meanwhile; run again")
            image.metadata_set(OWNER, value)

        self._with_image(f"marking image {ref}", ref, write)

    def set_ready(self, ref: ImageRef) -> None:
        """Say that a transfer into the image is done."""
        self._with_image(f"finishing image {ref}", ref, lambda image: remove_metadata(image, STATE))

    def set_running(self, refs: Sequence[ImageRef], host: str) -> None:
        """Keep the host of the last start with the images; an empty host says that it stopped cleanly."""
        for ref in refs:

            def write(image: Any) -> None:
                if host:
                    image.metadata_set(RUNNING, running_value(host, image.id()))
                else:
                    remove_metadata(image, RUNNING)

            self._with_image(f"noting the host of image {ref}", ref, write)

    def grow(self, ref: ImageRef, to_bytes: int) -> None:
        """Grow an image that nobody has open. Raises ImageBusyError; never shrinks."""

        def grow(image: Any) -> None:
            watchers = self._foreign(image)
            if watchers:
                raise ImageBusyError(_busy(ref, watchers), tuple(map(str, watchers)))
            if image.size() < to_bytes:
                image.resize(to_bytes, allow_shrink=False)

        self._with_image(f"growing image {ref}", ref, grow)

    def snapshot(self, ref: ImageRef, *, protect: bool) -> bool:
        """Create a snapshot, protected on request; return whether it was not there. Raises ClusterError."""

        def create(image: Any) -> bool:
            is_new = ref.snapshot not in {snap["name"] for snap in image.list_snaps()}
            if is_new:
                image.create_snap(ref.snapshot)
            if protect and not image.is_protected_snap(ref.snapshot):
                image.protect_snap(ref.snapshot)
            return is_new

        return self._with_image(f"creating snapshot {ref}", ref.image, create)

    def remove_half(self, ref: ImageRef, image_id: str) -> None:
        """Remove an image whose making was cut off; the id makes sure that it is that one. Raises ImageBusyError."""

        def remove() -> None:
            with self._ioctx(ref) as ioctx:
                with rbd.Image(ioctx, ref.name, read_only=True) as image:
                    if image.id() != image_id:
                        raise ClusterError(f"image {ref} was replaced meanwhile; run again")
                    watchers = self._foreign(image)
                try:
                    rbd.RBD().remove(ioctx, ref.name)
                except rbd.ImageBusy:
                    raise ImageBusyError(_busy(ref, watchers), tuple(map(str, watchers))) from None

        self._call(f"removing half image {ref}", remove)

    def trash(self, ref: ImageRef, delay_s: int) -> None:
        """Move an image that nobody has open to the trash. Raises ImageBusyError."""
        watchers = self.watchers(ref)
        if watchers:
            raise ImageBusyError(_busy(ref, watchers), tuple(map(str, watchers)))

        def trash() -> None:
            with self._ioctx(ref) as ioctx:
                rbd.RBD().trash_move(ioctx, ref.name, delay_s)

        self._call(f"moving image {ref} to the trash", trash)

    def watchers(self, ref: ImageRef) -> tuple[Watcher, ...]:
        """Return the other clients that have the image open read-write."""
        image = self.image(ref)
        return image.watchers if image else ()

    @contextmanager
    def registered(self, refs: Sequence[ImageRef]) -> Iterator[Callable[[], dict[ImageRef, tuple[Watcher, ...]]]]:
        """Open images read-write, so that others see us, and yield what lists the others on each.

        Register, then look: two hosts that only look both see nobody and both start.
        """
        with ExitStack() as stack:
            images = {}
            for ref in refs:
                ioctx = stack.enter_context(self._ioctx(ref))
                image = self._call(f"opening image {ref}", partial(rbd.Image, ioctx, ref.name))
                stack.callback(self._let_go, f"closing image {ref}", image.close)
                images[ref] = image
            yield lambda: {
                ref: self._call(f"listing watchers of {ref}", partial(self._foreign, image))
                for ref, image in images.items()
            }

    def _foreign(self, image: Any) -> tuple[Watcher, ...]:
        own = self._rados.get_instance_id()
        return tuple(watcher for watcher in watchers_of(image) if watcher.client_id != own)

    def _with_image(self, what: str, ref: ImageRef, use: Callable[[Any], T]) -> T:
        def run() -> T:
            with self._ioctx(ref) as ioctx, rbd.Image(ioctx, ref.name) as image:
                return use(image)

        return self._call(what, run)

    @contextmanager
    def _ioctx(self, ref: ImageRef) -> Iterator[Any]:
        try:
            ioctx = self._rados.open_ioctx(ref.pool)
        except rados.ObjectNotFound:
            raise ConfigError(f"image {ref}: there is no pool {ref.pool}; check the name, or create the pool") from None
        with ioctx:
            ioctx.set_namespace(ref.namespace)
            yield ioctx


# What a clone must not get from its parent's feature bits: they belong to mirrored or migrating images.
_NOT_FOR_CLONES = (
    rbd.RBD_FEATURE_JOURNALING | rbd.RBD_FEATURE_MIGRATING | rbd.RBD_FEATURE_OPERATIONS | rbd.RBD_FEATURE_DATA_POOL
)


def _monitors(mons: Sequence[dict[str, Any]]) -> tuple[Monitor, ...]:
    """Return each monitor once. A port other than the default two is tried with both protocols by librados."""
    found = set()
    for mon in mons:
        addresses = {item["type"]: item["addr"] for item in mon["public_addrs"]["addrvec"]}
        address, _, port = (addresses.get("v2") or addresses["v1"]).rpartition(":")
        # Without a port both 3300 (v2) and 6789 (v1) are tried. IPv6 goes without brackets: libvirt refuses them.
        default = port == "3300" or (port == "6789" and "v2" not in addresses)
        found.add(Monitor(address=address.strip("[]"), port=None if default else int(port)))
    return tuple(sorted(found, key=lambda monitor: (monitor.address, monitor.port or 0)))


def _busy(ref: ImageRef, watchers: Sequence[Watcher]) -> str:
    return f"image {ref} is open by {', '.join(map(str, watchers)) or 'another client'}; stop that client first"


@contextmanager
def _translated(what: str, settings: Settings) -> Iterator[None]:
    """Turn the bindings' errors into ours, with what was being done."""
    user = f"client.{settings.ceph.user}"
    denied = f"Ceph: {what}: {user} is not allowed; check its key and caps with `ceph auth get {user}`"
    try:
        yield
    except (rados.TimedOut, rbd.Timeout) as error:
        raise UnavailableError(
            f"Ceph: {what}: no answer within {settings.timeouts.ceph:g} s; check `ceph status`"
        ) from error
    except (rados.PermissionDeniedError, rados.PermissionError, rbd.PermissionError) as error:
        raise DeniedError(denied) from error
    except rados.ObjectNotFound as error:
        # Without a keyring librados says ENOENT, with an unknown user too
        raise DeniedError(f"Ceph: {what}: {error}; check that the keyring of {user} can be read") from error
    except (rados.Error, rbd.Error, OSError) as error:
        if getattr(error, "errno", None) in (74, 110):
            raise UnavailableError(f"Ceph: {what}: no answer in time; check `ceph status`") from error
        raise ClusterError(f"Ceph: {what}: {error}") from error
