"""The cephx key, read from the keyring. It goes to libvirt's secret and nowhere else."""

import os
from pathlib import Path

from virtrbd.errors import ConfigError, DeniedError
from virtrbd.printable import shell_command


class Key:
    """A cephx key that does not show itself: not in reprs, so not in logs, plans or tracebacks."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return "Key(...)"


def read_key(keyrings: str, user: str) -> Key:
    """Return the user's key from the first of the comma-separated keyring files that exists.

    Raises ConfigError when none holds it, DeniedError when it may not be read. libvirt wants the decoded bytes.
    """
    # Here, not above: it is read for libvirt's secret only, librados reads it by itself.
    import configparser

    tried = [path.strip() for path in keyrings.split(",") if path.strip()]
    for path in tried:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            # ceph indents the keys of a section with a tab
            parser.read_string("\n".join(line.strip() for line in Path(path).read_text().splitlines()))
        except FileNotFoundError:
            continue
        except PermissionError:
            raise DeniedError(f"{path}: permission denied; run as a user that may read the keyring") from None
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}; mend that, or name another keyring in the settings (ceph: keyring:)"
            ) from None
        except (UnicodeDecodeError, configparser.Error):
            # `from None`: the parser's own message would quote the line, which may be the key.
            raise ConfigError(f"{path}: not a readable keyring; {_get_again(path, user)}") from None
        key = parser.get(f"client.{user}", "key", fallback="")
        if key:
            return Key(_decode(path, user, key))
    where = ", ".join(path if os.path.exists(path) else f"{path} (no such file)" for path in tried) or "no file"
    raise ConfigError(
        f"no key for client.{user} in {where}; write ceph: keyring: to the settings, or "
        f"{_get_again(tried[0] if tried else 'FILE', user)}"
    )


def _decode(path: str, user: str, key: str) -> bytes:
    import base64

    try:
        return base64.b64decode(key, validate=True)
    except ValueError:
        raise ConfigError(f"{path}: the key is no base64; {_get_again(path, user)}") from None


def _get_again(path: str, user: str) -> str:
    return f"get it with `{shell_command(f'ceph auth get client.{user} -o', path)}`"
