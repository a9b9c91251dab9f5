"""Debian packages: found with apt, downloaded to the cache, unpacked — never installed.

Installing a kernel package would change what the machine itself boots.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from guestlib import RecipeError, run, say, tool

KERNEL = "linux-image-amd64"
AGENT = "qemu-guest-agent"
# The shared libraries of qemu-ga. They are downloaded too: a guest must not depend on what the machine has.
LIBRARIES = ("libc6", "libglib2.0-0", "libnuma1", "libpcre2-8-0", "libudev1", "liburing2")
SHELL = "busybox-static"

_KERNEL_IMAGE = re.compile(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*-amd64)\b", re.MULTILINE)
_VERSION = re.compile(r"^Version: (\S+)", re.MULTILINE)


def read_manifest(cache: Path) -> dict[str, str] | None:
    """Return name and version of the cached packages, None when there are none."""
    try:
        manifest: dict[str, str] = json.loads(_manifest(cache).read_text())
    except FileNotFoundError:
        return None
    return manifest


def forget(cache: Path) -> None:
    """Make the next `ensure_packages` ask apt again."""
    _manifest(cache).unlink(missing_ok=True)


def ensure_packages(cache: Path) -> dict[str, str]:
    """Return name and version of the packages the guest is made of, downloaded. Raises RecipeError."""
    known = read_manifest(cache)
    if known is not None and {AGENT, SHELL, *LIBRARIES} < known.keys() and _all_there(cache, known):
        return known
    versions = _download(cache)
    temporary = _manifest(cache).with_suffix(".new")
    temporary.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")
    temporary.rename(_manifest(cache))
    return versions


def unpack_all(cache: Path, versions: dict[str, str], tree: Path) -> Path:
    """Unpack every package into one folder and return it. Raises RecipeError."""
    tree.mkdir(parents=True)
    for name, version in sorted(versions.items()):
        archive = _archive(cache, name, version)
        if archive is None:
            raise RecipeError(f"{name} {version} has gone from the cache — run again with --rebuild")
        run([tool("dpkg-deb", package="dpkg"), "--extract", archive, tree])
    return tree


def _manifest(cache: Path) -> Path:
    return cache / "packages.json"


def _archive(cache: Path, name: str, version: str) -> Path | None:
    """Return a downloaded package, None when it isn't there. apt-get escapes the colon of an epoch."""
    return next((cache / "packages").glob(f"{name}_{version.replace(':', '%3a')}_*.deb"), None)


def _all_there(cache: Path, versions: dict[str, str]) -> bool:
    return all(_archive(cache, name, version) for name, version in versions.items())


def _download(cache: Path) -> dict[str, str]:
    """Download the current packages. Lists that are missing or stale are fetched once. Raises RecipeError."""
    try:
        return _download_by_present_lists(cache)
    except (RecipeError, subprocess.CalledProcessError) as error:
        say(f"apt's lists are missing or old ({str(error).splitlines()[0]}), running apt-get update")
    try:
        _apt_get("update")
        return _download_by_present_lists(cache)
    except subprocess.CalledProcessError as error:
        raise RecipeError(f"apt can't give the guest's packages: {error}\n{error.stderr}") from error


def _download_by_present_lists(cache: Path) -> dict[str, str]:
    names = (_kernel_image(), AGENT, SHELL, *LIBRARIES)
    versions = {name: _candidate(name) for name in names}
    folder = cache / "packages"
    folder.mkdir(exist_ok=True)
    missing = [name for name in names if _archive(cache, name, versions[name]) is None]
    if missing:
        say(f"downloading {', '.join(missing)}")
        _apt_get("download", *(f"{name}={versions[name]}" for name in missing), folder=folder)
    for old in set(folder.glob("*.deb")) - {_archive(cache, name, versions[name]) for name in names}:
        old.unlink()
    return versions


def _kernel_image() -> str:
    """Return the package with the standard kernel. Raises RecipeError.

    The cloud kernel has no AHCI, e1000, usb-storage or i6300esb.
    """
    match = _KERNEL_IMAGE.search(_description(KERNEL))
    if match is None or "cloud" in match[1] or "-rt-" in match[1]:
        raise RecipeError(f"{KERNEL} has no standard kernel image — see `apt-cache show {KERNEL}`")
    return match[1]


def _candidate(name: str) -> str:
    match = _VERSION.search(_description(name))
    if match is None:
        raise RecipeError(f"{name}: apt knows no version — see `apt-cache policy {name}`")
    return match[1]


def _description(name: str) -> str:
    return run([tool("apt-cache", package="apt"), "show", "--no-all-versions", name])


def _apt_get(*arguments: str, folder: Path | None = None) -> None:
    # As root, apt-get downloads as the user _apt, who may not write in a home folder: it warns, uses root.
    sandbox = ("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()
    run([tool("apt-get", package="apt"), "-q", *sandbox, *arguments], folder=folder)
