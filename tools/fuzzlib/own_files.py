"""Targets that take files of virtrbd's own, which a disk, a crash or another user may have changed."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

from fuzzlib.target import Target, require
from fuzzlib.world import ODD, plan_in, world
from virtrbd.local.saved_plan import SavedPlan, read_plan
from virtrbd.local.spec_cache import _key, recall
from virtrbd.local.state_dir import StateDir
from virtrbd.model.digest import digest_of
from virtrbd.model.domain import Domain
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.planning.report_once import message_of, news


@cache
def _folder() -> Path:
    # It goes with the process; the target takes it again for each input.
    holder = tempfile.TemporaryDirectory(prefix="virtrbd-fuzz-")
    _KEPT.append(holder)
    return Path(holder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _written(name: str, data: bytes) -> Path:
    file = _folder() / name
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_bytes(data)
    return file


def try_saved_plan(data: bytes) -> None:
    """A file that `apply` is given as a saved plan."""
    file = _written("plan.json", data)
    file.chmod(0o600)
    saved = read_plan(str(file))
    require(isinstance(saved, SavedPlan) and all(isinstance(path, str) for path in saved.paths), f"{saved}")
    require(bool(saved.digest), "a saved plan without a digest may be applied to anything")


def try_intent(data: bytes) -> None:
    """The intent that a killed run left."""
    ref = ODD.disks[0].image
    _written(f"state/intents/{str(ref).replace('/', '%2F')}", data)
    found = StateDir(str(_folder() / "state")).read_intents([ref])
    if found:
        plan_in(replace(world(), intents=found))


def try_last_definition(data: bytes) -> None:
    """The definition as virtrbd last saw it."""
    _written(f"state/definitions/{ODD.uuid}", data)
    last = StateDir(str(_folder() / "state")).read_definition(ODD.uuid)
    if last:
        plan_in(replace(world(), last_definitions={ODD.uuid: last}))


def try_reported(data: bytes) -> None:
    """What cron was reported already, and when a run last went well."""
    _written("state/reconcile/told", data)
    _written("state/reconcile/last-success", data)
    state = StateDir(str(_folder() / "state"))
    reported = state.read_reported()
    fresh, kept = news([message_of("it is odd")], reported, {"web"})
    require(isinstance(fresh, frozenset) and all(isinstance(text, str) for text in kept.values()), "no texts")
    state.write_reported(kept)
    state.read_last_success()


def try_cache(data: bytes) -> None:
    """An entry of the cache: as it is, and with a proof that holds."""
    home = _folder() / "cache"
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(home)}):
        for kind in (Settings, tuple[Domain, ...], dict[str, str]):
            parts = ("fuzz",)
            key = _key(kind, parts)
            for raw in (data, digest_of(key, data).encode() + b"\n" + data):
                file = _written(f"cache/virtrbd/{key}", raw)
                file.chmod(0o600)
                recall(kind, parts)


_JSON = ('{"', '": "', '"}', "null", "true", "[", "1e999", "\\ud800", "\\u0000")

TARGETS = (
    Target(
        name="saved-plan",
        about="a file that apply takes for a saved plan",
        run=try_saved_plan,
        words=('{"kind": "virtrbd plan", "paths": [', '"digest": "', '"host": "', *_JSON),
    ),
    Target(
        name="intent",
        about="the intent of a run that was killed",
        run=try_intent,
        words=('"ref": "vms/web.vda"', '"parent": "', '"size_bytes": ', '"written_at": ', '"importing": ', *_JSON),
    ),
    Target(
        name="last-definition",
        about="the last definition, in the state directory",
        run=try_last_definition,
        words=('{"hypervisor": "h", "xml": "<domain>', *_JSON),
    ),
    Target(name="told", about="what cron was told, in the state directory", run=try_reported, words=_JSON),
    Target(name="cache", about="an entry of the cache", run=try_cache, words=("\n", *_JSON)),
)
