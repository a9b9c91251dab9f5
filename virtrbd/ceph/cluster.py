"""The connection to Ceph: its deadline, its errors, and what the cluster says of itself."""

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.errors import translated
from virtrbd.ceph.keyring import Key, read_key
from virtrbd.ceph.obstacles import naming_obstacles
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import as_bytes, is_utf8
from virtrbd.deadline import call_watched, call_within, is_abandoned
from virtrbd.errors import ClusterError, ConfigError, DeniedError, UnavailableError
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings
from virtrbd.printable import shell_command

if TYPE_CHECKING:
    from virtrbd.model.actual import ClusterFacts, Monitor

T = TypeVar("T")
Moved = Callable[[], None]

# connect(timeout=) is ignored by librados, and the op timeouts are 0 = for ever by default.
_TIMEOUTS = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")


class Cluster:
    """A connection to the cluster. What goes through `call` ends within the settings' deadline or raises
    UnavailableError. The functions of this package take one."""

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._rados = connection
        self.settings = settings

    @classmethod
    @contextmanager
    def connect(cls, settings: Settings, *, op_timeouts: bool = True) -> Iterator[Self]:
        """Connect, and disconnect at the end. Raises UnavailableError, DeniedError, ConfigError.

        Without `op_timeouts` only the connecting has one: an op that expires inside a rollback or a flatten tears the
        image, so these are watched for progress from outside.
        """
        conf = settings.ceph.conf
        _require_readable(conf)
        timeout = str(max(1, int(settings.timeouts.ceph)))
        options = dict.fromkeys(_TIMEOUTS if op_timeouts else _TIMEOUTS[:1], timeout)
        if settings.ceph.keyring:
            options["keyring"] = settings.ceph.keyring
        try:
            connection = rados.Rados(conffile=conf, rados_id=settings.ceph.user, conf=options)
        except rados.Error as error:
            raise ConfigError(f"{conf}: Ceph cannot read it ({error}); copy the cluster's own again") from error
        cluster = cls(connection, settings)
        try:
            cluster.call("connecting to the cluster", connection.connect, extra_s=1)
        except (DeniedError, ClusterError):
            # Of a keyring that is missing or broken librados tells neither the file nor the fact: this does.
            cluster.key()
            raise
        try:
            yield cluster
        finally:
            # shutdown waits for calls in flight, and librados crashes when it is taken away under another thread's
            # call: then it goes with the process, which leaves at once.
            if not is_abandoned():
                cluster.let_go("leaving the cluster", connection.shutdown)

    def call(self, what: str, call: Callable[[], T], extra_s: float = 0, *, changes: bool = False) -> T:
        """Run a call into librados within the deadline and translate its errors; `changes`: it changes something."""
        with translated(what, self.settings):
            return call_within(self.settings.timeouts.ceph + extra_s, f"Ceph: {what}", call, changes=changes)

    def call_in_steps(self, what: str, call: Callable[[Moved], T]) -> T:
        """Run many calls in a row, each within the deadline: `call` gets what it calls after each of them."""
        timeout_s, moved_at = self.settings.timeouts.ceph, time.monotonic()

        def moved() -> None:
            nonlocal moved_at
            moved_at = time.monotonic()

        def watch() -> None:
            if time.monotonic() > moved_at + timeout_s:
                raise UnavailableError(f"Ceph: {what}: no answer within {timeout_s:g} s; check `ceph status`")

        with translated(what, self.settings):
            return call_watched(min(timeout_s, 1.0), f"Ceph: {what}", lambda: call(moved), watch)

    def let_go(self, what: str, call: Callable[[], object]) -> None:
        """Close something. When Ceph does not answer, what was done or went wrong before is the news, not this.

        The process ends soon, and with it whatever could not be closed.
        """
        with suppress(UnavailableError):
            self.call(what, call)

    def with_image(self, what: str, ref: ImageRef, use: Callable[[Any, Any], T]) -> T:
        """Return what `use` returns of the context and the image, opened read-write to be changed."""

        def run() -> T:
            with self.ioctx(ref) as ioctx, open_image(ioctx, ref) as image, naming_obstacles(ref, image):
                return use(ioctx, image)

        return self.call(what, run, changes=True)

    @contextmanager
    def ioctx(self, ref: ImageRef) -> Iterator[Any]:
        """Yield the context of an image's pool and namespace, for use within one `call`.

        Raises ConfigError, and ClusterError for a name that Ceph's bindings cannot take.
        """
        for name in (ref.pool, ref.namespace):
            if as_bytes(name) and not is_utf8(name):
                raise ClusterError(f"{ref.room}: Ceph's Python bindings take only names in UTF-8; use `rbd` there")
        try:
            ioctx = self._rados.open_ioctx(ref.pool)
        except rados.ObjectNotFound:
            raise no_pool(ref.pool) from None
        with ioctx:
            ioctx.set_namespace(ref.namespace)
            yield ioctx

    def pools(self) -> frozenset[str]:
        """Return the names of all pools."""
        return frozenset(self.call("listing pools", self.list_pools))

    def list_pools(self) -> list[str]:
        """Return the names of all pools, for use within one `call`."""
        return list(self._rados.list_pools())

    def pool_name(self, pool_id: int) -> str:
        """Return the name of the pool with that number."""
        return self.call(f"looking up pool {pool_id}", lambda: self.name_of_pool(pool_id))

    def name_of_pool(self, pool_id: int) -> str:
        """Return the name of the pool with that number, for use within one `call`; of one that is gone the number."""
        # The bindings say None, or raise, of a pool that is gone.
        with suppress(rados.ObjectNotFound):
            if name := self._rados.pool_reverse_lookup(pool_id):
                return str(name)
        return f"(pool {pool_id})"

    def option(self, name: str) -> str:
        """Return an option of Ceph's own as this client has it."""
        return self._rados.conf_get(name) or ""

    @property
    def client_id(self) -> int:
        """Our own number among the clients of the cluster."""
        return int(self._rados.get_instance_id())

    @property
    def address(self) -> str:
        """Our own address, as the cluster sees it."""
        return str(self._rados.get_addrs())

    def command(self, prefix: str, **words: str) -> Any:
        """Return what the monitors answer to a command. Raises ClusterError."""

        def ask() -> Any:
            code, out, message = self._rados.mon_command(json.dumps({"prefix": prefix, "format": "json", **words}), b"")
            if abs(code) == errno.ETIMEDOUT:
                # Of a monitor that is gone a command tells by its code, where other calls raise.
                raise rados.TimedOut(message, errno.ETIMEDOUT)
            if code:
                raise ClusterError(f"{prefix}: {message}")
            return json.loads(out)

        return self.call(f"asking the monitors for `{prefix}`", ask)

    def facts(self) -> "ClusterFacts":
        """Return what a domain's XML must know: fsid and every monitor of the cluster's own map."""
        # Here, not above: it brings all nouns of domains along, and work on images needs none.
        from virtrbd.model.actual import ClusterFacts

        monitors = _monitors(self.command("mon dump")["mons"])
        fsid = self.call("reading the fsid", self._rados.get_fsid)
        return ClusterFacts(fsid=fsid, monitors=monitors, user=self.settings.ceph.user)

    def key(self) -> Key:
        """Return the user's cephx key. Raises ConfigError, DeniedError."""
        return read_key(self._rados.conf_get("keyring") or "", self.settings.ceph.user)


def refuse_missing_namespace(ioctx: Any, ref: ImageRef) -> None:
    """Raise ConfigError when the namespace of the context is not there: librbd says of such a one that it is empty."""
    if ref.namespace and not rbd.RBD().namespace_exists(ioctx, ref.namespace):
        room = f"{ref.pool}/{ref.namespace}"
        raise ConfigError(
            f"there is no namespace {room}; check the name, or make it: {shell_command('rbd namespace create', room)}"
        )


def _require_readable(conf: str) -> None:
    """Raise ConfigError, DeniedError where the conf cannot be read: of either librados says that it is not there."""
    try:
        is_file = stat.S_ISREG(os.stat(conf).st_mode)
        if is_file:
            os.close(os.open(conf, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        raise DeniedError(f"{conf}: permission denied; run as a user that may read it") from None
    except OSError:
        is_file = False
    if not is_file:
        raise ConfigError(f"{conf}: no such file; copy the cluster's ceph.conf there, or set ceph: conf:")


def no_pool(name: str) -> ConfigError:
    """Return the error that says that there is no such pool."""
    return ConfigError(
        f"there is no pool {name}; check the name, or make it: {shell_command('ceph osd pool create', name)}"
    )


def _monitors(mons: Sequence[dict[str, Any]]) -> "tuple[Monitor, ...]":
    """Return each monitor once. A port other than the default two is tried with both protocols by librados."""
    from virtrbd.model.actual import Monitor

    found = set()
    for mon in mons:
        addresses = {item["type"]: item["addr"] for item in mon["public_addrs"]["addrvec"]}
        address, _, port = (addresses.get("v2") or addresses["v1"]).rpartition(":")
        # Without a port both 3300 (v2) and 6789 (v1) are tried. IPv6 goes without brackets: libvirt refuses them.
        default = port == "3300" or (port == "6789" and "v2" not in addresses)
        found.add(Monitor(address=address.strip("[]"), port=None if default else int(port)))
    return tuple(sorted(found, key=lambda monitor: (monitor.address, monitor.port or 0)))
