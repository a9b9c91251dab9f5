"""The dashboard and the alerts use only metrics, labels and values that virtrbd writes.

tools/rules checks the alerts with promtool.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_fd_to_metric_families

from virtrbd.engine.metrics import Summary, write_summary
from virtrbd.model.difference import Mend
from virtrbd.model.plan import FindingKind, Result
from virtrbd.model.power import PowerState

DOCS = Path(__file__).parent.parent.parent / "docs"
# What Prometheus itself adds, and Grafana's variable for it.
ADDED = {"instance": {"$instance"}}
Labels = dict[str, set[str]]


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Labels]:
    """The labels of each metric that a run writes, with their values."""
    summary = Summary(
        exit_code=0, ended_at=1.0, last_success=1.0, spec_problems=0,
        domains_by_state={each.value: 0 for each in PowerState},
        differences_by_mend={each.value: 0 for each in Mend},
        actions_by_result={each.value: 0 for each in Result},
        findings_by_kind={each.value: 0 for each in FindingKind},
        seconds_by_phase=dict.fromkeys(("observe", "execute", "all"), 1.0),
    )  # fmt: skip
    file = tmp_path / "virtrbd.prom"
    write_summary(str(file), summary)
    found: dict[str, Labels] = {}
    with file.open(encoding="utf-8") as stream:
        for family in text_fd_to_metric_families(stream):
            labels = found.setdefault(family.name, {})
            for sample in family.samples:
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())
    return found


def rules() -> Sequence[dict[str, Any]]:
    document = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def queries() -> Iterator[str]:
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])
    yield from (each["definition"] for each in dashboard()["templating"]["list"] if each["type"] == "query")
    yield from (rule["expr"] for rule in rules())


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_uses_what_is_written(query: str, written: dict[str, Labels]) -> None:
    names = re.findall(r"virtrbd_\w+", query)
    assert names
    for name, inside in re.findall(r"(virtrbd_\w+)(?:\{([^}]*)\})?", query):
        labels = written[name] | ADDED
        for label, value in re.findall(r"(\w+)=~?\"([^\"]*)\"", inside):
            assert value in labels[label], (name, label, value)
    for label in re.findall(r"by \((\w+)\)", query):
        assert label in written[names[0]]


def test_each_metric_is_on_the_dashboard(written: dict[str, Labels]) -> None:
    shown = " ".join(target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])
    assert [name for name in written if not re.search(rf"{name}\b", shown)] == []


def test_the_panels_do_not_overlap_and_take_the_data_source_that_is_chosen() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for grid in (panel["gridPos"],)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in dashboard()["panels"]} == {"${datasource}"}


def test_each_alert_says_what_to_do() -> None:
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in rules()}) == len(rules())
