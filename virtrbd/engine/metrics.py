"""Metrics of a run, for node_exporter's textfile collector: the only place that calls prometheus_client."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.registry import Collector

from virtrbd.engine.converge import Report
from virtrbd.errors import ExitCode
from virtrbd.local.write_whole import cannot_write, write_whole
from virtrbd.model.difference import Mend
from virtrbd.model.domain_actions import DefineDomain
from virtrbd.model.plan import FindingKind, Result
from virtrbd.model.power import PowerState
from virtrbd.printable import VALUE_LENGTH, printable
from virtrbd.specs.directory import Fleet
from virtrbd.specs.files import read_bounded

_HELD_UP = "held_up_since_timestamp_seconds"
_HELD_UP_HELP = "Since when another run has the lock, for longer than a run may take; 0 where none has."


class Summary(Struct, frozen=True, kw_only=True):
    """The summary of a run. Times in seconds, `last_success` since 1970 and 0 for never; the rest are counts.

    What a failed run could not learn is empty; what it knows has every label, also where it is 0: an alert cannot use
    a series that vanishes.
    """

    exit_code: int
    ended_at: float
    last_success: float
    spec_problems: int | None = None
    domains_by_state: Mapping[str, int] = field(default_factory=dict)
    differences_by_mend: Mapping[str, int] = field(default_factory=dict)
    actions_by_result: Mapping[str, int] = field(default_factory=dict)
    findings_by_kind: Mapping[str, int] = field(default_factory=dict)
    seconds_by_phase: Mapping[str, float] = field(default_factory=dict)


def summary_of(
    report: Report | None, fleet: Fleet | None, *, code: ExitCode, now: float, last_success: float, seconds: float
) -> Summary:
    """Return the summary of a run, or of one that failed before there was a report."""
    summary = Summary(exit_code=int(code), ended_at=now, last_success=last_success, seconds_by_phase={"all": seconds})
    if report is None or fleet is None:
        return summary
    actions = [action for domain in report.plan.domains for action in domain.actions]
    differences = [each for action in actions if isinstance(action, DefineDomain) for each in action.differences]
    findings = [finding for domain in report.left.domains for finding in domain.findings]
    return Summary(
        exit_code=summary.exit_code,
        ended_at=now,
        last_success=last_success,
        spec_problems=len(fleet.problems) + len(fleet.failures),
        domains_by_state=_counts(PowerState, report.plan.states),
        differences_by_mend=_counts(Mend, (difference.mend for difference in differences)),
        actions_by_result=_counts(Result, (o.result for o in report.outcomes if not o.quiet)),
        findings_by_kind=_counts(FindingKind, (finding.kind for finding in findings)),
        seconds_by_phase={**report.seconds, **summary.seconds_by_phase},
    )


def _counts(
    words: Iterable[PowerState | Mend | Result | FindingKind],
    found: Iterable[PowerState | Mend | Result | FindingKind],
) -> dict[str, int]:
    counted = Counter(found)
    return {word.value: counted[word] for word in words}


def write_held_up(file: str, since: float) -> None:
    """Add to the last run's summary since when a run has held up all others. Raises VirtrbdError."""
    # Here, not above: every run writes a summary, and hardly any reads one.
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(read_bounded(file).decode()))
    except (OSError, ValueError):
        families = []
    registry = CollectorRegistry()
    kept = [family for family in families if family.name != f"virtrbd_reconcile_{_HELD_UP}"]
    registry.register(_Kept(kept))
    Gauge(f"virtrbd_reconcile_{_HELD_UP}", _HELD_UP_HELP, registry=registry).set(since)
    _write(file, registry)


class _Kept(Collector):
    """The metrics that another run wrote."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def write_summary(file: str, summary: Summary) -> None:
    """Write the summary so that node_exporter never reads half of it. Raises VirtrbdError."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float | None) -> None:
        if value is not None:
            Gauge(f"virtrbd_reconcile_{name}", text, registry=registry).set(value)

    def by(name: str, label: str, text: str, counts: Mapping[str, float]) -> None:
        metric = Gauge(f"virtrbd_{name}", text, [label], registry=registry)
        for key, value in sorted(counts.items()):
            # A character that UTF-8 can't encode would cost the whole file.
            metric.labels(printable(key, VALUE_LENGTH)).set(value)

    gauge("exit_code", "Exit code of the last run.", summary.exit_code)
    gauge("last_run_timestamp_seconds", "When the last run ended.", summary.ended_at)
    gauge("last_success_timestamp_seconds", "When a run last ended with exit code 0.", summary.last_success)
    gauge(_HELD_UP, _HELD_UP_HELP, 0)
    gauge("spec_problems", "Problems in spec files.", summary.spec_problems)
    by("domains", "state", "Domains by state.", summary.domains_by_state)
    by("differences", "mend", "Differences to the specs, by how they are mended.", summary.differences_by_mend)
    by("reconcile_actions", "result", "Actions of the last run by result.", summary.actions_by_result)
    by("findings", "kind", "Findings, by kind.", summary.findings_by_kind)
    by("reconcile_seconds", "phase", "How long the last run took, by phase.", summary.seconds_by_phase)
    _write(file, registry)


def _write(file: str, registry: CollectorRegistry) -> None:
    try:
        # node_exporter runs as another user, and cron's umask may be strict.
        write_whole(file, generate_latest(registry), 0o644, synced=False)
    except OSError as error:
        raise cannot_write(file, error, "node_exporter keeps reading the previous summary") from error
