"""The settings file's schema."""

import os
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictBool

from virtrbd.errors import ConfigError
from virtrbd.model.digest import digest_of
from virtrbd.model.names import check_name
from virtrbd.model.settings import CephSettings, HookSettings, ImportSettings, Settings, Timeouts, Unreachable
from virtrbd.specs.checked import AbsolutePath, Plain, SizeBytes, Strict, check
from virtrbd.specs.document import parse_documents
from virtrbd.specs.fragments import fragments_of

# The name of a variable (POSIX, Base Definitions 8.1).
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]


# A missing field has the same value as without a file.
_CEPH, _TIMEOUTS, _IMPORTS, _HOOK = CephSettings(), Timeouts(), ImportSettings(), HookSettings()
_SETTINGS = Settings(host="")


class CephSection(Strict):
    conf: Plain = _CEPH.conf
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = _CEPH.user
    keyring: Plain = _CEPH.keyring
    pool: Annotated[Plain, AfterValidator(check_name)] = _CEPH.pool
    clone_depth: Annotated[int, Field(ge=1, le=64)] = _CEPH.clone_depth


class TimeoutsSection(Strict):
    ceph: Seconds = _TIMEOUTS.ceph
    libvirt: Seconds = _TIMEOUTS.libvirt
    transfer: Seconds = _TIMEOUTS.transfer
    watcher: Annotated[float, Field(ge=0, le=3600)] = _TIMEOUTS.watcher
    shutdown: Seconds = _TIMEOUTS.shutdown
    reconcile: Seconds = _TIMEOUTS.reconcile
    hook: Seconds = _TIMEOUTS.hook


class ImportsSection(Strict):
    cache_dir: Plain = _IMPORTS.cache_dir
    cache_size: SizeBytes = _IMPORTS.cache_size
    largest: SizeBytes = _IMPORTS.largest


class HookSection(Strict):
    folder: AbsolutePath = _HOOK.folder
    ceph_unreachable: Unreachable = _HOOK.ceph_unreachable


class SettingsFile(Strict):
    """The whole file."""

    connect: Plain = _SETTINGS.connect
    host: Plain | None = None
    state_dir: Plain = _SETTINGS.state_dir
    ceph: CephSection = CephSection()
    timeouts: TimeoutsSection = TimeoutsSection()
    imports: ImportsSection = ImportsSection()
    hook: HookSection = HookSection()
    template_dir: Plain = _SETTINGS.template_dir
    spec_dir: Plain = _SETTINGS.spec_dir
    parallel: Annotated[int, Field(ge=1, le=64)] = _SETTINGS.parallel
    textfile: Plain = _SETTINGS.textfile
    allowed_dirs: tuple[AbsolutePath, ...] = ()
    ceph_configs: tuple[AbsolutePath, ...] = ()
    trust_specs: StrictBool = _SETTINGS.trust_specs
    keep_environment: tuple[Variable, ...] = ()
    defaults: dict[str, Any] | None = None
    profiles: dict[str, dict[str, Any] | None] | None = None


def parse_settings(file: str, raw: bytes, host: str) -> Settings:
    """Return the settings of the file's bytes; `host` where the file has none. Raises ConfigError."""
    documents, problems = parse_documents(file, raw)
    if problems or len(documents) > 1:
        raise ConfigError(*(problems or [f"{file}: more than one document; keep one"]))
    if not documents:
        return Settings(host=host, file=file, raw=raw, digest=digest_of(raw))
    checked, problems = check(SettingsFile, documents[0])
    problems += fragments_of(documents[0], "of the settings")[1] if checked else ()
    if checked is None or problems:
        raise ConfigError(*problems)

    def here(path: str) -> str:
        # Not from the working directory, which another user may own: this decides which templates and specs root uses.
        return path and os.path.join(os.path.dirname(os.path.abspath(file)), path)

    ceph, imports = checked.ceph.model_dump(), checked.imports.model_dump()
    return Settings(
        host=checked.host or host,
        connect=checked.connect,
        state_dir=here(checked.state_dir),
        ceph=CephSettings(**{**ceph, "conf": here(ceph["conf"]), "keyring": here(ceph["keyring"])}),
        timeouts=Timeouts(**checked.timeouts.model_dump()),
        imports=ImportSettings(**{**imports, "cache_dir": here(imports["cache_dir"])}),
        hook=HookSettings(**checked.hook.model_dump()),
        template_dir=here(checked.template_dir),
        spec_dir=here(checked.spec_dir),
        parallel=checked.parallel,
        textfile=here(checked.textfile),
        allowed_dirs=checked.allowed_dirs,
        ceph_configs=checked.ceph_configs,
        trust_specs=checked.trust_specs,
        keep_environment=checked.keep_environment,
        file=file,
        raw=raw,
        digest=digest_of(raw),
    )
