"""The connection to Ceph: its deadline, its errors, and facts about the cluster."""

import errno
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.conf import client_of
from virtrbd.ceph.errors import translated
from virtrbd.ceph.keyring import Key, find_key, keyring_refusal
from virtrbd.ceph.monitors import addresses_of_map, host_names, monitors_of_map
from virtrbd.ceph.obstacles import naming_obstacles
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import as_bytes, is_utf8
from virtrbd.deadline import call_watched, call_within, is_abandoned
from virtrbd.errors import ClusterError, ConfigError, DeniedError, UnavailableError
from virtrbd.lazily import lazily
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings
from virtrbd.printable import shell_command

# It brings all nouns of domains along, and work on images needs none.
with lazily():
    from virtrbd.model.cluster import ClusterFacts

T = TypeVar("T")
Moved = Callable[[], None]

# connect(timeout=) is ignored by librados, and the op timeouts are 0 = for ever by default.
_TIMEOUTS = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")


class Cluster:
    """A connection to the cluster. A `call` ends within the settings' deadline or raises
    UnavailableError. The functions of this package take one. `key` is the user's, None where there is no cephx."""

    def __init__(self, connection: Any, settings: Settings, key: Key | None) -> None:
        self._rados = connection
        self.settings = settings
        self.key = key

    @classmethod
    @contextmanager
    def connect(cls, settings: Settings, *, op_timeouts: bool = True) -> Iterator[Self]:
        """Connect, and disconnect at the end. Raises UnavailableError, DeniedError, ConfigError.

        Without `op_timeouts` only the connecting has one: an op that expires inside a rollback or a flatten tears the
        image, so these are watched for progress from outside.
        """
        timeout = str(max(1, int(settings.timeouts.ceph)))
        options = dict.fromkeys(_TIMEOUTS if op_timeouts else _TIMEOUTS[:1], timeout)
        if settings.ceph.keyring:
            # A key in ceph.conf would override it.
            options |= {"keyring": settings.ceph.keyring, "key": "", "keyfile": ""}
        connection = client_of(settings.ceph.conf, settings.ceph.user, options)
        # Before librados, which has only an error number for a keyring that is missing or broken.
        found = find_key(connection, settings.ceph.user)
        cluster = cls(connection, settings, found.key)
        try:
            cluster.call("connecting to the cluster", cluster._connect, extra_s=1)
        except DeniedError:
            if why := found.why_none or keyring_refusal(connection, settings.ceph.user):
                raise why from None
            raise
        except ClusterError as error:
            is_keyring = getattr(error.__cause__, "errno", 0) == errno.EIO
            if is_keyring and (why := keyring_refusal(connection, settings.ceph.user)):
                raise why from None
            raise
        try:
            yield cluster
        finally:
            # shutdown waits for calls in flight, and librados crashes when it is freed under another thread's
            # call: then the connection ends with the process, which leaves at once.
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
        """Close something. When Ceph does not answer, what was done or went wrong before is reported, not this.

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
                raise ClusterError(f"{ref.pool_spec}: Ceph's Python bindings take only names in UTF-8; use `rbd` there")
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
        """Return the name of the pool with that number, for use within one `call`; for a removed pool the number."""
        # For a removed pool the bindings return None, or raise.
        with suppress(rados.ObjectNotFound):
            if name := self._rados.pool_reverse_lookup(pool_id):
                return str(name)
        return f"(pool {pool_id})"

    def option(self, name: str) -> str:
        """Return an option of Ceph's own as this client has it."""
        return self._rados.conf_get(name) or ""

    @property
    def client_id(self) -> int:
        """virtrbd's own number among the clients of the cluster."""
        return int(self._rados.get_instance_id())

    @property
    def address(self) -> str:
        """virtrbd's own address, as the cluster sees it."""
        return str(self._rados.get_addrs())

    def command(self, prefix: str, **words: str) -> Any:
        """Return what the monitors answer to a command. Raises ClusterError."""

        def ask() -> Any:
            code, out, message = self._rados.mon_command(json.dumps({"prefix": prefix, "format": "json", **words}), b"")
            if abs(code) == errno.ETIMEDOUT:
                # For a monitor that is gone a command returns a code, where other calls raise.
                raise rados.TimedOut(message, errno.ETIMEDOUT)
            if code:
                raise ClusterError(f"{prefix}: {message}")
            return json.loads(out)

        return self.call(f"asking the monitors for `{prefix}`", ask)

    def facts(self) -> "ClusterFacts":
        """Return the cluster for a domain's XML: fsid and every monitor of the cluster's own map."""
        mons = self.command("mon dump")["mons"]
        fsid = self.call("reading the fsid", self._rados.get_fsid)
        user = self.settings.ceph.user
        return ClusterFacts(
            fsid=fsid,
            monitors=monitors_of_map(mons),
            user=user,
            cephx=self.key is not None,
            map_addresses=addresses_of_map(mons),
        )

    def _connect(self) -> None:
        """Connect. Where there is no way to the monitors, librados says so on stdout, if at all."""
        conf, mon_host = self.settings.ceph.conf, self.option("mon_host")
        for name in _host_names(conf, mon_host):
            try:
                socket.getaddrinfo(name, None)
            except OSError as error:
                raise UnavailableError(f"{conf}: mon_host: {name}: {error.strerror}; check the name and DNS") from None
        try:
            self._rados.connect()
        except rados.ObjectNotFound:
            if mon_host:
                raise
            where = f"DNS has no _{self.option('mon_dns_srv_name')}._tcp"
            raise ConfigError(f"{conf}: no mon_host, and {where}; copy the cluster's own ceph.conf there") from None


def _host_names(conf: str, mon_host: str) -> tuple[str, ...]:
    try:
        return host_names(mon_host)
    except ConfigError as error:
        raise ConfigError(f"{conf}: {error}") from None


def refuse_missing_namespace(ioctx: Any, ref: ImageRef) -> None:
    """Raise ConfigError when the namespace of the context does not exist: librbd lists it as empty."""
    if ref.namespace and not rbd.RBD().namespace_exists(ioctx, ref.namespace):
        pool_spec = f"{ref.pool}/{ref.namespace}"
        raise ConfigError(
            f"namespace {pool_spec} does not exist; check the name, or make it: "
            f"{shell_command('rbd namespace create', pool_spec)}"
        )


def no_pool(name: str) -> ConfigError:
    """Return the error that says that there is no such pool."""
    return ConfigError(
        f"pool {name} does not exist; check the name, or make it: {shell_command('ceph osd pool create', name)}"
    )
