"""The source of an import: a file or a URL, and what the user stated about it."""

import re

from msgspec import Struct

from virtrbd.model.checksum import is_checksum, parse_checksum
from virtrbd.printable import quoted

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PRINTABLE_ASCII = re.compile(r"[!-~]+")
# A URL whose server ends at its path or its query: an @ behind that does not mark a password. Behind a port it may:
# https://user:12/34@server reads as a port and a path.
_WITH_A_SERVER = re.compile(r"[^:]+://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?:[/?]|\Z)")


class ImportFile(Struct, frozen=True, kw_only=True):
    """A file or a URL: `name`. What was not stated is empty.

    `format`: of the disk in it; with "raw" the file's bytes are the disk, as they are. `member`: the disk's name
    in an archive. `checksum`: the file's, or where it is written. `beneath`: the folders that it must
    lie beneath; None where the operator named it.
    """

    name: str
    format: str = ""
    member: str = ""
    checksum: str = ""
    beneath: tuple[str, ...] | None = None

    @property
    def is_url(self) -> bool:
        """Whether it must be fetched first."""
        return is_url(self.name)

    def __str__(self) -> str:
        return f"{without_query(self.name)}{f' ({self.member})' if self.member else ''}"


def is_url(name: str) -> bool:
    """Whether a name is a URL, whatever its scheme; a path that looks like one can be written ./http://x."""
    return bool(_URL.match(name))


def without_query(name: str) -> str:
    """Return its name for messages: the query of a signed URL is a password.

    Of a URL that may hold another password, only the scheme: Python takes what follows a / or # in it for a path.
    """
    if _may_hold_password(name):
        return f"{name.partition(':')[0]}://…"
    address, mark, _ = name.partition("?") if is_url(name) else (name, "", "")
    return f"{address}?…" if mark else address


def _may_hold_password(name: str) -> bool:
    return "@" in name and is_url(name) and not _WITH_A_SERVER.match(name)


def last_part(url: str) -> str:
    """Return the file name of a URL, as in a list of checksums."""
    # Here and below, not above: every plan imports this module, and few specs name a URL.
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path.rpartition("/")[2])


def require_fetchable(url: str, checksum: str) -> None:
    """Raise ValueError for what is not fetched: other schemes, passwords, and what cannot be verified."""
    from urllib.parse import urlsplit

    require_url(url)
    if checksum and not is_checksum(checksum) and is_url(checksum):
        require_url(checksum)
        if urlsplit(checksum).scheme.lower() != "https":
            raise ValueError(f"{without_query(checksum)}: a list of checksums from http proves nothing; write https")
    if urlsplit(url).scheme.lower() != "https" and not checksum:
        raise ValueError(f"{without_query(url)}: a file from http needs a checksum; write one, or https")
    if checksum and is_checksum(checksum):
        parse_checksum(checksum)


def require_url(url: str) -> None:
    """Raise ValueError for a text that is not a URL of a web server, and for passwords, which the message omits."""
    from urllib.parse import urlsplit

    if _may_hold_password(url):
        said = "every user sees a password in a URL; fetch the file and name it, or write another @ as %40"
        raise ValueError(f"{without_query(url)}: {said}")
    if not _PRINTABLE_ASCII.fullmatch(url):
        raise ValueError(f"{quoted(without_query(url))} is not a URL; write what is not ASCII, and blanks, as %20")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{quoted(without_query(url))} is not a URL: {error}") from None
    if parts.scheme.lower() not in ("https", "http"):
        raise ValueError(f"{parts.scheme}:// is not fetched; write https://, or fetch it and name the file")
    if not host:
        raise ValueError(f"{quoted(without_query(url))} does not name a server; write https://SERVER/FILE")
