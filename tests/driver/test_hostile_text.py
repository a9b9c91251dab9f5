"""A domain whose every text was written to fool a terminal, shown by the command line on libvirt's test driver."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest

Virtrbd = Callable[..., subprocess.CompletedProcess[str]]

UUID = "a9e1c0de-0000-4000-8000-0000000000aa"
# XML holds no ESC, but CSI as one character, which repaints a terminal as well; and what turns the reading direction.
NAME = "web\x9b2J\u202e10\u200b-\u0085bew"
FORGED = "x\nweb-02: would start domain\r\x9b31m\u2028\u200f" + "long " * 40_000
DOMAIN = f"""
<node><domain type="test">
  <name>{escape(NAME)}</name><uuid>{UUID}</uuid>
  <title>{escape(NAME)}</title><description>{escape(FORGED)}</description>
  <metadata>
    <virtrbd:domain xmlns:virtrbd="urn:virtrbd:domain:1" uuid="{UUID}" host="{NAME}">
      <virtrbd:ignores path={quoteattr(FORGED)}/>
      <virtrbd:hold why={quoteattr(FORGED)}/>
    </virtrbd:domain>
  </metadata>
  <memory>8192</memory><os><type>hvm</type></os>
  <devices><disk type="network" device="disk">
    <source protocol="rbd" name={quoteattr(f"vms/{FORGED}")}/><target dev="vda" bus="virtio"/>
  </disk></devices>
</domain></node>
"""


@pytest.fixture
def shown(virtrbd: Virtrbd, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line on that domain, and require that all it says are lines that can be seen."""
    (tmp_path / "node.xml").write_text(DOMAIN)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        done = virtrbd("--connect", f"test:///{tmp_path}/node.xml", *words)
        lines = (done.stdout + done.stderr).removesuffix("\n").split("\n")
        assert all(line.isprintable() for line in lines), lines
        assert not any(line.startswith("web-02") for line in lines)
        assert "json" in words or all(len(line) < 11_000 for line in lines)
        assert done.returncode != 70, done.stderr
        return done

    return run


def test_the_list_shows_its_name_escaped(shown: Virtrbd) -> None:
    [_titles, line] = shown("list").stdout.splitlines()
    assert line.startswith("web\\x9b2J\\u202e10\\u200b-\\x85bew  running")
    assert line.endswith("yes        yes")


def test_json_holds_it_as_it_is(shown: Virtrbd) -> None:
    [domain] = json.loads(shown("list", "--output", "json").stdout)["domains"]
    assert domain["name"] == NAME
    assert len(domain["disks"][0]) > 200_000


@pytest.mark.parametrize("name", [NAME, UUID])
def test_it_is_released_held_and_told_what_it_ignores(shown: Virtrbd, name: str) -> None:
    assert shown("hold", name).returncode == 0
    assert shown("release", name).stdout.endswith(": released\n")
    [line] = shown("ignore", name).stdout.splitlines()
    assert "ignores /x\\nweb-02: would start domain\\r\\x9b31m\\u2028\\u200flong" in line
    assert "characters more)" in line
    assert "no serial console" in shown("console", name).stderr


@pytest.mark.parametrize("path", [FORGED[:60], "/devices/disk:vda"])
def test_a_path_to_ignore_must_be_one_that_can_be_seen(shown: Virtrbd, path: str) -> None:
    assert shown("ignore", NAME, path).returncode == (0 if path.isprintable() else 64)


@pytest.mark.parametrize("verb", ["inspect", "start", "adopt", "plan"])
def test_verbs_that_find_no_ceph_say_so_in_lines_that_can_be_seen(shown: Virtrbd, verb: str) -> None:
    shown(verb, NAME + "\x1b[31m\n")
