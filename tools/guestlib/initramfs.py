"""The guest's whole root filesystem: busybox, qemu-guest-agent, kernel modules, the files below `root/`."""

import gzip
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from guestlib import RecipeError, modules, run

_FOLDERS = ("dev", "etc", "lib64", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var", "data")
# One folder holds every program; the other names lead there.
_LINKS = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin", "var/run": "../run"}
_MULTIARCH = "x86_64-linux-gnu"
_LOADER = Path("lib64/ld-linux-x86-64.so.2")
_RESOLVED = re.compile(r"^\s*(\S+) => (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the archive. `mode` has the file type in it; content is a symlink's target."""

    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def kernel_of(tree: Path) -> Path:
    """Return the kernel image of the unpacked packages. Raises RecipeError."""
    # In /boot until Debian 13, later beside its modules.
    return _only(tree, "boot/vmlinuz-*", "lib/modules/*/vmlinuz")


def build(tree: Path, overlay: Path) -> bytes:
    """Return the compressed initramfs made of unpacked packages and our own files. Raises RecipeError."""
    entries: dict[str, Entry] = {}
    entries.update(_skeleton())
    entries.update(_busybox(tree / "bin" / "busybox"))
    entries.update(_agent(tree))
    entries.update(_modules(tree))
    entries.update(_overlay(overlay))
    # Level 9 and not xz: under emulation unpacking costs more than reading.
    return gzip.compress(_archive(_with_parents(entries)), 9, mtime=0)


def _skeleton() -> dict[str, Entry]:
    folders = {name: Entry(mode=stat.S_IFDIR | 0o755) for name in _FOLDERS}
    links = {name: _link(target) for name, target in _LINKS.items()}
    # The kernel opens it as /init's standard streams, before /init can mount /dev.
    return {**folders, **links, "dev/console": Entry(mode=stat.S_IFCHR | 0o600, device=(5, 1))}


def _busybox(binary: Path) -> dict[str, Entry]:
    applets = run([binary, "--list"]).split()
    links = {f"bin/{name}": _link("busybox") for name in applets if name != "busybox"}
    return {**links, "bin/busybox": _program(binary)}


def _agent(tree: Path) -> dict[str, Entry]:
    """Return qemu-ga with its libraries, found by the packages' own loader. Raises RecipeError."""
    binary = tree / "usr" / "sbin" / "qemu-ga"
    folders = f"{tree}/lib/{_MULTIARCH}:{tree}/usr/lib/{_MULTIARCH}"
    listing = run([tree / _LOADER, "--inhibit-cache", "--library-path", folders, "--list", binary])
    entries = {"bin/qemu-ga": _program(binary), str(_LOADER): _program(tree / _LOADER)}
    for soname, path in _RESOLVED.findall(listing):
        if soname == f"/{_LOADER}":
            continue
        if not path.startswith(str(tree)):
            raise RecipeError(f"qemu-ga needs {soname} — it is in no package of its dependencies")
        entries[f"lib/{_MULTIARCH}/{soname}"] = _program(Path(path))
    return entries


def _modules(tree: Path) -> dict[str, Entry]:
    release = _only(tree, "lib/modules/*")
    needed = modules.closure(release)
    top = f"lib/modules/{release.name}"
    entries = {f"{top}/{module.path}": _text(module.content) for module in needed.values()}
    entries |= {f"{top}/{name}": _text(content.encode()) for name, content in modules.index(needed).items()}
    for name, names in (("early", modules.EARLY), ("late", modules.LATE)):
        entries[f"etc/modules-{name}"] = _text(("\n".join(modules.loadable(names, needed)) + "\n").encode())
    return entries


def _only(tree: Path, *patterns: str) -> Path:
    found = [path for pattern in patterns for path in tree.glob(pattern)]
    if len(found) != 1:
        named = " and ".join(patterns)
        raise RecipeError(f"the kernel's packages have {len(found)} of {named}, not one — see packages.py")
    return found[0]


def _overlay(folder: Path) -> dict[str, Entry]:
    """Return our own files; what starts with #! is a program, whatever its mode in the checkout."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            mode = 0o755 if content.startswith(b"#!") else 0o644
            entries[str(path.relative_to(folder))] = Entry(mode=stat.S_IFREG | mode, content=content)
    return entries


def _link(target: str) -> Entry:
    return Entry(mode=stat.S_IFLNK | 0o777, content=target.encode())


def _program(path: Path) -> Entry:
    return Entry(mode=stat.S_IFREG | 0o755, content=path.read_bytes())


def _text(content: bytes) -> Entry:
    return Entry(mode=stat.S_IFREG | 0o644, content=content)


def _with_parents(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Return the entries sorted, with the folders they lie in: the kernel makes none by itself."""
    parents = {str(parent) for name in entries for parent in Path(name).parents if str(parent) != "."}
    folders = {name: Entry(mode=stat.S_IFDIR | 0o755) for name in parents - entries.keys()}
    return dict(sorted((folders | entries).items()))


def _archive(entries: dict[str, Entry]) -> bytes:
    """Return a cpio archive in the "newc" format, which is what the kernel reads."""
    parts = [_record(number, name, entry) for number, (name, entry) in enumerate(entries.items(), 1)]
    return b"".join([*parts, _record(0, "TRAILER!!!", Entry(mode=0))])


def _record(inode: int, name: str, entry: Entry) -> bytes:
    major, minor = entry.device
    # inode, mode, uid, gid, links, mtime, size, device, special device, length of the name, checksum (unused)
    numbers = (inode, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, major, minor, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + name.encode() + b"\0") + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
