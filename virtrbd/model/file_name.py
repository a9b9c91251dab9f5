"""Any name (of a domain, of an image) as the name of a file."""

from urllib.parse import quote

from virtrbd.model.digest import digest_of

# Linux takes 255 bytes; some are left for suffixes like `.new`.
_MAX_BYTES = 200
_KEPT_BYTES = 150


def file_name_of(name: str) -> str:
    """Return a name that any file system takes and no other name has: no `/`, no `.` and `..`, 200 bytes at most.

    Bytes that are not UTF-8, as Python reads them (surrogates), and NUL are as good as any other.
    """
    quoted = quote(name, safe="", errors="surrogatepass")
    if quoted.startswith("."):
        quoted = f"%2E{quoted[1:]}"
    if 0 < len(quoted) <= _MAX_BYTES:
        return quoted
    # quote() leaves no `=`: no short name looks like this.
    return f"{quoted[:_KEPT_BYTES]}={digest_of(quoted)}"
