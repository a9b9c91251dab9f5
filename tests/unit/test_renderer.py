"""A site's templates that do not end: they fail their own domains, in time, and the next domain is rendered."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtrbd.domainxml import renderer
from virtrbd.domainxml.render import render
from virtrbd.domainxml.templates import templates_digest
from virtrbd.errors import ConfigError, DefectError, SpecError
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.record import replace

pytestmark = pytest.mark.slow

CLUSTER = ClusterFacts(fsid="f", monitors=(), user="virtrbd")
SECRET = "11111111-1111-1111-1111-111111111111"
DOMAIN = Domain(
    name="web-01",
    uuid="22222222-2222-2222-2222-222222222222",
    memory_bytes=1024**3,
    vcpus=2,
    machine="q35",
    hypervisor="kvm",
    host="kvm-1",
    disks=(Disk(target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="web-01.vda")),),
    template="my.xml.j2",
    origin="web-01.yaml:1",
)
GOOD = '{% extends "domain.xml.j2" %}\n'
GROWING = "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}"
NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}TEXT{% endfor %}{% endfor %}"

ENDLESS = {
    "a loop": ("\n" + NESTED.replace("TEXT", ""), "my.xml.j2:2: domain web-01: not rendered within 1 s; look for"),
    "a loop that writes": (NESTED.replace("TEXT", "x" * 99), "my.xml.j2: domain web-01: renders more than 4 MiB"),
    "a text that doubles": (GROWING + "{{ n.a }}", "web-01: n"),
    "a long text": ("{{ 'x' * 10**10 }}", "template my.xml.j2:1: domain web-01: needs too much memory"),
    "a wide text": ("{{ 'x'|center(3 * 10**9) }}", "template my.xml.j2:1: domain web-01: needs too much memory"),
    "a call of itself": ("{% include 'my.xml.j2' %}", "web-01: it includes or calls itself without end"),
    "a number in one call of C": ("{{ (9 ** 9999999) ** 99 }}", "domain web-01: n"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "RENDER_S", 1.0)
    monkeypatch.setattr(renderer, "_GRACE_S", 1.0)


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[renderer.Renderer]:
    """A renderer that no other test uses."""
    own = renderer.Renderer()
    monkeypatch.setattr(renderer, "_renderer", own)
    yield own
    own.end()


def text_of(folder: Path, content: str, domain: Domain = DOMAIN) -> str:
    (folder / "my.xml.j2").write_text(content)
    return render(Fitted(domain=domain), CLUSTER, SECRET, str(folder)).text


def message_of(folder: Path, content: str) -> str:
    with pytest.raises(SpecError) as caught:
        text_of(folder, content)
    return str(caught.value)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_is_a_problem_of_its_domain(name: str, tmp_path: Path) -> None:
    content, message = ENDLESS[name]
    assert message in message_of(tmp_path, content)
    assert "<domain" in text_of(tmp_path, GOOD), "the next one is rendered"


def test_a_template_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "my.xml.j2")
    with pytest.raises(SpecError, match=r"template my.xml.j2 is not in "):
        render(Fitted(domain=DOMAIN), CLUSTER, SECRET, str(tmp_path))


def test_a_template_without_end_is_not_tried_for_each_of_a_hundred_domains(tmp_path: Path) -> None:
    loop = NESTED.replace("TEXT", "x" * 99)
    messages = [message_of(tmp_path, loop) for _ in range(5)]
    assert [("not tried" in message) for message in messages] == [False, False, False, True, True]
    other = replace(DOMAIN, template="domain.xml.j2")
    assert "<domain" in text_of(tmp_path, loop, other), "other templates are"


def test_a_process_that_is_killed_fails_one_domain(tmp_path: Path, own: renderer.Renderer) -> None:
    text_of(tmp_path, GOOD)
    assert own.process
    own.process.kill()
    own.process.wait()
    assert "its process was ended" in message_of(tmp_path, GOOD)
    assert "<domain" in text_of(tmp_path, GOOD)


def test_the_process_goes_with_the_one_that_started_it(tmp_path: Path, own: renderer.Renderer) -> None:
    text_of(tmp_path, GOOD)
    process = own.process
    assert process
    assert process.stdin
    process.stdin.close()
    assert process.wait(10) == 0


def test_what_was_not_foreseen_there_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(_self: renderer.Renderer, _request: renderer.RenderRequest) -> renderer.RenderAnswer:
        return renderer.RenderAnswer(problem="what", trace=("where",))

    monkeypatch.setattr(renderer.Renderer, "_ask", spoiled)
    with pytest.raises(DefectError) as caught:
        text_of(tmp_path, GOOD)
    assert caught.value.trace == ("where",)


def test_what_is_rendered_apart_is_what_is_rendered_here(tmp_path: Path) -> None:
    stock = replace(DOMAIN, template="domain.xml.j2")
    assert text_of(tmp_path, GOOD) == render(Fitted(domain=stock), CLUSTER, SECRET).text


def test_a_template_dir_that_holds_more_than_templates_is_refused(tmp_path: Path) -> None:
    for n in range(1001):
        (tmp_path / f"{n}.j2").touch()
    with pytest.raises(ConfigError, match="more than 1000 files and 16 MiB; put templates into a separate folder"):
        templates_digest(str(tmp_path))
    (tmp_path / "large").mkdir()
    with (tmp_path / "large/x.j2").open("wb") as file:
        file.truncate(17 * 1024**2)
    with pytest.raises(ConfigError):
        templates_digest(str(tmp_path / "large"))
