"""The cephx key: read right, and never shown."""

import base64
import logging
import traceback
from pathlib import Path

import pytest

from virtrbd.ceph.keyring import Key, read_key
from virtrbd.errors import ConfigError, VirtrbdError

RAW = b"\x01\x00secret-bytes-of-a-key"
KEY = base64.b64encode(RAW).decode()


def keyring(tmp_path: Path, text: str) -> str:
    file = tmp_path / "keyring"
    file.write_text(text)
    return str(file)


def test_reads_the_users_key_as_ceph_writes_it(tmp_path: Path) -> None:
    text = f'[client.other]\n\tkey = QUFB\n[client.virtrbd]\n\tkey = {KEY}\n\tcaps mon = "profile rbd"\n'
    assert read_key(f"/nowhere, {keyring(tmp_path, text)}", "virtrbd").raw == RAW


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{!r:>20}".format, "%s".__mod__, lambda key: f"{[key]}"])
def test_a_key_does_not_show_itself(shown) -> None:  # type: ignore[no-untyped-def]
    assert "secret" not in shown(Key(RAW))
    assert KEY not in shown(Key(RAW))


def test_a_key_does_not_show_itself_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("any").warning("got %s and %r", Key(RAW), {"key": Key(RAW)})
    assert "secret" not in caplog.text


BROKEN = {
    "no section": KEY,
    "a line that is none": f"[client.virtrbd]\n{KEY}\n",
    "no base64": f"[client.virtrbd]\nkey = {KEY}!\n",
    "no ascii": f"[client.virtrbd]\nkey = {KEY}ä\n",
    "another user": f"[client.other]\nkey = {KEY}\n",
    "twice": f"[client.virtrbd]\nkey = {KEY}\nkey\n = {KEY}!\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_no_error_quotes_the_keyring(name: str, tmp_path: Path) -> None:
    file = keyring(tmp_path, BROKEN[name])
    with pytest.raises(ConfigError) as caught:
        read_key(file, "virtrbd")
    # The whole chain, causes and contexts that a traceback would print included.
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert KEY not in str(caught.value)
    assert file in str(caught.value)


def test_no_key_at_all_names_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(VirtrbdError, match=f"no key for client.virtrbd in {tmp_path}/a.*, {tmp_path}/b.*; write"):
        read_key(f"{tmp_path}/a,{tmp_path}/b", "virtrbd")
    with pytest.raises(ConfigError, match="in no file"):
        read_key("", "virtrbd")


def test_a_keyring_that_cannot_be_read_names_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path}: Is a directory; "):
        read_key(str(tmp_path), "virtrbd")


def test_no_utf8_is_no_keyring(tmp_path: Path) -> None:
    (tmp_path / "keyring").write_bytes(b"\xff\xfe" + RAW)
    with pytest.raises(ConfigError, match="not a readable keyring"):
        read_key(str(tmp_path / "keyring"), "virtrbd")
