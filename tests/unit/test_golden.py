"""What specs become on each era of libvirt and QEMU, as files to review: `pytest tests/unit --regenerate`."""

from pathlib import Path

import pytest

from virtrbd.compat.adapt import fit
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.render import render
from virtrbd.domainxml.validate import SCHEMA, schema_problems
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.domain import Domain
from virtrbd.model.settings import Settings
from virtrbd.specs.load import load
from virtrbd.specs.resolve import resolve

TESTS = Path(__file__).parent.parent
GOLDEN = TESTS / "golden"
ERAS = {
    "libvirt-7.0": "libvirt=7.0,qemu=5.2",
    "libvirt-8.0": "libvirt=8.0,qemu=6.2",
    "libvirt-9.0": "libvirt=9.0,qemu=7.2",
    "libvirt-10.0": "libvirt=10.0,qemu=8.2",
    "libvirt-11.3": "libvirt=11.3,qemu=10.0",
    "libvirt-11.6": "libvirt=11.6,qemu=10.0",
    "libvirt-12.8": "libvirt=12.8,qemu=11.1",
}
SETTINGS = Settings(host="kvm-1", ceph_configs=("/etc/ceph/guests.conf",))
CLUSTER = ClusterFacts(
    fsid="b370290b-7470-525e-9051-f8ab7b076b1c",
    monitors=(Monitor(address="10.0.0.1"), Monitor(address="fd00::2", port=3300)),
    user="virtrbd",
)
SECRET = "11111111-1111-1111-1111-111111111111"


def golden_domains() -> tuple[Domain, ...]:
    return resolve(load([str(TESTS / "specs" / "valid")], SETTINGS), SETTINGS)


def document(domain: Domain, era: str) -> tuple[str, str]:
    """Return name and content of the golden file: the XML, or why there is none in that era."""
    fitted = fit(domain, capabilities_by_hand(ERAS[era], domain.machine))
    if fitted.problems:
        # Without the place of the spec, which is where the checkout is.
        return f"{domain.name}.refused", "".join(f"{text.partition(': ')[2]}\n" for text in fitted.problems)
    return f"{domain.name}.xml", render(fitted.fitted, CLUSTER, SECRET).text


def documents(era: str) -> dict[str, str]:
    return dict(document(domain, era) for domain in golden_domains())


def held(era: str) -> dict[str, str]:
    return {file.name: file.read_text() for file in (GOLDEN / era).iterdir()}


@pytest.mark.parametrize("era", ERAS)
def test_specs_become_the_golden_documents(era: str, request: pytest.FixtureRequest) -> None:
    now = documents(era)
    if request.config.getoption("--regenerate"):
        (GOLDEN / era).mkdir(parents=True, exist_ok=True)
        for stale in held(era).keys() - now.keys():
            (GOLDEN / era / stale).unlink()
        for name, content in now.items():
            (GOLDEN / era / name).write_text(content)
    assert now == held(era)


@pytest.mark.parametrize("era", ERAS)
def test_golden_documents_are_what_the_schema_takes(era: str) -> None:
    knows_granularity = "discard_granularity" in SCHEMA.with_name("domaincommon.rng").read_text()
    problems = {
        name: schema_problems(Rendered(content))
        for name, content in documents(era).items()
        if name.endswith(".xml") and (knows_granularity or "<blockio discard_granularity" not in content)
    }
    assert len(problems) > 0
    assert {name: found for name, found in problems.items() if found} == {}
