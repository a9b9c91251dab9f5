"""What people write into ceph.conf and keyrings, held against clusters: the lab's, and one without cephx."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lablib import cephconf
from lablib.ceph import free_ports

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.offline import read_cluster_facts
from virtrbd.errors import ConfigError, DeniedError, UnavailableError, VirtrbdError
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.planning.secret import secret_uuid_for
from virtrbd.specs.settings import load_settings

FSID = "11111111-2222-4333-8444-55555555555a"


@pytest.fixture
def its(lab: Path) -> Settings:
    return load_settings(f"{lab}/hosts/kvm-1/virtrbd.yaml")


@pytest.fixture
def words(its: Settings) -> dict[str, str]:
    """What the lab's own files say."""
    pairs = (line.split("=", 1) for line in Path(its.ceph.conf).read_text().splitlines() if "=" in line)
    said = {name.strip(): value.strip() for name, value in pairs}
    key = Path(said["keyring"]).read_text().split("key =", 1)[1].split()[0]
    port = said["mon_host"].rpartition("v1:127.0.0.1:")[2].rstrip("]")
    return {**said, "key": key, "FSID": said["fsid"].upper(), "port": port}


def with_conf(settings: Settings, folder: Path, text: str) -> Settings:
    conf = folder / "ceph.conf"
    conf.write_text(text)
    return replace(settings, ceph=replace(settings.ceph, conf=str(conf)))


RIGHT = {
    "as Ceph writes it": "[global]\nfsid = {fsid}\nmon_host = {mon_host}\n[client.virtrbd]\nkeyring = {keyring}\n",
    "by hand": '[global]\nfsid={FSID} # ours\nmon  host = "{mon_host}" ; one\n[client]\nkeyring = /none,{keyring}\n',
    "a name, and the key itself": "[client]\nmon host = localhost:{port}\nkey = '{key}'\nkeyring = /none\n",
    "a section of the monitor": "[global]\nkeyfile = {folder}/key\n[mon.a]\nmon addr = 127.0.0.1:{port}\n",
}


def test_every_way_to_say_it_leads_to_the_same_cluster(its: Settings, words: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(words["key"])
    for how, text in RIGHT.items():
        settings = with_conf(its, tmp_path, text.format(**words, folder=tmp_path))
        with Cluster.connect(settings) as cluster:
            facts = cluster.facts()
            assert cluster.key is not None, how
            assert cluster.key.raw == base64.b64decode(words["key"]), how
        assert (facts.fsid, facts.cephx) == (words["fsid"], True), how
        assert [monitor.address for monitor in facts.monitors] == ["127.0.0.1"], how
        offline = read_cluster_facts(settings)
        if "fsid" in text.lower():
            assert secret_uuid_for(offline.secret_usage) == secret_uuid_for(facts.secret_usage), how


def test_the_settings_keyring_beats_a_key_in_ceph_conf(its: Settings, words: dict[str, str], tmp_path: Path) -> None:
    settings = with_conf(its, tmp_path, f"[global]\nmon_host = {words['mon_host']}\nkey = AQ==\nkeyfile = /none\n")
    settings = replace(settings, ceph=replace(settings.ceph, keyring=words["keyring"]))
    with Cluster.connect(settings) as cluster:
        assert cluster.key is not None


WRONG: dict[str, tuple[str, type[VirtrbdError], str]] = {
    "no monitors": ("[client]\nkeyring = {keyring}\n", ConfigError, "no mon_host, and DNS has no _ceph-mon._tcp"),
    "a name that is none": (
        "[client]\nmon_host = mon-a.invalid\nkeyring = {keyring}\n",
        UnavailableError,
        "mon_host: mon-a.invalid: ",
    ),
    "no address": ("[client]\nmon_host = a = b\nkeyring = {keyring}\n", ConfigError, "mon_host: '=' is not"),
    "no cephx": (
        "[client]\nmon_host = {mon_host}\nkeyring = {keyring}\nauth_client_required = none\n",
        DeniedError,
        "remove auth_client_required",
    ),
    "no keyring": (
        "[client]\nmon_host = {mon_host}\nkeyring = /none\n",
        ConfigError,
        "no key for client.virtrbd in /none",
    ),
    "a line of ceph.conf": (
        "[client]\nmon_host = {mon_host}\nkeyring = {folder}/foreign\n",
        ConfigError,
        "foreign: Ceph cannot read it: line 3 is neither a `key` nor `caps`",
    ),
    "another's broken key": (
        "[client]\nmon_host = {mon_host}\nkeyring = {folder}/broken\n",
        ConfigError,
        "broken: Ceph cannot read it: a key in it is broken; mend that, or get it with `ceph auth get client.virtrbd",
    ),
    "a bare word": (
        "[client]\nmon_host = {mon_host}\nkeyring = {folder}/bare\n",
        ConfigError,
        "bare: Ceph cannot read it: line 1 is not the name of a Ceph user",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_and_no_key_is(
    what: str, its: Settings, words: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ring = Path(words["keyring"]).read_text()
    (tmp_path / "foreign").write_text(f"{ring.strip()}\nmon_host = {words['key']}\n")
    (tmp_path / "broken").write_text(f"{ring}[client.other]\nkey = AQA=\n")
    (tmp_path / "bare").write_text(ring.replace("[client.virtrbd]", "[client]"))
    text, error, why = WRONG[what]
    settings = with_conf(its, tmp_path, text.format(**words, folder=tmp_path))
    with pytest.raises(error) as caught, Cluster.connect(settings):
        pass
    assert why in str(caught.value)
    shown = capfd.readouterr()
    assert words["key"][:16] not in f"{caught.value}{shown.err}"
    # It is for a program's answer alone.
    assert shown.out == ""


@pytest.fixture
def without_cephx(its: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The settings of a client of a cluster of one monitor, which asks nobody who he is."""
    for name in ("mon", "run", "log", "crash"):
        (tmp_path / name).mkdir()
    ports, conf = free_ports(), tmp_path / "daemon.conf"
    text = cephconf.daemon_conf(folder=tmp_path, fsid=FSID, ports=ports, store="memstore")
    conf.write_text(text.replace("_required = cephx", "_required = none"))
    monmap, address = tmp_path / "monmap", cephconf.monitor_address(ports)
    for words in (
        ["monmaptool", "--create", "--fsid", FSID, "--addv", "a", address, str(monmap)],
        ["ceph-mon", "-c", str(conf), "-i", "a", "--mkfs", "--monmap", str(monmap)],
    ):
        subprocess.run(words, check=True, capture_output=True, timeout=30)
    with subprocess.Popen(["ceph-mon", "-f", "-c", str(conf), "-i", "a"], stderr=subprocess.DEVNULL) as monitor:
        yield with_conf(its, tmp_path, f"[global]\nmon_host = {address}\nkeyring = {tmp_path}/none\n")
        monitor.kill()


def test_a_cluster_without_cephx_needs_no_keyring(without_cephx: Settings, tmp_path: Path) -> None:
    own = Path(without_cephx.ceph.conf).read_text()
    for said in ("", "auth_client_required = none\n", "auth supported = none\n"):
        settings = with_conf(without_cephx, tmp_path, own + said)
        with Cluster.connect(settings) as cluster:
            facts = cluster.facts()
            assert cluster.key is None
        assert (facts.fsid, facts.cephx) == (FSID, False)
