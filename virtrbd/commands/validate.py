"""The verb `validate`: check spec files, without libvirt and Ceph."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.specs import FILES
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.specs.load import load
    from virtrbd.specs.ownership import ownership_warnings
    from virtrbd.specs.resolve import resolve


@verb
@FILES
def validate(run: Run, files: tuple[str, ...]) -> None:
    """Check spec files; needs neither libvirt nor Ceph."""
    settings = run.settings()
    run.say(*ownership_warnings((), settings))
    domains = resolve(load(files, settings), settings)
    run.answer(
        {"domains": [{"name": domain.name, "origin": domain.origin, "host": domain.host} for domain in domains]},
        [f"{domain.name}: valid ({domain.origin})" for domain in domains],
    )
