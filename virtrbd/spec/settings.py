"""The settings file: read, checked, completed."""

import os
import socket
from pathlib import Path
from typing import Annotated, Literal

from virtrbd.errors import ConfigError
from virtrbd.model.digest import digest_of
from virtrbd.model.domain import Cache, Discard
from virtrbd.model.settings import CephSettings, Defaults, Settings, Timeouts

SYSTEM_FILE = "/etc/virtrbd/virtrbd.yaml"


def load_settings(path: str | None) -> Settings:
    """Return the settings from `path`, else $VIRTRBD_CONFIG, else the system's file if there is one.

    Raises ConfigError: a file that was named must be there and be right.
    """
    named = path or os.environ.get("VIRTRBD_CONFIG")
    host = socket.gethostname().split(".")[0]
    try:
        raw = Path(named or SYSTEM_FILE).read_bytes()
    except FileNotFoundError:
        if named is None:
            return Settings(host=host)
        raise ConfigError(f"{named}: no such settings file; check --config or $VIRTRBD_CONFIG") from None
    except OSError as error:
        raise ConfigError(f"{named or SYSTEM_FILE}: {error.strerror}") from error
    return _parse(named or SYSTEM_FILE, raw, host)


def _parse(file: str, raw: bytes, host: str) -> Settings:
    # Here, not above: `virtrbd --help` and hosts without a settings file need no pydantic.
    from pydantic import Field

    from virtrbd.spec.checked import Strict, check
    from virtrbd.spec.document import parse_documents

    Seconds = Annotated[float, Field(gt=0, le=3600)]  # noqa: N806

    class CephSection(Strict):
        conf: str = "/etc/ceph/ceph.conf"
        user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "virtrbd"
        keyring: str = ""
        pool: str = "vms"

    class TimeoutsSection(Strict):
        ceph: Seconds = 10
        libvirt: Seconds = 30
        transfer: Seconds = 60
        watcher: Annotated[float, Field(ge=0, le=3600)] = 40

    class DefaultsSection(Strict):
        hypervisor: Literal["kvm", "qemu"] = "kvm"
        cache: Cache = Cache.WRITEBACK
        discard: Discard = Discard.UNMAP

    class SettingsFile(Strict):
        connect: str = "qemu:///system"
        host: str = host
        state_dir: str = "/var/lib/virtrbd"
        ceph: CephSection = CephSection()
        timeouts: TimeoutsSection = TimeoutsSection()
        defaults: DefaultsSection = DefaultsSection()

    documents, problems = parse_documents(file, raw)
    if problems or len(documents) > 1:
        raise ConfigError("\n".join(problems) or f"{file}: more than one document; keep one")
    if not documents:
        return Settings(host=host, digest=digest_of(raw))
    checked, problems = check(SettingsFile, documents[0])
    if checked is None:
        raise ConfigError("\n".join(problems))
    return Settings(
        host=checked.host,
        connect=checked.connect,
        state_dir=checked.state_dir,
        ceph=CephSettings(**checked.ceph.model_dump()),
        timeouts=Timeouts(**checked.timeouts.model_dump()),
        defaults=Defaults(**checked.defaults.model_dump()),
        digest=digest_of(raw),
    )
