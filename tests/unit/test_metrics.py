"""The summary for node_exporter: whatever a label holds, the file is there whole."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_fd_to_metric_families

from virtrbd.engine.metrics import Summary, write_summary

ODD = ['quote"', "back\\slash", "new\nline", "tab\t", "esc\x1b[31m", "\u202e", "\udcff", "\0", "é", "", "x" * 1_000_000]


@pytest.mark.parametrize("word", ODD, ids=lambda word: ascii(word)[:20])
def test_an_odd_label_costs_no_series(tmp_path: Path, word: str) -> None:
    file = tmp_path / "virtrbd.prom"
    summary = Summary(
        exit_code=0, ended_at=1.0, last_success=1.0,
        findings_by_kind={"orphan": 2, word: 7}, seconds_by_phase={word: 1.5},
    )  # fmt: skip
    write_summary(str(file), summary)
    assert file.stat().st_size < 4_000
    with file.open(encoding="utf-8") as stream:
        found = {family.name: family.samples for family in text_fd_to_metric_families(stream)}
    assert sorted(sample.value for sample in found["virtrbd_findings"]) == [2, 7]
    assert all(value.isprintable() for sample in found["virtrbd_findings"] for value in sample.labels.values())
    assert [sample.value for sample in found["virtrbd_reconcile_exit_code"]] == [0]
