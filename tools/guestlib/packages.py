"""Debian packages: found with apt, downloaded to the cache, unpacked — never installed.

Installing a kernel package would change what the machine itself boots.
"""

import functools
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

from guestlib import RecipeError, run, say, tool

KERNEL = "linux-image-amd64"
AGENT = "qemu-guest-agent"
SHELL = "busybox-static"
BOOT_LOADER = "systemd-boot-efi"

_KERNEL_IMAGE = re.compile(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*-amd64)\b", re.MULTILINE)
_VERSION = re.compile(r"^Version: (\S+)", re.MULTILINE)
_LIBRARY = re.compile(r"^Section: (\S+/)?libs$", re.MULTILINE)
_DEPENDS = re.compile(r"^(?:Pre-)?Depends: (.+)$", re.MULTILINE)


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
    if known is not None and {AGENT, SHELL, BOOT_LOADER} < known.keys() and _all_there(cache, known):
        return known
    versions = _download(cache)
    temporary = _manifest(cache).with_suffix(".new")
    temporary.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")
    temporary.rename(_manifest(cache))
    return versions


def unpack_all(cache: Path, versions: dict[str, str], tree: Path) -> Path:
    """Unpack every package into one folder and return it. Raises RecipeError.

    All of them lie below usr/, as they do since Debian 13: what a package has in /bin or /lib comes there too.
    """
    for name in ("bin", "lib", "lib64", "sbin"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name, version in sorted(versions.items()):
        archive = _archive(cache, name, version)
        if archive is None:
            raise RecipeError(f"{name} {version} has gone from the cache — run again with --rebuild")
        _unpack(archive, tree)
    return tree


def _unpack(archive: Path, tree: Path) -> None:
    # Not dpkg-deb --extract: it puts a folder in the place of the link.
    extract = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(tree)]
    files = [tool("dpkg-deb", package="dpkg"), "--fsys-tarfile", str(archive)]
    with subprocess.Popen(files, stdout=subprocess.PIPE) as packed:
        subprocess.run(extract, stdin=packed.stdout, check=True, capture_output=True, text=True)
    if packed.returncode:
        raise RecipeError(f"{archive.name} can't be unpacked — run again with --rebuild")


def _manifest(cache: Path) -> Path:
    """Return the file of what this recipe downloaded: another recipe may want other packages."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return cache / f"packages-{recipe}.json"


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
        _description.cache_clear()
        return _download_by_present_lists(cache)
    except subprocess.CalledProcessError as error:
        raise RecipeError(f"apt can't give the guest's packages: {error}\n{error.stderr}") from error


def _download_by_present_lists(cache: Path) -> dict[str, str]:
    names = (*_kernel(), AGENT, SHELL, BOOT_LOADER, *sorted(_libraries_of(AGENT)))
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


def _kernel() -> tuple[str, ...]:
    """Return the packages with the standard kernel and its modules: one on Debian 12, three on unstable."""
    image = _kernel_image()
    release = image.removeprefix("linux-image-")
    return (image, *sorted(name for name in _dependencies(image) if name.endswith(release)))


def _kernel_image() -> str:
    """Return the package of the standard kernel. Raises RecipeError.

    The cloud kernel has no AHCI, e1000, usb-storage or i6300esb.
    """
    match = _KERNEL_IMAGE.search(_description(KERNEL))
    if match is None or "cloud" in match[1] or "-rt-" in match[1]:
        raise RecipeError(f"{KERNEL} has no standard kernel image — see `apt-cache show {KERNEL}`")
    return match[1]


def _libraries_of(name: str) -> set[str]:
    """Return the packages of libraries that one needs: a guest must not depend on what the machine has.

    By its dependencies, and not by a list: libglib2.0-0 is libglib2.0-0t64 since Debian 13.
    """
    found: set[str] = set()
    wanted = _dependencies(name)
    while wanted:
        each = wanted.pop()
        if each not in found and _LIBRARY.search(_description(each)):
            found.add(each)
            wanted |= _dependencies(each)
    return found


def _dependencies(name: str) -> set[str]:
    """Return the packages that one depends on, of alternatives the first."""
    groups = (group for line in _DEPENDS.findall(_description(name)) for group in line.split(","))
    return {re.split(r"[ (:|]", group.strip())[0] for group in groups}


def _candidate(name: str) -> str:
    match = _VERSION.search(_description(name))
    if match is None:
        raise RecipeError(f"{name}: apt knows no version — see `apt-cache policy {name}`")
    return match[1]


@functools.cache
def _description(name: str) -> str:
    return run([tool("apt-cache", package="apt"), "show", "--no-all-versions", name])


def _apt_get(*arguments: str, folder: Path | None = None) -> None:
    # As root, apt-get downloads as the user _apt, who may not write in a home folder: it warns, uses root.
    sandbox = ("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()
    run([tool("apt-get", package="apt"), "-q", *sandbox, *arguments], folder=folder)
