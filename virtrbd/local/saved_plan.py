"""A plan that the operator has reviewed, kept in a file until it is applied."""

import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from virtrbd.errors import ConfigError, DeniedError, UsageError
from virtrbd.local.write_whole import cannot_write, opened_folder, refuse_special, write_whole

_KIND = "virtrbd plan"
# Some 100,000 lines: far more than an operator reads.
_MOST_BYTES = 16 * 1024**2
# What digest_of returns.
_DIGEST = re.compile(r"[0-9a-f]{32}")


class _PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Literal["virtrbd plan"]
    paths: tuple[str, ...]
    digest: str
    host: str
    plan: tuple[str, ...]


class SavedPlan(Struct, frozen=True, kw_only=True):
    """The specs that a plan was made from, and the digest of what it would do."""

    paths: tuple[str, ...]
    digest: str
    host: str


def refuse_target(file: str) -> None:
    """Raise UsageError where a plan cannot be saved, before it is made: only an older plan is ever replaced."""
    if Path(file).suffix in (".yaml", ".yml"):
        raise UsageError(f"{file}: would be taken for a spec; choose another name for a saved plan, like tonight.plan")
    folder, name = os.path.split(file)
    try:
        with opened_folder(folder) as descriptor:
            refuse_special(descriptor, name)
            is_new = name not in os.listdir(descriptor)
        if is_new or os.path.getsize(file) == 0:
            return
    except (OSError, ValueError) as error:
        raise _unusable(file, error, "name a file in a folder that can be written") from error
    try:
        read_plan(file)
    except ConfigError:
        raise UsageError(f"{file}: exists already and is not a plan that virtrbd saved; name another file") from None


def save_plan(file: str, saved: SavedPlan, lines: Sequence[str]) -> None:
    """Write the plan, for the operator and for apply. Raises VirtrbdError; an older plan is replaced whole."""
    try:
        "".join(saved.paths).encode()
    except UnicodeEncodeError:
        raise UsageError("a plan of spec files whose names are not UTF-8 cannot be saved; rename them") from None
    data = {
        "kind": _KIND,
        "paths": list(saved.paths),
        "digest": saved.digest,
        "host": saved.host,
        "plan": [line.encode(errors="backslashreplace").decode() for line in lines],
    }
    try:
        # For its owner only: it describes all domains.
        write_whole(file, (json.dumps(data, indent=2) + "\n").encode(), 0o600)
    except OSError as error:
        raise cannot_write(file, error, "name a file that can be written") from error


def is_saved_plan(paths: Sequence[str]) -> bool:
    """Whether the arguments name a saved plan rather than specs. Raises UsageError when they name both."""
    plans = [path for path in paths if Path(path).suffix not in (".yaml", ".yml") and _is_there_as_a_file(path)]
    if plans and len(paths) > 1:
        raise UsageError(f"{plans[0]}: specs end in .yaml, and a saved plan names its own specs; apply it alone")
    return bool(plans)


def _is_there_as_a_file(path: str) -> bool:
    return os.path.exists(path) and not os.path.isdir(path)


def read_plan(file: str) -> SavedPlan:
    """Return a saved plan. Raises ConfigError for another file, UsageError and DeniedError when it can't be read."""
    try:
        data = msgspec.json.decode(_content(file), type=_PlanFile)
        if not _DIGEST.fullmatch(data.digest):
            # An empty digest would accept any world.
            raise ValueError("digest")
        if not data.host or not data.paths or not all(map(_is_path, data.paths)):
            raise ValueError("paths")
        return SavedPlan(paths=data.paths, digest=data.digest, host=data.host)
    except OSError as error:
        raise _unusable(file, error, "name a plan that virtrbd plan --save wrote") from error
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise ConfigError(
            f"{file}: is not a plan that virtrbd saved; make one with virtrbd plan --save {file}"
        ) from None


def _content(file: str) -> bytes:
    # A pipe may never end, and its other end may never come.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError("not a regular file")
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError("too large")
    return content


def _is_path(text: str) -> bool:
    return os.path.isabs(text) and "\0" not in text


def _unusable(file: str, error: OSError | ValueError, way_out: str) -> UsageError | DeniedError:
    kind = DeniedError if isinstance(error, PermissionError) else UsageError
    return kind(f"{file}: {getattr(error, 'strerror', None) or error}; {way_out}")
