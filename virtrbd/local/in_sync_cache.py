"""Cache of domains that were in sync, keyed by the digest of their documents: such a domain is not compared again.

A wrong or lost cache costs time, never the answer: a digest of other documents does not match.
"""

from collections.abc import Mapping

from virtrbd.local.spec_cache import keep, recall
from virtrbd.model.plan import Plan
from virtrbd.model.settings import Settings


def recall_judged(settings: Settings) -> dict[str, str]:
    """Return the digests by domain UUID."""
    return recall(dict[str, str], _parts(settings)) or {}


def keep_judged(settings: Settings, before: Mapping[str, str], plan: Plan) -> None:
    """Keep what this run found in sync, and what was known of other domains."""
    found = {domain.uuid: domain.judged for domain in plan.domains if domain.uuid and domain.judged}
    seen = {domain.uuid for domain in plan.domains if domain.uuid}
    now = {uuid: digest for uuid, digest in before.items() if uuid not in seen} | found
    if now != before:
        keep(dict[str, str], _parts(settings), now)


def _parts(settings: Settings) -> tuple[str, ...]:
    return ("judged", settings.connect, settings.state_dir, settings.host)
