"""The settings file: read, checked, completed."""

import os
import socket

from virtrbd.errors import ConfigError, DeniedError
from virtrbd.model.settings import Settings
from virtrbd.printable import quoted
from virtrbd.specs.files import read_bounded
from virtrbd.trust import kind_of, weakness

SYSTEM_FILE = "/etc/virtrbd/virtrbd.yaml"


def load_settings(path: str | None) -> Settings:
    """Return the settings from `path`, else $VIRTRBD_CONFIG, else the system's file if there is one.

    Raises ConfigError, DeniedError: a file that the operator named must exist and be right, and only its
    owner may change it.
    """
    named = path or os.environ.get("VIRTRBD_CONFIG")
    host = socket.gethostname().split(".")[0]
    try:
        # First: when no other user can change anything, the file stays the same until it is read.
        _require_owned(named or SYSTEM_FILE)
        raw = read_bounded(named or SYSTEM_FILE)
    except FileNotFoundError:
        if named is None:
            return Settings(host=host)
        raise ConfigError(f"{named}: no such settings file; check --config or $VIRTRBD_CONFIG") from None
    except PermissionError:
        raise DeniedError(f"{named or SYSTEM_FILE}: permission denied; run as a user who may read it") from None
    except OSError as error:
        raise ConfigError(f"{named or SYSTEM_FILE}: {error.strerror}") from error
    return _parse(named or SYSTEM_FILE, raw, host)


def _require_owned(file: str) -> None:
    """Raise ConfigError for settings that another user could change, OSError for a missing file."""
    if not os.path.abspath(file).isprintable():
        raise ConfigError(f"{quoted(file)}: the name holds bytes that are not UTF-8 or not printable; rename it")
    # First: a pipe has no path to check, and every user may write to some devices.
    if kind := kind_of(os.stat(file).st_mode):
        raise ConfigError(f"{file}: is {kind}; name a regular file")
    if found := weakness(file):
        raise ConfigError(
            f"{file}: {found.of(file)}, and a user who can change the settings decides what virtrbd does; "
            f"{found.way_out}"
        )


def _parse(file: str, raw: bytes, host: str) -> Settings:
    def parse() -> Settings:
        # Here, not above: `virtrbd --help` and settings that were checked before need no pydantic.
        from virtrbd.specs.settings_schema import parse_settings

        return parse_settings(file, raw, host)

    from virtrbd.local.spec_cache import remembered

    return remembered(Settings, (os.path.abspath(file), file, raw, host), parse)
