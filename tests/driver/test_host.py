"""The host of a run: libvirt is connected to when it is first asked for, once; a host without it is one for images."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from virtrbd.ceph.cluster import Cluster
from virtrbd.errors import UnavailableError, VirtrbdError
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.images.host import Host
from virtrbd.local.state_dir import StateDir
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageMark, ImageRef
from virtrbd.model.settings import Settings

HERE = Settings(host="kvm-1", connect="test:///default")
NOWHERE = Settings(host="kvm-1", connect="qemu:///system?socket=/nowhere")
REF = ImageRef(pool="vms", name="web.vda")
MARKED = Image(
    ref=REF, image_id="1", size_bytes=1, created_at=0, mark=ImageMark(domain_uuid="u", image_id="1", host="there")
)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was connected to, and disconnected from."""
    found: list[str] = []
    connect: Callable[[Settings], AbstractContextManager[Hypervisor]] = Hypervisor.connect

    @contextmanager
    def counted(settings: Settings) -> Iterator[Hypervisor]:
        found.append("connect")
        with connect(settings) as hypervisor:
            yield hypervisor
        found.append("disconnect")

    monkeypatch.setattr(Hypervisor, "connect", counted)
    return found


def host_with(settings: Settings, *allowed: Hazard) -> Host:
    cluster = Cluster(None, settings, None)
    state = StateDir(settings.state_dir)
    return Host(settings=settings, cluster=cluster, state=state, allowed=frozenset(allowed), say=print, did=print)


def test_libvirt_is_connected_to_when_it_is_first_asked_for_and_once(connections: list[str]) -> None:
    host = host_with(HERE)
    shown = host.with_progress(lambda _done, _total: None)
    assert (connections, host.has_libvirt) == ([], False)
    with ThreadPoolExecutor(8) as pool:
        [uuid] = set(pool.map(lambda each: each.host_uuid, [host, shown] * 8))
    assert len(uuid) == 36
    assert host.has_libvirt
    assert host.hypervisor is shown.hypervisor
    assert host.known_uses(REF) == shown.uses()
    assert connections == ["connect"]


def test_where_libvirt_refused_it_is_not_asked_again(connections: list[str]) -> None:
    host = host_with(NOWHERE)
    assert (host.host_uuid, host.uses(), host.has_libvirt) == ("", None, False)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="nowhere"):
            _ = host.hypervisor
    assert connections == ["connect"]


@pytest.mark.parametrize(
    ("require", "unknown"),
    [
        (lambda host: host.known_uses(REF), "which domains of this host use image vms/web.vda"),
        (
            lambda host: host.require_owner(MARKED),
            "whether host there, which image vms/web.vda belongs to, is this one",
        ),
    ],
)
def test_what_only_libvirt_knows_needs_it_or_a_permission(require: Callable[[Host], Any], unknown: str) -> None:
    with pytest.raises(VirtrbdError) as refused:
        require(host_with(NOWHERE))
    assert type(refused.value) is UnavailableError
    assert f"libvirt does not answer here, so {unknown} is unknown; start libvirtd, then run again (" in str(
        refused.value
    )
    assert require(host_with(NOWHERE, Hazard.TAKES_OVER)) is None
    require(host_with(HERE))


def test_an_image_without_a_mark_needs_no_libvirt(connections: list[str]) -> None:
    host_with(NOWHERE).require_owner(Image(ref=REF, image_id="1", size_bytes=1, created_at=0))
    assert connections == []


def test_work_on_domains_connects_to_libvirt_before_ceph(connections: list[str]) -> None:
    with (
        pytest.raises(UnavailableError, match="nowhere"),
        Host.connect(NOWHERE, frozenset(), print, print, needs_libvirt=True),
    ):
        pass
    assert connections == ["connect"]
