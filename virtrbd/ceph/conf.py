"""Ceph's configuration files, read by Ceph's library: a ceph.conf, and a keyring, which has the same grammar."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from virtrbd.ceph.conf_text import refused_line, unreadable, unsafe_line
from virtrbd.errors import ConfigError, DeniedError

# librados opens the keyring as soon as it has read the file, and a broken one may end the program.
NO_KEYRING = {"keyring": "", "keyfile": ""}
# auth_supported overrides the other option up to Ceph 18; Ceph 20 no longer has it, and refuses to set it.
_NO_CEPHX = ("auth_supported", "auth_client_required")


def client_of(file: str, user: str, options: Mapping[str, str]) -> Any:
    """Return a client of librados that has read the file and has these options, and is not connected.

    Raises ConfigError for lines that Ceph refuses in the file, or that end the program in the keyring; DeniedError.
    """
    from virtrbd.ceph.bindings import rados

    known = rados.Rados(rados_id=user)
    no_cephx = {name: "none" for name in _NO_CEPHX if known.conf_get(name) is not None}
    keyrings = reader_of(file, user, {**options, **no_cephx}).conf_get("keyring") or ""
    if (keyring := opened_keyring(keyrings)) and os.path.isfile(keyring):
        _refuse_unsafe(keyring, read_file(keyring))
    return rados.Rados(conffile=file, rados_id=user, conf=dict(options))


def reader_of(file: str, user: str, instead: Mapping[str, str]) -> Any:
    """Return a client of librados with the options of the file, except those given here.

    Raises ConfigError with the number of the line that Ceph refuses, never its text, which may be a key; DeniedError.
    """
    # Here, not above: rendering reads a ceph.conf also where there is no Ceph.
    from virtrbd.ceph.bindings import rados

    text = read_file(file)
    _refuse_unsafe(file, text)
    # Reading writes nothing: with a log_file, librados would open it.
    client = rados.Rados(rados_id=user, conf={**instead, "log_file": ""})
    try:
        client.conf_read_file(file)
    except rados.Error as error:
        refuses = partial(_refuses, rados)
        if not refuses(text):
            raise ConfigError(f"{file}: Ceph cannot read it ({error}); copy the cluster's own again") from error
    else:
        return client
    # Here, not in the handler: so Ceph's error is not chained.
    raise unreadable(file, refused_line(text, refuses))


def opened_keyring(keyrings: str) -> str:
    """Return the keyring that Ceph reads, with any content: the first that can be opened, else "".

    A space is a part of the name to Ceph.
    """
    for path in keyring_names(keyrings):
        with suppress(OSError):
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            return path
    return ""


def keyring_names(keyrings: str) -> list[str]:
    """Return the names in the option `keyring`."""
    return [name for name in re.split("[;,]", keyrings) if name]


def read_file(file: str) -> bytes:
    """Return the bytes of a ceph.conf or keyring. Raises ConfigError, DeniedError."""
    try:
        # A pipe would never end.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"{file}: not a regular file; name the file itself in the settings")
            return opened.read()
    except PermissionError:
        raise DeniedError(f"{file}: permission denied; run as a user that may read it") from None
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; mend that, or name another file in the settings (ceph:)"
        ) from None


def auth_methods(option: Callable[[str], str]) -> frozenset[str]:
    """Return how a client may authenticate, `cephx` and `none`: the older of the two options overrides the newer."""
    methods = option("auth_supported") or option("auth_client_required")
    return frozenset(methods.replace(",", " ").replace(";", " ").split())


def _refuse_unsafe(file: str, text: bytes) -> None:
    if unsafe := unsafe_line(text):
        raise unreadable(file, unsafe)


def _refuses(rados: Any, text: bytes) -> bool:
    descriptor = os.memfd_create("ceph.conf", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text)
        rados.Rados(rados_id="admin", conf={**NO_KEYRING, "log_file": ""}).conf_read_file(f"/proc/self/fd/{descriptor}")
    except rados.Error:
        return True
    finally:
        os.close(descriptor)
    return False
