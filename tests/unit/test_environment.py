"""What root's runs keep of their environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from virtrbd.commands.frame import environment

pytestmark = pytest.mark.slow

# What each of them makes a library do was looked up in its source.
FOREIGN = {
    "CEPH_ARGS": "--log-file /root/x",
    "CEPH_KEYRING": "/tmp/keyring",
    "CEPH_LIB": "/tmp/plugins",
    "CEPH_CONF": "/tmp/ceph.conf",
    "LIBVIRT_LOG_OUTPUTS": "1:file:/root/x",
    "LIBVIRT_DEFAULT_URI": "test:///default",
    "LIBVIRT_AUTH_FILE": "/tmp/auth",
    "VIRSH_DEFAULT_CONNECT_URI": "test:///default",
    "QEMU_MODULE_DIR": "/tmp/modules",
    "OPENSSL_CONF": "/tmp/openssl.cnf",
    "SSL_CERT_FILE": "/tmp/ca.pem",
    "SASL_PATH": "/tmp/sasl",
    "GCONV_PATH": "/tmp/gconv",
    "LD_PRELOAD": "/tmp/x.so",
    "HOME": "/tmp/home",
    "TMPDIR": "/tmp/tmp",
    "XDG_CONFIG_HOME": "/tmp/config",
}
KEPT = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "dumb", "VIRTRBD_CONFIG": "/etc/x", "SSH_AUTH_SOCK": "/run/s",
        "https_proxy": "http://proxy:3128", "NO_PROXY": "localhost"}  # fmt: skip


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin", **FOREIGN, **KEPT})


def test_root_drops_what_changes_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    environment.drop_foreign()
    assert os.environ == {"PATH": "/usr/bin", **KEPT}


def test_what_the_settings_ask_for_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    environment.restore(["CEPH_ARGS", "NOT_THERE"], environment.drop_foreign())
    assert os.environ == {"PATH": "/usr/bin", "CEPH_ARGS": FOREIGN["CEPH_ARGS"], **KEPT}


def test_other_users_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    environment.drop_foreign()
    assert FOREIGN.items() <= os.environ.items()


@pytest.mark.parametrize(
    ("path", "kept"), [(".:/usr/bin", "/usr/bin"), (":/bin:", "/bin"), ("a/b:/sbin:/bin", "/sbin:/bin")]
)
def test_programs_come_from_no_working_directory(path: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    os.environ["PATH"] = path
    environment.drop_foreign()
    assert os.environ["PATH"] == kept


@pytest.mark.parametrize("kept", [False, True])
def test_c_libraries_see_no_more_than_python(kept: bool, tmp_path: Path) -> None:
    """By the whole command line: what it has left is what a program that it starts would have."""
    (tmp_path / "v.yaml").write_text("keep_environment: [CEPH_ARGS]\n" if kept else "host: h\n")
    program = f"""
import ctypes, os
os.geteuid = lambda: 0
import virtrbd.commands.frame.environment as environment
from virtrbd.commands.frame.run import Run
settings = Run(config={str(tmp_path / "v.yaml")!r}, dropped=environment.drop_foreign()).settings()
get = ctypes.CDLL(None).getenv
get.restype = ctypes.c_char_p
print(get(b"CEPH_ARGS"), get(b"CEPH_LIB"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PATH": "/usr/bin", **FOREIGN, "LD_PRELOAD": ""}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    args = FOREIGN["CEPH_ARGS"].encode() if kept else None
    assert (done.stdout, done.stderr) == (f"{args!r} None\n", "")
