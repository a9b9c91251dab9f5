"""Monitors and fsid out of Ceph's own words, without Ceph: addresses, the cluster's map, and a plain ceph.conf."""

import pytest

from virtrbd.ceph.conf_text import LineFlaw, refused_line, unsafe_line
from virtrbd.ceph.monitors import addresses_of_map, host_names, monitors_of_conf, monitors_of_map
from virtrbd.ceph.plain_conf import plain_options
from virtrbd.errors import ConfigError
from virtrbd.model.cluster import ClusterFacts, Monitor

FSID = "b370290b-7470-525e-9051-f8ab7b076b1c"


@pytest.mark.parametrize(
    ("mon_host", "expected"),
    [
        ("", []),
        ("10.0.0.1", [("10.0.0.1", None)]),
        ("10.0.0.2,10.0.0.1", [("10.0.0.1", None), ("10.0.0.2", None)]),
        ("10.0.0.1:6789, mon-b", [("10.0.0.1", None), ("mon-b", None)]),
        ("mon-a.example:3301  any:10.0.0.1", [("10.0.0.1", None), ("mon-a.example", 3301)]),
        ("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]",
         [("10.0.0.1", None), ("10.0.0.2", None)]),
        ("[v2:10.0.0.1:3301/0,v1:10.0.0.1:6790/0]", [("10.0.0.1", 3301)]),
        ("[v2:10.0.0.1:3301/0]", [("10.0.0.1", 3301)]),
        ("v2:10.0.0.1:3300/0", [("10.0.0.1", None)]),
        ("[fd00::1]:3301", [("fd00::1", 3301)]),
        ("fd00::1,::1", [("::1", None), ("fd00::1", None)]),
        ("[fd00::1]", [("fd00::1", None)]),
        ("[v2:[fd00::1]:3300/0,v1:[fd00::1]:6789/0]", [("fd00::1", None)]),
        ("127.0.0.1:40002,127.0.0.1:40000 127.0.0.1:40002", [("127.0.0.1", 40000), ("127.0.0.1", 40002)]),
        ("[v2:10.0.0.1:40000/0,v1:10.0.0.1:40001/0],[v2:10.0.0.1:40002/0,v1:10.0.0.1:40003/0]",
         [("10.0.0.1", 40000), ("10.0.0.1", 40002)]),
        ("[v2:[::1]:40000/0,v1:[::1]:40001/0] [v2:[::1]:40002/0]", [("::1", 40000), ("::1", 40002)]),
    ],
)  # fmt: skip
def test_reads_every_form_of_mon_host(mon_host: str, expected: list[tuple[str, int | None]]) -> None:
    assert monitors_of_conf(mon_host) == tuple(Monitor(address=a, port=p) for a, p in expected)


@pytest.mark.parametrize("word", [f"10.0.0.1:{9:05000}", "10.0.0.1:\u0663", "10.0.0.1:99999", "a = b", "mon[1]", "m/x"])
def test_what_is_no_address_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"^mon_host: .* is not the address of a monitor; "):
        monitors_of_conf(f"10.0.0.2 {word}")


def test_names_are_those_that_are_no_addresses() -> None:
    assert host_names("mon-a:3300, 10.0.0.1 [v2:[fd00::1]:3300/0,v1:[fd00::1]:6789/0] ::1") == ("mon-a",)


def _mon(*addresses: tuple[str, str]) -> dict[str, object]:
    return {"public_addrs": {"addrvec": [{"type": kind, "addr": address} for kind, address in addresses]}}


def test_reads_every_form_of_a_monitor_map() -> None:
    mons = (
        _mon(("v2", "10.0.0.1:3300"), ("v1", "10.0.0.1:6789")),
        _mon(("v1", "10.0.0.2:6789")),
        _mon(("v1", "10.0.0.3:6790")),
        _mon(("v2", "[fd00::1]:3301"), ("v1", "[fd00::1]:6789")),
        _mon(("any", "10.0.0.4:6800")),
    )
    assert {(monitor.address, monitor.port) for monitor in monitors_of_map(mons)} == {
        ("10.0.0.1", None), ("10.0.0.2", None), ("10.0.0.3", 6790), ("fd00::1", 3301), ("10.0.0.4", 6800)
    }  # fmt: skip


def test_monitors_that_share_an_address_are_all_kept() -> None:
    mons = [_mon(("v2", f"127.0.0.1:{port}"), ("v1", f"127.0.0.1:{port + 1}")) for port in (40004, 40000, 40002)]
    assert [monitor.port for monitor in monitors_of_map(mons)] == [40000, 40002, 40004]
    assert {monitor.address for monitor in monitors_of_map(mons)} == {"127.0.0.1"}


def test_a_monitor_is_known_by_all_its_addresses() -> None:
    dual = _mon(
        ("v2", "10.0.0.1:3300"), ("v1", "10.0.0.1:6789"), ("v2", "[fd00::1]:3300"), ("v1", "[fd00::2]:6789")
    )  # fmt: skip
    assert addresses_of_map([dual]) == ("10.0.0.1", "fd00::1", "fd00::2")
    facts = ClusterFacts(fsid="f", monitors=monitors_of_map([dual]), user="u", map_addresses=addresses_of_map([dual]))
    assert [monitor.address for monitor in facts.monitors] == ["fd00::1"], "what is rendered stays one"
    assert facts.addresses == {"10.0.0.1", "fd00::1", "fd00::2"}


def test_a_plain_ceph_conf_is_read_without_ceph() -> None:
    text = f"""# of the ring
; and an umlaut: \u00fc
[global]
\tfsid = {FSID.upper()} # ours
mon host = "10.0.0.1" ; the first
log_file = /var/log/ceph/$name.log
[mon.a]
mon_host = 10.0.0.9
[client]
mon  host = 10.0.0.2
auth client required = none

[client.virtrbd]
mon_host = 10.0.0.3
[client.other]
mon_host = 10.0.0.4
# no line break at the end"""
    assert plain_options("c", text.encode(), "virtrbd") == {
        "fsid": FSID, "mon_host": "10.0.0.3", "auth_client_required": "none"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[global]\nmon_host = 10.0.0.1, \\\n 10.0.0.2\n", 2),
        ("[global]\n\nmon_host = 'a\n", 3),
        ('[global]\nmon_host = "a#b"\n', 2),
        ("[global]\nmon_host = $host\n", 2),
        ("[global]\nmon_host\n", 2),
        ("[global]\nmon_host = 10.0.0.1", 2),
        ("mon_host = 10.0.0.1\n", 1),
        (" [global]\n", 1),
        ("[global] fsid = x\n", 1),
        ("[global]\nfsid = x\n", 2),
        ("[global]\nfsid = \u00fc\n", 2),
        ("\ufeff[global]\n", 1),
        ("[global]\rfsid = x\n", 1),
    ],
)
def test_what_only_ceph_reads_rightly_is_refused_by_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=f"^c:{line}: |^c: Ceph cannot read it: line {line} "):
        plain_options("c", text.encode(), "virtrbd")


def test_a_line_that_is_not_utf8_is_named() -> None:
    assert unsafe_line(b"[global]\n# \xfc\n") == LineFlaw(line=2, why="is not UTF-8; write it in UTF-8")


@pytest.mark.parametrize("line", ['x = "\u00fc"', "x = '\u00fc' # \u00e4", "x = 1 ; \u00fc", "\t# \u00fc"])
def test_letters_of_all_kinds_are_safe_in_quotes_and_comments(line: str) -> None:
    assert unsafe_line(f"[global]\n{line}\n".encode()) is None


@pytest.mark.parametrize("at", range(1, 9))
def test_the_first_line_that_is_refused_is_found(at: int) -> None:
    lines = [b"good"] * 8
    lines[at - 1] = b"bad"
    assert refused_line(b"\n".join(lines) + b"\n", lambda text: b"bad" in text).line == at
