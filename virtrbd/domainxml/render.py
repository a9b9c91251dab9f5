"""Domain XML rendered from a desired domain. The only place that knows Jinja2."""

from functools import cache

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from virtrbd.model.actual import ClusterFacts
from virtrbd.model.domain import Domain


@cache
def _environment() -> SandboxedEnvironment:
    # autoescape=True: select_autoescape() does not know *.xml.j2, and an image's name may hold `&`.
    # The empty path: PackageLoader("virtrbd", "templates") finds nothing in an editable install.
    return SandboxedEnvironment(
        loader=PackageLoader("virtrbd.templates", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )


def render(domain: Domain, cluster: ClusterFacts, secret_uuid: str) -> str:
    """Return the domain's XML, without addresses: libvirt gives those at the first define."""
    template = _environment().get_template("domain.xml.j2")
    return template.render(domain=domain, cluster=cluster, secret_uuid=secret_uuid).strip() + "\n"
