"""File names for any name of a domain or an image."""

import re
from urllib.parse import quote

from virtrbd.model.digest import digest_of

# Linux takes 255 bytes; some are left for suffixes like `.new`.
_MAX_BYTES = 200
_KEPT_BYTES = 150
# Characters that need no quotes in a shell, and that no editor or shell hides.
_TYPED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def file_name_of(name: str) -> str:
    """Return a name that any file system takes and no other name has: no `/`, no `.` and `..`, 200 bytes at most.

    Bytes that are not UTF-8, as Python reads them (surrogates), and NUL are allowed.
    """
    quoted = quote(name, safe="", errors="surrogatepass")
    if quoted.startswith("."):
        quoted = f"%2E{quoted[1:]}"
    if 0 < len(quoted) <= _MAX_BYTES:
        return quoted
    # quote() leaves no `=`: no short name looks like this.
    return f"{quoted[:_KEPT_BYTES]}={digest_of(quoted)}"


def typed_file_name(name: str, uuid: str) -> str:
    """Return a name for a domain's file that is easy to type: the domain's own, or its plain part and its UUID."""
    if _TYPED.fullmatch(name):
        return name
    typed = _TYPED.search(re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-"))
    return f"{typed[0] if typed else 'domain'}-{uuid[:8]}"
