"""The text of the lab's Ceph configuration files and keyrings: facts in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

POOLS = ("vms", "golden")
PGS_A_POOL = 8
_IN_THE_POOLS = ", ".join(f"profile rbd pool={pool}" for pool in POOLS)

CAPS: Mapping[str, Mapping[str, str]] = {
    "mon.": {"mon": "allow *"},
    "mgr.x": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
    "client.admin": {"mon": "allow *", "mgr": "allow *", "osd": "allow *", "mds": "allow *"},
    # What Ceph's own RBD documentation gives to a hypervisor: no pool but these, no pools made or removed.
    "client.virtrbd": {"mon": "profile rbd", "mgr": _IN_THE_POOLS, "osd": _IN_THE_POOLS},
}
"""Every user of the cluster but its OSDs, with what it may do."""

_OSD_CAPS = {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}


def caps_by_user(osds: int) -> Mapping[str, Mapping[str, str]]:
    """Return every user of a cluster of so many OSDs, with what it may do."""
    return {**CAPS, **{f"osd.{number}": _OSD_CAPS for number in range(osds)}}


def keyring(keys: Mapping[str, str], caps: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return a keyring with these users' keys; with their caps it is one that a monitor can be made from."""
    lines = []
    for user, key in keys.items():
        lines += [f"[{user}]", f"\tkey = {key}"]
        if caps:
            lines += [f'\tcaps {service} = "{allowed}"' for service, allowed in caps[user].items()]
    return "\n".join(lines) + "\n"


def monitor_address(ports: tuple[int, int]) -> str:
    """Return the monitor's address with both of its protocols."""
    return f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]"


def client_conf(*, fsid: str, ports: tuple[int, int], user: str, keyring_file: Path) -> str:
    """Return the ceph.conf of a client that holds the key of one user only."""
    return f"""\
[global]
fsid = {fsid}
mon_host = {monitor_address(ports)}

[client.{user}]
keyring = {keyring_file}
"""


def daemon_conf(*, folder: Path, fsid: str, ports: tuple[int, int], store: str) -> str:
    """Return the ceph.conf of the lab's daemons."""
    return f"""\
[global]
fsid = {fsid}
mon_host = {monitor_address(ports)}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
# nothing of a lab can be reached from elsewhere
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false

run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/log/$name.log
log_to_stderr = false
err_to_stderr = true
crash_dir = {folder}/crash
mon_data = {folder}/mon
mgr_data = {folder}/mgr
osd_data = {folder}/osd/$id
keyring = $mon_data/keyring

# everything is held once; that is meant, so it is no reason for a warning
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = {PGS_A_POOL}
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
auth_allow_insecure_global_id_reclaim = false

[mon]
mon_initial_members = a
mon_allow_pool_delete = true
# the machine's disk may be nearly full; the lab needs little of it
mon_data_avail_warn = 1
mon_data_avail_crit = 0
# only bluestore may hold erasure-coded pools that are written to in place; memstore can, and keeps nothing anyway
mon_debug_no_require_bluestore_for_ec_overwrites = true
mon_cluster_log_file = {folder}/log/cluster.log
# a cluster of one need not wait (1 s by default) for more changes to propose at once
paxos_propose_interval = 0.05

[mgr]
keyring = {folder}/mgr/keyring
mgr_initial_modules =
# `ceph status` learns about PGs by these (5 s and 2 s by default), and `up` waits for it
mgr_stats_period = 1
mgr_tick_period = 1

[osd]
keyring = $osd_data/keyring
osd_objectstore = {store}
memstore_device_bytes = 6442450944
bluestore_block_size = 10737418240
bluestore_block_create = true
# a killed client's watch goes after this many seconds (30 by default), so that tests need not wait for it
osd_client_watch_timeout = 5
# it tells the monitor before it ends; when the monitor is dead it must not wait long for that
osd_mon_shutdown_timeout = 1
"""
