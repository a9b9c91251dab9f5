"""Image files of strangers on a whole stack: nothing that they name is opened, and what reads them may do little."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fleets import Fleet
from support.hostile_images import MIB, hostile_images, qcow2
from support.operators import Operator
from support.transfers import in_the_middle
from support.worlds import LabWorld, Sources

from virtrbd.images.confined import Rights, start_confined


@contextmanager
def listening(folder: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a hostile file may name: a port, and a socket in the folder."""
    with socket.socket() as port, socket.socket(socket.AF_UNIX) as path:
        port.bind(("127.0.0.1", 0))
        path.bind(str(folder / "nbd"))
        for each in (port, path):
            each.listen()
            each.setblocking(False)
        yield port, path


def assert_nobody_called(*sockets: socket.socket) -> None:
    for each in sockets:
        with pytest.raises(BlockingIOError):
            each.accept()


def importing(world: LabWorld, file: Path, image: str, cwd: Path | str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "virtrbd", "image", "import", str(file), image]
    return subprocess.run(
        words, env=world.env, cwd=cwd, capture_output=True, text=True, check=False, timeout=50, stdin=subprocess.DEVNULL
    )


def test_no_file_makes_root_open_what_it_names(
    world: LabWorld, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A socket's path is short.
    folder = tmp_path_factory.mktemp("h")
    (folder / "secret").write_bytes(b"secret".ljust(MIB))
    os.mkfifo(folder / "fifo")
    with listening(folder) as (port, path):
        corpus = dict(hostile_images(folder, port.getsockname()[1]))
        files = {name: folder / f"{name}.img" for name in corpus}
        for each, file in files.items():
            file.write_bytes(corpus[each].content)

        def refused(each: str) -> None:
            # From cron's folder, and from the one that a relative name means something in.
            done = importing(world, files[each], f"vms/{name}.{each}", "/" if len(each) % 2 else folder)
            assert (done.returncode, done.stdout) == (corpus[each].code, ""), (each, done)
            assert corpus[each].says in done.stderr, each
            assert done.stderr.count("\n") == 1, each

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(refused, [each for each in files if each.startswith(("back", "data", "vm", "vhdx", "snap"))]))
        assert_nobody_called(port, path)
    assert sorted(each.name for each in folder.iterdir() if each.suffix != ".img") == ["fifo", "nbd", "secret"]
    assert world.images(name) == []


def test_a_file_that_names_others_harms_only_the_domain_that_imports_it(fleet: Fleet) -> None:
    fifo, evil, good = (fleet.specs / each for each in ("fifo", "evil.qcow2", "good.qcow2"))
    os.mkfifo(fifo)
    evil.write_bytes(qcow2(backing=b"/etc/shadow"))
    good.write_bytes(qcow2())
    names = [fleet.spec(each, f"disks:\n  - {{import: {file}}}\n") for each, file in
             (("a", fifo), ("b", evil), ("c", good), ("d", "/dev/null"))]  # fmt: skip
    done = fleet.reconcile()
    assert done.code == 65, done
    assert f"{names[2]}: define domain" in done.out
    for each, what in (
        (0, f"{fifo}: is a FIFO"),
        (1, f"{evil}: refers to /etc/shadow"),
    ):
        assert f"{fleet.specs}/{names[each]}.yaml:4: disk vda: {what}" in done.err
    assert f"{fleet.specs}/{names[3]}.yaml:4: disks[0].import: /dev/null is outside {fleet.specs}" in done.err


def test_what_reads_a_strangers_file_has_no_rights(world: LabWorld, name: str, operator: Operator, big: Path) -> None:
    with in_the_middle(world, operator, f"{name}.a", "import", str(big), f"vms/{name}.a") as transfer:
        process = Path(f"/proc/{transfer.worker}")
        status = dict(re.findall(r"^(\w+):[ \t]*(.*)$", (process / "status").read_text(), re.MULTILINE))
        assert len(set(status["Uid"].split()) | set(status["Gid"].split())) == 1
        assert 65536 <= int(status["Uid"].split()[0]) < 100000
        assert (status["Groups"], status["NoNewPrivs"], int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (
            "",
            "1",
            0,
            0,
        )
        limits = (process / "limits").read_text()
        assert re.search(r"^Max file size +0 ", limits, re.MULTILINE), limits
        assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE), limits
        key = world.host.ok("sh", "-c", "cat $(dirname $CEPH_CONF)/client.virtrbd.keyring").split()[-1].encode()
        assert key not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        transfer.go_on()
        code, said = transfer.end()
    assert code == 0, said
    world.forget(name)


def confined(command: Sequence[str], rights: Rights) -> tuple[int, str]:
    with start_confined(command, rights, []) as process:
        out, err = process.communicate(timeout=50)
        return process.returncode, (out + err).decode()


def test_what_needs_no_network_has_none_and_what_takes_too_much_ends() -> None:
    code, said = confined(["cat", "/proc/net/dev"], Rights())
    assert (code, re.findall(r"(\w+):", said)) == (0, ["lo"])
    assert confined(["cat", "/etc/shadow"], Rights())[0] == 1
    assert confined([sys.executable, "-c", "while True: pass"], Rights(cpu_s=1))[0] < 0
    assert "MemoryError" in confined([sys.executable, "-c", "bytes(10**9)"], Rights(memory_bytes=500 * MIB))[1]


@pytest.mark.parametrize("file_format", ["raw", "qcow2"])
def test_a_file_that_only_root_may_read_is_imported_by_one_that_may_not(
    world: LabWorld, name: str, sources: Sources, file_format: str
) -> None:
    file = world.host.folder / f"{name}.img"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", file_format, sources.file, file], check=True)
    file.chmod(0o600)
    world.ok("image", "import", "--verify", str(file), f"vms/{name}.a")
    assert world.content(f"{name}.a") == sources.file_content
    world.forget(name)


def test_an_export_goes_into_the_file_that_was_made_for_it(world: LabWorld, name: str, sources: Sources) -> None:
    """Also where others may write to the folder, and lead a name to another file meanwhile."""
    victim = world.host.folder / f"{name}.victim"
    victim.write_bytes(b"kept")
    world.ok("image", "import", str(sources.file), f"vms/{name}.a")
    # Before qemu-img starts the half file's name leads elsewhere.
    hook = f"""
import os, sys
from virtrbd.__main__ import main
from virtrbd.images import transfer
fill = transfer._fill
def fill_elsewhere(host, descriptor, *rest):
    half = os.readlink(f"/proc/self/fd/{{descriptor}}")
    os.unlink(half)
    os.symlink({str(victim)!r}, half)
    fill(host, descriptor, *rest)
transfer._fill = fill_elsewhere
main()
"""
    target = world.host.folder / "out.raw"
    done = world.virtrbd("image", "export", f"vms/{name}.a", str(target), program=("-c", hook))
    assert done.returncode == 5, done
    assert victim.read_bytes() == b"kept"
    assert not target.exists()
    world.forget(name)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    raw, file = tmp_path / "big.raw", tmp_path / "big.qcow2"
    raw.write_bytes(os.urandom(64 * MIB))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, file], check=True)
    return file
