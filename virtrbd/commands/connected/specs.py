"""What a run over many specs may do."""

import os
import re
from collections.abc import Sequence

from virtrbd.errors import UsageError
from virtrbd.model.settings import Settings
from virtrbd.planning.policy import Policy
from virtrbd.printable import quoted
from virtrbd.specs.directory import Fleet


def policy_of(paths: Sequence[str], fleet: Fleet, settings: Settings, limit: str) -> Policy:
    """Return what a run over these specs may do. Raises UsageError for an invalid limit."""
    return Policy(
        host=settings.host,
        template_dir=settings.template_dir,
        by_spec=True,
        # Only a whole directory shows which domains have no spec; a broken file may be the missing spec.
        with_orphans=all(map(os.path.isdir, paths)) and fleet.is_whole,
        limit_percent=parse_limit(limit),
    )


def parse_limit(text: str) -> int:
    """Return the percentage that `30%` means. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,3})\s*%?", text.strip())
    if match is None or int(match[1]) > 100:
        raise UsageError(f"--limit: {quoted(text)} is not a share; write a number from 0 to 100, like 30%")
    return int(match[1])
