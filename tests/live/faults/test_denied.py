"""What the kernel denies a user ends with 77: libvirt's socket, a lock file, the keyring, the settings."""

import sys
from pathlib import Path

import pytest
from support.lab import LabHost

# Everything is imported first: the checkout may lie where the user cannot look.
AS_NOBODY = """
import importlib, os, pkgutil, sys
import virtrbd
for module in pkgutil.walk_packages(virtrbd.__path__, "virtrbd."):
    importlib.import_module(module.name)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
from virtrbd.commands.app import run_app
run_app()
"""


@pytest.mark.parametrize(
    ("words", "denied"),
    [
        (["list"], "libvirt-sock"),
        (["inspect", "web"], "libvirt-sock"),
        (["start", "web"], "libvirt-sock"),
        (["hold", "web"], "libvirt-sock"),
        (["adopt", "web"], "libvirt-sock"),
        (["reconcile", "/missing"], "/virtrbd/"),
        (["image", "list"], "client.virtrbd.keyring"),
        (["image", "create", "vms/never", "8M"], "client.virtrbd.keyring"),
        (["image", "trash", "list"], "client.virtrbd.keyring"),
    ],
)
def test_a_user_whom_the_kernel_denies_a_file_is_told_which(host: LabHost, words: list[str], denied: str) -> None:
    # The state directory is there once any run has written.
    host.run("virtrbd", "reconcile", "/missing")
    done = host.run(sys.executable, "-c", AS_NOBODY, *words)
    assert done.returncode == 77, done.stderr
    assert "ermission denied; run as " in done.stderr
    assert denied in done.stderr


def test_settings_and_conf_that_may_not_be_read_are_denied(host: LabHost) -> None:
    settings = host.ok("printenv", "VIRTRBD_CONFIG").strip()
    closed = host.folder / "closed.yaml"
    closed.write_bytes(Path(settings).read_bytes())
    for words in (["list"], ["image", "list"], ["validate", "web.yaml"]):
        done = host.run(sys.executable, "-c", AS_NOBODY, "--config", str(closed), *words)
        assert done.returncode == 77, done.stderr
        assert "closed.yaml: permission denied; run as a user who may read it" in done.stderr


def test_a_conf_that_ceph_cannot_read_is_named(host: LabHost) -> None:
    settings = Path(host.ok("printenv", "VIRTRBD_CONFIG").strip()).read_text()
    conf = host.folder / "ceph.conf"
    own = host.folder / "own.yaml"
    own.write_text("\n".join(f"  conf: {conf}" if "conf:" in line else line for line in settings.splitlines()))
    conf.write_text("[global")
    done = host.virtrbd("--config", str(own), "image", "list")
    assert done.returncode == 78, done.stderr
    assert f"{conf}: Ceph cannot read it" in done.stderr
