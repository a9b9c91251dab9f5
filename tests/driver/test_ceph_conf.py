"""ceph.conf and keyrings, read by Ceph's own library; no cluster is asked."""

import base64
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import rados
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.ceph.conf import NO_KEYRING, client_of, reader_of
from virtrbd.ceph.keyring import Key, find_key, key_in, read_key
from virtrbd.ceph.offline import NO_CLUSTER, read_cluster_facts
from virtrbd.ceph.plain_conf import plain_options
from virtrbd.errors import ConfigError, DeniedError, VirtrbdError
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.settings import CephSettings, Settings

FSID = "b370290b-7470-525e-9051-f8ab7b076b1c"
RAW = b"\x01\x00" + bytes(8) + b"\x10\x00" + b"secret-of-a-key!"
KEY = base64.b64encode(RAW).decode()
KEYRING = f'[client.other]\n\tkey = QUFB\n[client.virtrbd]\n\tkey = {KEY}\n\tcaps mon = "profile rbd"\n'


def written(tmp_path: Path, text: str, name: str = "ceph.conf") -> str:
    file = tmp_path / name
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(file)


def facts(tmp_path: Path, text: str) -> ClusterFacts:
    return read_cluster_facts(Settings(host="kvm-1", ceph=CephSettings(conf=written(tmp_path, text))))


@pytest.mark.parametrize(
    "text",
    [
        "[global]\nfsid = {fsid}\nmon_host = 10.0.0.1,10.0.0.2\n",
        "[global]\nfsid = {FSID} # ours\nmon host = 10.0.0.1 10.0.0.2 ; both\n",
        "[global]\n\tfsid = \"{FSID}\"\n\tmon  host='10.0.0.1, 10.0.0.2' # both\n",
        "[global]\r\nfsid={fsid}\r\nmon_host = 10.0.0.1, \\\r\n 10.0.0.2\r\n",
        "[global]\nfsid = {fsid}\nmon_host = 10.0.0.1, \\\n   10.0.0.2\n; the end",
        "[global]\nfsid = {fsid}\nmon_host = 10.9.9.9\n[client]\nmon_host = 10.0.0.1,10.0.0.2\n",
        "[client.virtrbd]\nmon_host = 10.0.0.1,10.0.0.2\nfsid = {FSID}\n[client]\nmon_host = 10.9.9.9\n",
        "[global]\nmon_host = 10.9.9.9\n[global]\nfsid = {fsid}\nmon_host = 10.0.0.1,10.0.0.2\n[mon]\nmon_host=m\n",
        '[global]\n# f\u00fcr\nfsid = {fsid}\nmon_host = 10.0.0.1,10.0.0.2\ncrush_location = "root=m\u00fcnchen"\n',
    ],
)
def test_every_form_says_the_same(text: str, tmp_path: Path) -> None:
    found = facts(tmp_path, text.format(fsid=FSID, FSID=FSID.upper()))
    assert (found.fsid, [monitor.address for monitor in found.monitors]) == (FSID, ["10.0.0.1", "10.0.0.2"])
    assert found.cephx


@pytest.mark.parametrize("option", ["auth_client_required", "auth client required", "auth_supported"])
def test_a_client_without_cephx_is_seen(option: str, tmp_path: Path) -> None:
    if rados.Rados().conf_get(option.replace(" ", "_")) is None:
        pytest.skip(f"this Ceph has no {option} any more")
    assert not facts(tmp_path, f"[global]\n{option} = none\n").cephx
    client = client_of(written(tmp_path, f"[global]\n{option} = none\nkeyring = {tmp_path}/none\n"), "virtrbd", {})
    found = find_key(client, "virtrbd")
    assert found.key is None
    assert isinstance(found.why_none, DeniedError)


def test_reading_writes_no_log(tmp_path: Path) -> None:
    facts(tmp_path, f"[global]\nfsid = {FSID}\nlog_file = {tmp_path}/log\nadmin_socket = {tmp_path}/socket\n")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["ceph.conf"]


def test_without_a_file_there_is_no_cluster(tmp_path: Path) -> None:
    found = read_cluster_facts(Settings(host="kvm-1", ceph=CephSettings(conf=str(tmp_path / "none"))))
    assert (found.fsid, found.monitors) == (NO_CLUSTER, ())


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("[global]\nfsid\nmon_host = 10.0.0.1\n", 2, "is neither"),
        ("[global]\nmon_host = a, \\\n b\nrubbish\n\n# end\n", 4, "is neither"),
        ("\n  [global]\nmon_host = 10.0.0.1\n", 2, "is neither"),
        ("[global]\nmon_host = 10.0.0.1", 2, "has no line break at its end"),
        ("[global]\nmon_host = \u00fc\n", 2, "has letters beyond ASCII"),
        ("[\u00fc]\n", 1, "has letters beyond ASCII"),
        ("\ufeff[global]\n", 1, "begins with a byte order mark"),
        ("[global]\n# \udcfc\n", 2, "is not UTF-8"),
    ],
)
def test_what_ceph_refuses_is_named_by_its_line(text: str, line: int, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path}/ceph.conf: Ceph cannot read it: line {line} {why}"):
        facts(tmp_path, text)


def test_a_word_that_is_no_monitor_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path}/ceph.conf: mon_host: '=' is not the address of a monitor"):
        facts(tmp_path, "[global]\nmon_host = 10.0.0.1 extra = x\n")


WORDS = st.sampled_from((
    "fsid", "mon_host", "mon host", "rbd cache", "auth_client_required", FSID, FSID.upper(), "10.0.0.1", "none",
    "[global]", "[client]", "[client.virtrbd]", "[mon.a]", "=", " = ", ",", " ", "\t", "#", ";", '"', "'", "\\", "$",
    "\n", "\r\n", "\n\n", "x", "cephx",
))  # fmt: skip


@given(st.lists(WORDS, max_size=14).map(lambda words: "[global]\n" + "".join(words)))
def test_what_is_read_without_ceph_ceph_reads_alike(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        plain = plain_options("c", text.encode(), "virtrbd")
    except ConfigError:
        return
    file = written(tmp_path_factory.getbasetemp(), text)
    read = reader_of(file, "virtrbd", NO_KEYRING)
    for name, value in plain.items():
        # An option that is there and says nothing is as if it were not there.
        assert (read.conf_get(name) == value) or not value, (name, text)


KEYRINGS = {
    "Ceph's own": KEYRING,
    "quoted": KEYRING.replace(KEY, f'"{KEY}"'),
    "with comments": KEYRING.replace(KEY, f"{KEY} # ours ; \u00fc"),
    "continued": KEYRING.replace(KEY, f"{KEY[:9]}\\\n{KEY[9:]}"),
    "without blanks": f"[client.virtrbd]\nkey={KEY}\n",
    "from Windows": KEYRING.replace("\n", "\r\n"),
    "caps first": f'[client.virtrbd]\n\tcaps mon = "a"\n\tauid = 0\n\tkey = {KEY}\n',
    "twice": KEYRING.replace(KEY, "QUFB") + f"[client.virtrbd]\nkey = {KEY}\n",
}


@pytest.mark.parametrize("form", KEYRINGS)
def test_reads_the_users_key_in_every_form(form: str, tmp_path: Path) -> None:
    assert key_in(written(tmp_path, KEYRINGS[form], "keyring"), "virtrbd").raw == RAW


@pytest.mark.parametrize(
    "conf",
    [
        "keyring = {folder}/none,{folder}/keyring",
        "keyring = {folder}/$cluster.$name.keyring",
        "keyring = {folder}/none;{folder}/keyring".replace(";", "\\;"),
        'key = "{key}" # ours\nkeyring = {folder}/none',
        "keyfile = {folder}/keyfile\nkeyring = {folder}/wrong",
        "key = {key}\nkeyfile = {folder}/none\nkeyring = {folder}/wrong",
    ],
)
def test_finds_the_key_where_librados_does(conf: str, tmp_path: Path) -> None:
    for name in ("keyring", "ceph.client.virtrbd.keyring"):
        written(tmp_path, KEYRING, name)
    written(tmp_path, KEYRING.replace(KEY, "QUFB"), "wrong")
    written(tmp_path, KEY + "\n", "keyfile")
    file = written(tmp_path, "[client.virtrbd]\n" + conf.format(folder=tmp_path, key=KEY) + "\n")
    key = read_key(client_of(file, "virtrbd", {}), "virtrbd")
    assert key.raw == RAW


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{!r:>20}".format, "%s".__mod__, lambda key: f"{[key]}"])
def test_a_key_does_not_show_itself(shown: Callable[[Key], str]) -> None:
    assert "secret" not in shown(Key(RAW))
    assert KEY not in shown(Key(RAW))


def test_a_key_does_not_show_itself_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("any").warning("got %s and %r", Key(RAW), {"key": Key(RAW)})
    assert "secret" not in caplog.text


BROKEN = {
    "no section": (f"{KEY}\n", ": no key for client.virtrbd, and Ceph reads only the first"),
    "a line that is none": (f"[client.virtrbd]\n{KEY[:20]}\n", ": Ceph cannot read it: line 2 is neither"),
    "no base64": (f"[client.virtrbd]\nkey = {KEY}!\n", ": the key is not base64"),
    "cut short": (f"[client.virtrbd]\nkey = {KEY[:20]}\n", ": the key is cut short"),
    "no ascii": (f"[client.virtrbd]\nkey = {KEY}\u00e4\n", ": Ceph cannot read it: line 2 has letters beyond ASCII"),
    "another user": (f"[client.other]\nkey = {KEY}\n", ": no key for client.virtrbd, and Ceph reads only the first"),
    "no line break": (f"[client.virtrbd]\nkey = {KEY}", ": Ceph cannot read it: line 2 has no line break at its end"),
    "no utf-8": ("\udcff\udcfe" + KEY, ": Ceph cannot read it: line 1 is not UTF-8"),
    "from Notepad": (
        f"\ufeff[client.virtrbd]\nkey = {KEY}\n",
        ": Ceph cannot read it: line 1 begins with a byte order mark",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_no_error_quotes_the_keyring(name: str, tmp_path: Path) -> None:
    text, why = BROKEN[name]
    file = written(tmp_path, text, "keyring")
    conf = written(tmp_path, f"[client]\nkeyring = {file}\nauth_client_required = cephx\n")
    with pytest.raises(ConfigError) as caught:
        find_key(client_of(conf, "virtrbd", {}), "virtrbd")
    # The whole chain, causes and contexts that a traceback would print included.
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY[:20] not in shown
    assert str(caught.value).startswith(f"{file}{why}")


@pytest.mark.parametrize("option", ["key = {0}", "keyfile = {1}"])
def test_no_error_quotes_the_key_in_a_ceph_conf(option: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"{KEY[:-4]}!!", "keyfile")
    conf = written(tmp_path, f"[client]\n{option.format(f'{KEY[:-4]}!!', file)}\n")
    with pytest.raises(ConfigError, match="the key is not base64; get it with `ceph auth get") as caught:
        read_key(client_of(conf, "virtrbd", {}), "virtrbd")
    assert KEY[:20] not in "".join(traceback.format_exception(caught.value))


def test_no_key_at_all_names_where_it_was_looked_for(tmp_path: Path) -> None:
    conf = written(tmp_path, f"[global]\nkeyring = {tmp_path}/a, {tmp_path}/b\nauth_client_required = cephx\n")
    with pytest.raises(VirtrbdError, match=f"no key for client.virtrbd in {tmp_path}/a .*, ' {tmp_path}/b' .*; write"):
        find_key(client_of(conf, "virtrbd", {}), "virtrbd")
    conf = written(tmp_path, "[global]\nkeyring =\nauth_client_required = cephx, none\n")
    found = find_key(client_of(conf, "virtrbd", {}), "virtrbd")
    assert found.key is None, "a cluster without cephx needs none"
    assert "in no file" in str(found.why_none)


def test_a_keyring_that_cannot_be_read_names_why(tmp_path: Path) -> None:
    conf = written(tmp_path, f"[global]\nkeyring = {tmp_path}\n")
    with pytest.raises(ConfigError, match=f"^{tmp_path}: Is a directory; "):
        read_key(client_of(conf, "virtrbd", {}), "virtrbd")
