"""What a run may do."""

from msgspec import Struct


class Policy(Struct, frozen=True, kw_only=True):
    """What this run may do besides bringing definitions into line.

    `start`: every domain should run. `by_spec`: apply the specs' `state`. `with_orphans`: these are all specs of the
    host, so virtrbd's domains without a spec are reported. `limit_percent`: the most existing domains that may change;
    None for no limit.
    """

    host: str
    start: bool = False
    template_dir: str = ""
    by_spec: bool = False
    with_orphans: bool = False
    limit_percent: int | None = None
