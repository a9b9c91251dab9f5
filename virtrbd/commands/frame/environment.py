"""The environment of root's runs: what sudo or a shell passes on must decide neither what is read nor which code loads.

Ceph, libvirt, QEMU, OpenSSL and glibc take names of files to write and of code to load from it: CEPH_ARGS and
CEPH_LIB, LIBVIRT_LOG_OUTPUTS, QEMU_MODULE_DIR, OPENSSL_CONF, GCONV_PATH. New ones come with their versions, so the few
that root's runs keep are listed here, and not those that they drop.
"""

import os
from collections.abc import Mapping, Sequence

# Of a terminal, a language, a clock; ssh's agent for qemu+ssh://; proxies, which see what any router sees of what is
# verified; and virtrbd's own, whose files are looked at.
_KEPT = frozenset({
    "PATH", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "LANGUAGE", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR",
    "COLUMNS", "LINES", "TZ", "SSH_AUTH_SOCK", "XDG_CACHE_HOME",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
})  # fmt: skip
_KEPT_PREFIXES = ("LC_", "VIRTRBD_")


def drop_foreign() -> dict[str, str]:
    """Drop what changes what root does, before any library reads it, and return it. Other users keep theirs."""
    if os.geteuid() != 0:
        return {}
    foreign = [name for name in os.environ if name not in _KEPT and not name.startswith(_KEPT_PREFIXES)]
    dropped = {name: os.environ.pop(name) for name in foreign}
    # An empty or relative folder is whichever one the run was begun in.
    folders = os.environ.get("PATH", os.defpath).split(":")
    os.environ["PATH"] = ":".join(folder for folder in folders if folder.startswith("/"))
    return dropped


def restore(names: Sequence[str], dropped: Mapping[str, str]) -> None:
    """Put back the dropped variables that the settings ask for."""
    os.environ.update({name: dropped[name] for name in names if name in dropped})
