"""Kernel modules: which files the guest needs, and the index that busybox modprobe reads.

Debian's kernel package has no modules.dep (depmod runs when it is installed), so both are read from the
modules' own `.modinfo` section.
"""

import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guestlib import RecipeError

# The guest is not up without these. Order matters: buses before the devices on them.
EARLY = (
    "virtio_pci", "virtio_blk", "virtio_scsi", "virtio_console",
    "ata_piix", "ahci", "sd_mod",
    "crc32c_generic", "ext4",
    "evdev", "button",
)  # fmt: skip
# Loaded once the guest is up: what tests look at or plug in later.
LATE = (
    "virtio_net", "e1000", "e1000e", "virtio_balloon", "virtio-rng", "i6300esb",
    "sr_mod", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1",
    "xhci-pci", "ehci-pci", "uhci-hcd", "usb-storage", "uas",
)  # fmt: skip
# What newer kernels do without a module.
BUILT_IN_LATER = {"crc32c_generic"}

_FIELD = re.compile(rb"\0(depends|alias)=([^\0]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One loadable module: its file below the release's folder, unpacked, what it needs, and what it answers to."""

    name: str
    path: Path
    content: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def closure(release: Path) -> dict[str, Module]:
    """Return the guest's modules and all that they need, by name. Raises RecipeError."""
    # Packed since Debian 13.
    files = {_canonical(path.name.split(".")[0]): path for path in sorted(release.rglob("*.ko*"))}
    builtin = {_canonical(Path(line).stem) for line in (release / "modules.builtin").read_text().split()}
    found: dict[str, Module] = {}
    wanted = [_canonical(name) for name in (*EARLY, *LATE)]
    while wanted:
        name = wanted.pop()
        if name in found or name in builtin or name in BUILT_IN_LATER - files.keys():
            continue
        if name not in files:
            raise RecipeError(f"{release.name} has no module {name} — a cloud kernel? See modules.py")
        found[name] = _read(release, files[name])
        wanted.extend(found[name].depends)
    return found


def loadable(names: Iterable[str], modules: dict[str, Module]) -> list[str]:
    """Return the names that are modules in this kernel, not built in, in the same order."""
    return [name for name in map(_canonical, names) if name in modules]


def index(modules: dict[str, Module]) -> dict[str, str]:
    """Return the text of modules.dep and modules.alias, as depmod would write them."""
    ordered = sorted(modules.values(), key=lambda module: module.name)
    dependencies = (_dependency_line(module, modules) for module in ordered)
    aliases = (f"alias {alias} {module.name}\n" for module in ordered for alias in module.aliases)
    return {"modules.dep": "".join(dependencies), "modules.alias": "".join(aliases)}


def _dependency_line(module: Module, modules: dict[str, Module]) -> str:
    return " ".join([f"{module.path}:", *(str(needed.path) for needed in _needs(module, modules))]) + "\n"


def _needs(module: Module, modules: dict[str, Module]) -> list[Module]:
    """Return all that a module needs, each before what it needs itself: modprobe loads from the end."""
    needed: dict[str, Module] = {}
    for name in module.depends:
        if name not in modules:  # built in
            continue
        for each in (modules[name], *_needs(modules[name], modules)):
            needed.pop(each.name, None)
            needed[each.name] = each
    return list(needed.values())


def _read(release: Path, path: Path) -> Module:
    plain = path.with_suffix("") if path.suffix == ".xz" else path
    content = path.read_bytes() if plain == path else lzma.decompress(path.read_bytes())
    fields = [(key.decode(), value.decode()) for key, value in _FIELD.findall(content)]
    depends = ",".join(value for key, value in fields if key == "depends")
    return Module(
        name=_canonical(plain.stem),
        path=plain.relative_to(release),
        content=content,
        depends=tuple(_canonical(name) for name in depends.split(",") if name),
        aliases=tuple(value for key, value in fields if key == "alias"),
    )


def _canonical(name: str) -> str:
    """Return the name as the kernel has it: file names mix both signs."""
    return name.replace("-", "_")
