"""A ceph.conf read without Ceph, where it has only one meaning; other lines are refused."""

import re
from uuid import UUID

from virtrbd.ceph.conf_text import unreadable, unsafe_line
from virtrbd.errors import ConfigError

_COMMENT = r"[ \t]*(?:[#;].*)?"
_SECTION = re.compile(rf"\[(?P<name>[^\[\]#;\\]+)\]{_COMMENT}")
# No backslash and no odd quote: these continue a line, or hide where its comment begins.
_OPTION = re.compile(
    r"""[ \t]*(?P<name>[A-Za-z0-9_./-]+(?:[ \t]+[A-Za-z0-9_./-]+)*)[ \t]*=[ \t]*"""
    rf"""(?:"(?P<double>[^"\\#;]*)"|'(?P<single>[^'\\#;]*)'|(?P<plain>[^"'\\#;]*)){_COMMENT}"""
)
# The options that rendering needs: Ceph replaces metavariables in them, like $host.
_READ = ("fsid", "mon_host", "auth_supported", "auth_client_required")


def plain_options(conf: str, text: bytes, user: str) -> dict[str, str]:
    """Return a user's values of the options that rendering needs from the text of a ceph.conf. Raises ConfigError."""
    sections: dict[str, dict[str, tuple[str, int]]] = {}
    section: dict[str, tuple[str, int]] | None = None
    for number, line in enumerate(_lines(conf, text), 1):
        if re.fullmatch(_COMMENT, line):
            continue
        if found := _SECTION.fullmatch(line):
            section = sections.setdefault(found["name"], {})
        elif section is not None and (found := _OPTION.fullmatch(line)):
            value = next(value for value in found.group("double", "single", "plain") if value is not None)
            section["_".join(found["name"].split())] = value.strip(), number
        else:
            raise _unread(conf, number)
    said = {
        name: section[name]
        for heading in ("global", "client", f"client.{user}")
        for name in _READ
        if name in (section := sections.get(heading, {}))
    }
    for value, number in said.values():
        if "$" in value:
            raise _unread(conf, number)
    return {name: _fsid(conf, *found) if name == "fsid" else found[0] for name, found in said.items()}


def _lines(conf: str, text: bytes) -> list[str]:
    if unsafe := unsafe_line(text):
        raise unreadable(conf, unsafe)
    lines = text.decode().replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        # A lone carriage return ends a line for Ceph too; a last line without its end must be a comment.
        is_cut = number == len(lines) and line and line.lstrip()[:1] not in ("#", ";")
        if is_cut or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise _unread(conf, number)
    return lines


def _fsid(conf: str, value: str, number: int) -> str:
    """Return the fsid as Ceph prints it, with small letters: the secret's UUID comes from it."""
    try:
        return str(UUID(value)) if value else ""
    except ValueError:
        raise ConfigError(f"{conf}:{number}: fsid {value!r} is not a UUID; copy it from `ceph fsid`") from None


def _unread(conf: str, number: int) -> ConfigError:
    return ConfigError(
        f"{conf}:{number}: only Ceph's own library reads this line correctly; write `option = value`, "
        f"or apt install python3-rados"
    )
