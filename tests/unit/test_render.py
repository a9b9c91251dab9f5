"""Templates: the packaged one, and what a site makes of it."""

from pathlib import Path

import pytest
from lxml import etree
from support.xml import at

from virtrbd.domainxml.render import render
from virtrbd.domainxml.rendered import render_document
from virtrbd.domainxml.templates import templates_digest
from virtrbd.errors import ConfigError, SpecError
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.record import replace

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
MINE = '{% extends "domain.xml.j2" %}\n'


def rendered(folder: Path, **templates: str) -> etree._Element:
    """Render with a site's templates, `my` for my.xml.j2."""
    return etree.fromstring(text_of(folder, **templates))


def text_of(folder: Path, **templates: str) -> str:
    for name, content in templates.items():
        (folder / f"{name}.xml.j2").write_text(content)
    return render(Fitted(domain=DOMAIN), CLUSTER, SECRET, str(folder)).text


def message_of(folder: Path, **templates: str) -> str:
    with pytest.raises(SpecError) as caught:
        text_of(folder, **templates)
    return str(caught.value)


def test_a_site_adds_devices_without_copying_the_template(tmp_path: Path) -> None:
    root = rendered(tmp_path, my=MINE + "{% block devices_extra %}<input type='tablet'/>{% endblock %}")
    assert root.find("devices/input") is not None
    assert root.find("devices/disk") is not None


def test_without_cephx_there_is_no_user_and_no_secret() -> None:
    with_it, without = (
        render(Fitted(domain=replace(DOMAIN, template="domain.xml.j2")), cluster, SECRET).tree
        for cluster in (CLUSTER, replace(CLUSTER, cephx=False))
    )
    assert with_it.find("devices/disk/source/auth") is not None
    assert without.find("devices/disk/source/auth") is None


def test_a_site_replaces_a_part(tmp_path: Path) -> None:
    root = rendered(tmp_path, my=MINE, clock='<clock offset="variable"/>')
    assert at(root, "clock").get("offset") == "variable"


def test_a_site_may_have_a_domain_template_of_its_own(tmp_path: Path) -> None:
    own = '{% extends "virtrbd/domain.xml.j2" %}{% block devices_extra %}<sound model="ich9"/>{% endblock %}'
    root = rendered(tmp_path, domain=own, my=MINE + "{% block extra %}<keywrap/>{% endblock %}")
    assert root.find("devices/sound") is not None
    assert root.find("keywrap") is not None


def test_a_site_reaches_qemu_without_a_namespace_of_its_own(tmp_path: Path) -> None:
    extra = '<qemu:commandline><qemu:arg value="-S"/></qemu:commandline>'
    root = rendered(tmp_path, my=MINE + "{% block extra %}" + extra + "{% endblock %}")
    assert root.find("{http://libvirt.org/schemas/domain/qemu/1.0}commandline") is not None


def test_what_is_undefined_is_named_with_its_line(tmp_path: Path) -> None:
    text = message_of(tmp_path, my=MINE + "{% block extra %}\n{{ domain.colour }}\n{% endblock %}")
    assert text.startswith("template my.xml.j2:3: domain web-01: ")
    assert "'colour'" in text


def test_an_error_in_an_included_part_is_named_there(tmp_path: Path) -> None:
    text = message_of(
        tmp_path, my=MINE + "{% block extra %}{% include 'part.xml.j2' %}{% endblock %}", part="\n{{ x }}"
    )
    assert text == "template part.xml.j2:2: domain web-01: 'x' is undefined"


def test_wrong_syntax_is_named_with_its_line(tmp_path: Path) -> None:
    text = message_of(tmp_path, my=MINE + "\n{% for x %}")
    assert text.startswith("template my.xml.j2:3: domain web-01: ")


def test_a_missing_template_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert message_of(tmp_path).startswith(
        f"template my.xml.j2: domain web-01: template my.xml.j2 is not in {tmp_path} or the packaged templates; "
    )
    text = message_of(tmp_path, my="\n{% extends 'gone.xml.j2' %}")
    assert text.startswith("template my.xml.j2:2: domain web-01: template gone.xml.j2 is not in ")


def test_no_template_is_read_from_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    folder = tmp_path / "templates"
    folder.mkdir()
    assert "is not in" in message_of(folder, my="{% include '../secret' %}")


@pytest.mark.parametrize(
    "escape",
    [
        "{{ domain.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ domain.features.clear() }}",
        "{{ '{0.__class__}'.format(domain) }}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_a_template_can_neither_break_out_nor_change_the_domain(tmp_path: Path, escape: str) -> None:
    assert message_of(tmp_path, my=escape).startswith("template my.xml.j2:1: domain web-01: ")


def test_a_template_that_includes_itself_ends(tmp_path: Path) -> None:
    assert "without end" in message_of(tmp_path, my="{% include 'my.xml.j2' %}")


def test_what_is_no_xml_is_refused(tmp_path: Path) -> None:
    text = message_of(tmp_path, my="<domain>")
    assert text.startswith("template my.xml.j2: domain web-01: its XML cannot be parsed: ")


def test_names_are_escaped_in_a_sites_template_too(tmp_path: Path) -> None:
    hostile = replace(DOMAIN, title="</title><evil a='&'/>", template="my.xml.j2")
    (tmp_path / "my.xml.j2").write_text(MINE + "{% block extra %}<keep>{{ domain.title }}</keep>{% endblock %}")
    root = render(Fitted(domain=hostile), CLUSTER, SECRET, str(tmp_path)).tree
    assert root.find("evil") is None
    assert root.findtext("title") == root.findtext("keep") == hostile.title


def test_the_schema_blames_the_template_for_its_part_and_the_spec_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "my.xml.j2").write_text(MINE + "{% block devices_extra %}<nonsense/>{% endblock %}")
    wrong = replace(DOMAIN, disks=(replace(DOMAIN.disks[0], serial="no/slash"),))
    problems = render_document(Fitted(domain=wrong), CLUSTER, SECRET, str(tmp_path)).problems
    assert [problem.partition(" (line")[0] for problem in problems] == [
        "web-01.yaml:1: web-01: libvirt's schema refuses <serial>no/slash in disk:vda",
        "web-01.yaml:1: web-01: in template my.xml.j2: libvirt's schema refuses <nonsense>",
    ]


def test_an_error_in_a_template_is_a_problem_of_its_domain(tmp_path: Path) -> None:
    (tmp_path / "my.xml.j2").write_text("{{ x }}")
    document = render_document(Fitted(domain=DOMAIN), CLUSTER, SECRET, str(tmp_path))
    assert document.problems == ("web-01.yaml:1: template my.xml.j2:1: domain web-01: 'x' is undefined",)


def test_a_template_that_is_not_utf8_is_to_be_saved_as_that(tmp_path: Path) -> None:
    (tmp_path / "my.xml.j2").write_bytes(b"\xe4")
    [problem] = render_document(Fitted(domain=DOMAIN), CLUSTER, SECRET, str(tmp_path)).problems
    assert problem.endswith("is not UTF-8; save it as UTF-8")
    assert "codec" not in problem


def test_the_digest_sees_every_file_of_the_site(tmp_path: Path) -> None:
    digests = [templates_digest(), templates_digest(str(tmp_path))]
    (tmp_path / "deep").mkdir()
    for content in ("a", "bb"):
        (tmp_path / "deep" / "my.xml.j2").write_text(content)
        digests.append(templates_digest(str(tmp_path)))
    assert len(set(digests)) == 4
    assert templates_digest(str(tmp_path)) == digests[-1]


def test_a_template_dir_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone: No such file"):
        templates_digest(str(tmp_path / "gone"))
