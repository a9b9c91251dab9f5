"""The verb `start`: start a domain, if no other client has its images open."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.domains import NAME
from virtrbd.errors import ClusterError
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import locked, require_awake, require_released
    from virtrbd.engine.power import start_domain
    from virtrbd.engine.writers import two_writers_texts


@verb
@NAME
@ALLOW
def start(run: Run, name: str, allow: tuple[str, ...]) -> None:
    """Start a domain, if no other client has its images open."""
    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host, locked(host, name, "start") as domain:
        require_awake(domain)
        require_released(domain)
        if domain.state.is_active:
            if twice := two_writers_texts(host, domain):
                raise ClusterError(*(f"{domain.name}: runs already, and {text}" for text in twice))
            state = domain.state.value
            run.answer_change({"name": name, "state": state}, [f"{name}: runs already"], changed=False)
            return
        start_domain(domain.uuid, host)
    run.answer_change({"name": name, "state": "running"}, [f"{name}: started"], changed=True)
