"""The cluster according to ceph.conf alone, for rendering without a connection."""

import os
from collections.abc import Callable

from virtrbd.ceph.conf import NO_KEYRING, auth_methods, read_file, reader_of
from virtrbd.ceph.monitors import monitors_of_conf
from virtrbd.errors import ConfigError, UnavailableError
from virtrbd.lazily import lazily
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.settings import Settings

# Where librados is, it reads the file.
with lazily():
    from virtrbd.ceph.plain_conf import plain_options

NO_CLUSTER = "00000000-0000-0000-0000-000000000000"


def read_cluster_facts(settings: Settings) -> ClusterFacts:
    """Return fsid and monitors of ceph.conf; nil and none where there is no such file.

    Raises ConfigError with what cannot be read correctly, DeniedError.
    """
    conf, user = settings.ceph.conf, settings.ceph.user
    if not os.path.exists(conf):
        return ClusterFacts(fsid=NO_CLUSTER, monitors=(), user=user)
    option = _options(conf, user)
    try:
        monitors = monitors_of_conf(option("mon_host"))
    except ConfigError as error:
        raise ConfigError(f"{conf}: {error}") from None
    # Without the option, as usual, the cluster has cephx.
    cephx = "cephx" in (auth_methods(option) or {"cephx"})
    return ClusterFacts(fsid=option("fsid") or NO_CLUSTER, monitors=monitors, user=user, cephx=cephx)


def _options(conf: str, user: str) -> Callable[[str], str]:
    """Return the lookup of options: Ceph's library; without it only lines with one meaning are read."""
    try:
        client = reader_of(conf, user, NO_KEYRING)
    except UnavailableError:
        options = plain_options(conf, read_file(conf), user)
        return lambda name: options.get(name, "")
    return lambda name: client.conf_get(name) or ""
