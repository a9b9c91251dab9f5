"""Roots of Debian's releases: made by mmdebstrap from the machine's own mirror, and kept."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stacklib import StackError

RELEASES = ("bookworm", "trixie", "sid")
TOOLS = Path(__file__).resolve().parents[1]

# Beside tools/packages.txt: what the machine's own image has and a bare Debian has not.
PACKAGES = ("ca-certificates", "git", "iproute2", "procps")

# Debian signs each release with a key of its own; the next release's keys come with this package.
KEYRING = "debian-archive-keyring"

# What no package may do in a root: start daemons. ceph-mon's installation on sid fails without it.
POLICY = 'cd "$1/usr/sbin" && printf "#!/bin/sh\\nexit 101\\n" >policy-rc.d && chmod 755 policy-rc.d'


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of Debian that this machine's apt uses: its address, and the release's suite in it."""

    uri: str
    suite: str


def cache_folder() -> Path:
    """Return the folder that keeps the roots between calls, by the XDG base directory rules."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "virtrbd" / "stacks"


def ensure_root(release: str, *, fresh: bool) -> Path:
    """Return the folder with the root of this release, made first where there is none of these packages."""
    folder = cache_folder() / release
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        packages = _packages()
        recipe = hashlib.sha256(" ".join((POLICY, *packages)).encode()).hexdigest()
        stamp, root = folder / "recipe", folder / "root"
        if fresh or not stamp.exists() or stamp.read_text() != recipe:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(root, ignore_errors=True)
            _make(release, packages, root)
            stamp.write_text(recipe)
        return root


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _packages() -> tuple[str, ...]:
    lines = (line.partition("#")[0].strip() for line in (TOOLS / "packages.txt").read_text().splitlines())
    return tuple(sorted({*filter(None, lines), *PACKAGES}))


def _make(release: str, packages: Sequence[str], root: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise StackError("mmdebstrap is not installed: apt-get install --no-install-recommends mmdebstrap")
    repositories = _repositories(release)
    keyrings = [Path("/usr/share/keyrings"), *_next_keyrings(release)]
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        *(f"--keyring={folder}" for folder in keyrings),
        # One each: mmdebstrap takes a list with one of apt's patterns in it for a single pattern.
        *(f"--include={package}" for package in packages),
        f"--essential-hook={POLICY}",
        '--aptopt=APT::Install-Recommends "false"',
        # A mirror may be a snapshot: its Release files are out of date by the day.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        release,
        str(root),
        *(f"deb {each.uri} {each.suite} main" for each in repositories),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(root, ignore_errors=True)
        raise StackError(f"mmdebstrap could not make {release}:\n{done.stdout}{done.stderr}")


def _repositories(release: str) -> tuple[Repository, ...]:
    """Return where this machine's apt finds Debian, with its release's name put in for the machine's own."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    own = _own_release()
    rows = [line.split() for line in listed.stdout.splitlines()]
    found = [Repository(row[1], row[2].replace(own, release)) for row in rows if len(row) == 3 and row[0] == "Debian"]
    # sid has neither updates nor security of its own.
    kept = tuple(dict.fromkeys(each for each in found if release != "sid" or each.suite == release))
    if not kept:
        raise StackError("apt knows no repository of Debian here: see apt-get indextargets, and run apt-get update")
    return kept


def _own_release() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise StackError("/etc/os-release has no VERSION_CODENAME: tools/stack works on a release of Debian")


def _next_keyrings(release: str) -> tuple[Path, ...]:
    """Return where keys lie that this machine's own release does not know yet: sid's come with trixie."""
    if release != "sid":
        return ()
    return (ensure_root("trixie", fresh=False) / "usr/share/keyrings",)
