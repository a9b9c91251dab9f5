"""The program that libvirt runs: a file in its folder of hooks, which hands a start over to this virtrbd."""

import os
import re
import shlex
import sys
from contextlib import suppress

import msgspec
from msgspec import Struct

import virtrbd
from virtrbd.model.settings import Settings

# What every file that virtrbd wrote there begins with.
_BEGIN = "#!/bin/sh\n# virtrbd hook "
# Longer than any that virtrbd writes; a path has at most 4096 bytes.
MOST_BYTES = 65536

# sh, because it starts in a millisecond: domains of others, and all but starts, cost only that. And because a host
# boots its guests also when virtrbd or its Python is gone, with a line in the log: Python then ends with 1 or 2, sh
# with 126 or 127. The first <uuid> in libvirt's XML is the domain's: only its name comes before. Of a text
# without one the shell would look at each begin.
# env -i: libvirtd's environment must decide neither what is read nor which code loads. ulimit: keys pass through this
# process, and a core dump would hold them.
_TEXT = """\
{begin}{facts}
# The start gate of virtrbd: `virtrbd hook status` looks at it, `virtrbd hook remove` takes it away.
case $2 in
prepare | started | restore | migrate | release) ;;
*) exit 0 ;;
esac
xml=$(head -c {most_xml})
case $xml in
*{namespace}*) ;;
*) exit 0 ;;
esac
uuid=$(printf %.8192s "$xml")
uuid=${{uuid#*<uuid>}}
uuid=${{uuid%%</uuid>*}}
case $2:$4:$uuid in
*:*:*[!0-9a-f-]*) ;;
release:shutdown:* | release:destroyed:*) ;;
started:* | release:*)
    rm -f {starts}/"$uuid"
    exit 0
    ;;
esac
ulimit -c 0
printf %s "$xml" | env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8{cache} \\
    {python} -I -m virtrbd.hook {settings} {host} {state} "$@"
code=$?
case $2:$code in
release:*) exit 0 ;;
*:1 | *:2 | *:126 | *:127)
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    echo "$now $uuid: $2: passed without a look: virtrbd cannot be run (exit status $code)" >>{state}/{log}
    exit 0
    ;;
esac
exit $code
"""
# In the state directory: the log, and the folder of starts; in that, touched when libvirt calls the hook.
LOG = "hook.log"
STARTS = "starts"
CALLED = "called"
_NAMESPACE = "urn:virtrbd:domain:1"
# libvirt sends and takes 4 MiB at most, but a live document may have grown. One byte more is too large to be read.
MOST_XML = 8 * 1024**2


class Program(Struct, frozen=True, kw_only=True):
    """The program, by what is written into it. `cache`: the folder that XDG_CACHE_HOME named, empty for none."""

    version: str
    python: str
    settings: str
    host: str
    state_dir: str
    cache: str = ""

    @property
    def text(self) -> str:
        """The file as a whole."""
        facts = msgspec.json.encode(self).decode()
        python, settings, host, state = map(shlex.quote, (self.python, self.settings, self.host, self.state_dir))
        cache = f" XDG_CACHE_HOME={shlex.quote(self.cache)}" if self.cache else ""
        return _TEXT.format(
            begin=_BEGIN,
            facts=facts,
            most_xml=MOST_XML + 1,
            namespace=_NAMESPACE,
            cache=cache,
            python=python,
            settings=settings,
            host=host,
            state=state,
            starts=shlex.quote(os.path.join(self.state_dir, STARTS)),
            log=LOG,
        )


def program_of(settings: Settings, host_uuid: str) -> Program:
    """Return the program for this host, with the interpreter and the virtrbd that run now."""
    return Program(
        version=virtrbd.__version__,
        python=sys.executable,
        settings=settings.file and os.path.abspath(settings.file),
        host=host_uuid,
        state_dir=settings.state_dir,
        cache=os.environ.get("XDG_CACHE_HOME", ""),
    )


def is_program(text: str) -> bool:
    """Whether a file in the folder of hooks is virtrbd's."""
    return text.startswith(_BEGIN)


def read_program(text: str) -> Program | None:
    """Return what is written into a program of virtrbd's, None where that cannot be read."""
    line = text.removeprefix(_BEGIN).partition("\n")[0]
    with suppress(msgspec.MsgspecError, RecursionError, ValueError):
        return msgspec.json.decode(line, type=Program)
    return None


def differences(found: str, wanted: Program) -> tuple[str, ...]:
    """Return what is wrong with a program of virtrbd's, in words; nothing where it is as it should be."""
    if found == wanted.text:
        return ()
    known = read_program(found)
    if known is None:
        return ("it was changed by hand",)
    names = {
        "version": "virtrbd",
        "python": "Python",
        "settings": "settings file",
        "host": "libvirt's UUID of this host",
        "state_dir": "state_dir",
        "cache": "XDG_CACHE_HOME",
    }
    other = [
        f"its {word} is {getattr(known, name) or 'none'}, not {getattr(wanted, name) or 'none'}"
        for name, word in names.items()
        if getattr(known, name) != getattr(wanted, name)
    ]
    return tuple(other) or ("it was changed by hand",)


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID as libvirt writes it."""
    return re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None
