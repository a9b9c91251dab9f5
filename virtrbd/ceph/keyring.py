"""The cephx key, found and read as librados does it. It goes to libvirt's secret and nowhere else."""

import os
from binascii import a2b_base64
from typing import Any

from msgspec import Struct

from virtrbd.ceph.conf import NO_KEYRING, auth_methods, keyring_names, opened_keyring, read_file, reader_of
from virtrbd.ceph.conf_text import foreign_line, keys_in, unreadable
from virtrbd.errors import ConfigError, DeniedError, VirtrbdError
from virtrbd.printable import shell_command

# The head of a key: its type, the time of its making, and the length of the secret (src/auth/Crypto.cc).
_HEAD_BYTES = 12
_LENGTH = slice(10, 12)


class Key:
    """A cephx key that does not show itself: not in reprs, so not in logs, plans or tracebacks."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return "Key(...)"


class NoKeyError(ConfigError):
    """There is no key for the user."""


class FoundKey(Struct, frozen=True, kw_only=True):
    """A key, or why there is none, in case the cluster needs one."""

    key: Key | None = None
    why_none: VirtrbdError | None = None


def find_key(client: Any, user: str) -> FoundKey:
    """Return the key that a client of librados will use.

    A cluster without cephx needs none, and a client may allow that. Raises ConfigError, DeniedError where it does
    not, and where a key is broken.
    """
    methods = auth_methods(client.conf_get)
    if "cephx" not in methods:
        why = f"ceph.conf allows client.{user} to connect without cephx, the cluster not; remove auth_client_required"
        return FoundKey(why_none=DeniedError(why))
    try:
        return FoundKey(key=read_key(client, user))
    except (NoKeyError, DeniedError) as error:
        if "none" not in methods:
            raise
        return FoundKey(why_none=error)


def read_key(client: Any, user: str) -> Key:
    """Return the key of a client of librados: its `key`, else the `keyfile`, else that of a keyring.

    Raises NoKeyError, ConfigError, DeniedError. libvirt wants the decoded bytes.
    """
    if key := client.conf_get("key"):
        return _decoded("the option `key`", user, key)
    if file := client.conf_get("keyfile"):
        return _decoded(file, user, read_file(file).decode("ascii", "replace").strip())
    keyring = chosen_keyring(client.conf_get("keyring") or "", user)
    return key_in(keyring, user)


def key_in(keyring: str, user: str) -> Key:
    """Return the user's key in a keyring. Raises NoKeyError, ConfigError, DeniedError."""
    try:
        key = reader_of(keyring, user, NO_KEYRING).conf_get("key")
    except ConfigError as error:
        raise ConfigError(f"{error}, or {_get_again(keyring, user)}") from None
    if key:
        return _decoded(keyring, user, key)
    raise NoKeyError(
        f"{keyring}: no key for client.{user}, and Ceph reads only the first keyring that it can open; "
        f"{_get_again(keyring, user)}"
    )


def chosen_keyring(keyrings: str, user: str) -> str:
    """Return the keyring that Ceph reads. Raises NoKeyError, DeniedError."""
    if keyring := opened_keyring(keyrings):
        return keyring
    tried = keyring_names(keyrings)
    if there := [path for path in tried if os.path.exists(path)]:
        raise DeniedError(f"{there[0]}: permission denied; run as a user that may read the keyring")
    # A space at the end of a name is a part of it, to Ceph.
    where = ", ".join(f"{repr(path) if path != path.strip() else path} (no such file)" for path in tried) or "no file"
    raise NoKeyError(
        f"no key for client.{user} in {where}; write ceph: keyring: to the settings, or "
        f"{_get_again(tried[0] if tried else 'FILE', user)}"
    )


def keyring_refusal(client: Any, user: str) -> ConfigError | None:
    """Return why Ceph refuses a keyring although the user's part may be right, None where nothing is wrong in it.

    Ceph refuses it as a whole for one flaw, and says "I/O error" (16, 18) or "permission denied" (20).
    """
    if client.conf_get("key") or client.conf_get("keyfile"):
        return None
    keyring = chosen_keyring(client.conf_get("keyring") or "", user)
    text = read_file(keyring)
    if flaw := foreign_line(text):
        why = str(unreadable(keyring, flaw))
    elif any(flaw_of(key) for key in keys_in(text)):
        why = f"{keyring}: Ceph cannot read it: a key in it is broken; mend that"
    else:
        return None
    return ConfigError(f"{why}, or {_get_again(keyring, user)}")


def _decoded(where: str, user: str, key: str) -> Key:
    if flaw := flaw_of(key):
        raise ConfigError(f"{where}: the key is {flaw}; {_get_again(where, user)}")
    return Key(a2b_base64(key))


def flaw_of(key: str) -> str:
    """Return what is wrong with the text of a key, "" where nothing is."""
    try:
        raw = a2b_base64(key, strict_mode=True)
    except ValueError:
        return "not base64"
    length = int.from_bytes(raw[_LENGTH], "little")
    return "" if 0 < length <= len(raw) - _HEAD_BYTES else "cut short, or not a key of Ceph"


def _get_again(file: str, user: str) -> str:
    words = f"ceph auth get client.{user}"
    return f"get it with `{shell_command(f'{words} -o', file) if '/' in file or file == 'FILE' else words}`"
