"""A run's summary for node_exporter's textfile collector: the only place that calls prometheus_client."""

from collections import Counter
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from virtrbd.errors import VirtrbdError


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to. Times in seconds, `last_success` since 1970 and 0 for never; the rest are counts."""

    exit_code: int
    ended_at: float
    last_success: float
    domains_by_state: Counter[str] = field(default_factory=Counter)
    actions_by_result: Counter[str] = field(default_factory=Counter)
    findings_by_kind: Counter[str] = field(default_factory=Counter)
    spec_problems: int = 0
    seconds_by_phase: dict[str, float] = field(default_factory=dict)


def write_summary(file: str, summary: Summary) -> None:
    """Write the summary so that node_exporter never reads a half one. Raises VirtrbdError."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(f"virtrbd_reconcile_{name}", text, registry=registry).set(value)

    def by(name: str, label: str, text: str, counts: dict[str, float] | Counter[str]) -> None:
        metric = Gauge(f"virtrbd_{name}", text, [label], registry=registry)
        for key, value in sorted(counts.items()):
            metric.labels(key).set(value)

    gauge("exit_code", "Exit code of the last run.", summary.exit_code)
    gauge("last_run_timestamp_seconds", "When the last run ended.", summary.ended_at)
    gauge("last_success_timestamp_seconds", "When a run last ended in order.", summary.last_success)
    gauge("spec_problems", "Problems in spec files.", summary.spec_problems)
    by("domains", "state", "Domains by state.", summary.domains_by_state)
    by("reconcile_actions", "result", "Actions of the last run by what became of them.", summary.actions_by_result)
    by("findings", "kind", "What a person should know, by kind.", summary.findings_by_kind)
    by("reconcile_seconds", "phase", "How long the last run took, by phase.", summary.seconds_by_phase)
    try:
        write_to_textfile(file, registry)
    except OSError as error:
        raise VirtrbdError(f"{file}: {error.strerror}; node_exporter keeps reading the last one") from error
