"""What earlier runs found in order is kept, and whatever is wrong with it costs time, never the answer."""

from pathlib import Path
from typing import Any

import pytest

from virtrbd.local.in_sync_cache import keep_judged, recall_judged
from virtrbd.model.plan import DomainPlan, Plan
from virtrbd.model.settings import Settings

SETTINGS = Settings(host="kvm-1")


def plan(**judged: str) -> Plan:
    return Plan(domains=tuple(DomainPlan(name=uuid, uuid=uuid, judged=digest) for uuid, digest in judged.items()))


def test_what_was_judged_is_known_to_the_next_run() -> None:
    assert recall_judged(SETTINGS) == {}
    keep_judged(SETTINGS, {}, plan(a="1", b=""))
    assert recall_judged(SETTINGS) == {"a": "1"}


def test_a_run_speaks_only_of_its_own_domains() -> None:
    keep_judged(SETTINGS, {"a": "1", "b": "1"}, plan(b="", c="2"))
    assert recall_judged(SETTINGS) == {"a": "1", "c": "2"}


@pytest.mark.parametrize("field", ["host", "connect", "state_dir"])
def test_another_host_has_another_memory(field: str) -> None:
    keep_judged(SETTINGS, {}, plan(a="1"))
    stated: dict[str, Any] = {"host": "kvm-1", field: "another"}
    other = Settings(**stated)
    assert recall_judged(other) == {}


@pytest.mark.parametrize("text", [b"", b"no proof\n{}", b"\xff\xfe"])
def test_a_memory_that_was_meddled_with_is_none(tmp_path: Path, text: bytes) -> None:
    keep_judged(SETTINGS, {}, plan(a="1"))
    [file] = [each for each in (tmp_path / "cache/virtrbd").iterdir() if each.is_file()]
    file.write_bytes(text)
    assert recall_judged(SETTINGS) == {}
