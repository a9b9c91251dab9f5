"""fsid and monitors out of ceph.conf, for rendering without a cluster."""

from pathlib import Path

import pytest

from virtrbd.model.actual import Monitor
from virtrbd.model.settings import CephSettings, Settings
from virtrbd.spec.cephconf import read_cluster_facts


def monitors(tmp_path: Path, mon_host: str) -> tuple[Monitor, ...]:
    (tmp_path / "ceph.conf").write_text(f"# a comment\n[global]\n\tfsid = abc\n\tmon host = {mon_host}\n")
    return read_cluster_facts(settings(tmp_path)).monitors


def settings(tmp_path: Path) -> Settings:
    return Settings(host="kvm-1", ceph=CephSettings(conf=str(tmp_path / "ceph.conf")))


@pytest.mark.parametrize(
    ("mon_host", "expected"),
    [
        ("10.0.0.1", [("10.0.0.1", None)]),
        ("10.0.0.2,10.0.0.1", [("10.0.0.1", None), ("10.0.0.2", None)]),
        ("10.0.0.1:6789, mon-b", [("10.0.0.1", None), ("mon-b", None)]),
        ("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]",
         [("10.0.0.1", None), ("10.0.0.2", None)]),
        ("[v2:10.0.0.1:3301/0,v1:10.0.0.1:6790/0]", [("10.0.0.1", 3301)]),
        ("v2:10.0.0.1:3300/0", [("10.0.0.1", None)]),
        ("[fd00::1]:3301", [("fd00::1", 3301)]),
        ("[v2:[fd00::1]:3300/0,v1:[fd00::1]:6789/0]", [("fd00::1", None)]),
    ],
)  # fmt: skip
def test_reads_every_form_of_mon_host(mon_host: str, expected: list[tuple[str, int | None]], tmp_path: Path) -> None:
    assert monitors(tmp_path, mon_host) == tuple(Monitor(address=a, port=p) for a, p in expected)


@pytest.mark.parametrize("port", ["9" * 5000, "\u0663", "99999999"])
def test_a_port_that_is_none_is_left_to_librados(port: str, tmp_path: Path) -> None:
    assert Monitor(address="10.0.0.1") in monitors(tmp_path, f"10.0.0.1:{port}")


def test_a_comment_may_be_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "ceph.conf").write_bytes(b"# f\xfcr den Ring\n[global]\nfsid = abc\nmon host = 10.0.0.1\n")
    facts = read_cluster_facts(settings(tmp_path))
    assert (facts.fsid, facts.monitors) == ("abc", (Monitor(address="10.0.0.1"),))


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    facts = read_cluster_facts(settings(tmp_path))
    assert (facts.fsid, facts.monitors) == ("00000000-0000-0000-0000-000000000000", ())


def test_a_file_that_is_not_utf8_says_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "ceph.conf").write_bytes(b"# \xff\n[global]\nfsid = abc\nmon_host = 10.0.0.1\n")
    facts = read_cluster_facts(settings(tmp_path))
    assert (facts.fsid, facts.monitors) == ("abc", (Monitor(address="10.0.0.1", port=None),))
