"""Files that a spec names: the folder of relative paths, and whether specs may read the file.

Users other than root may write specs. So a file that a spec names must lie, after links are followed, beneath the
spec's own folder or in a folder that the settings allow. Files that the settings themselves name may lie anywhere.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from virtrbd.model.import_file import is_url
from virtrbd.model.settings import Settings
from virtrbd.specs.cloud_init_schema import is_text
from virtrbd.specs.disk_rules import Problem
from virtrbd.specs.document import Path as FieldPath
from virtrbd.specs.document import YamlDocument
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.settings import SYSTEM_FILE
from virtrbd.trust import is_beneath

_ANYWHERE = ("/",)
_DOCUMENTS = ("user_data", "meta_data", "network_config")


class NamedFile(Struct, frozen=True, kw_only=True):
    """A file's path, and the folders that it must lie beneath when it is opened."""

    path: str
    beneath: tuple[str, ...]


def named_file(document: YamlDocument, field: FieldPath, name: str, settings: Settings) -> NamedFile:
    """Return the file that a field names, relative to the file with the field: cron has another working directory."""
    if is_url(name):
        return NamedFile(path=name, beneath=())
    folder = Path(document.place(field).file).absolute().parent
    beneath = _ANYWHERE if is_of_settings(document, field, settings) else (str(folder), *settings.allowed_dirs)
    return NamedFile(path=str(folder / name), beneath=beneath)


def file_problems(item: LoadedSpec, settings: Settings) -> Iterator[Problem]:
    """Yield the problems with the files that a spec names: each field, and why it may not be read."""
    for index, disk in enumerate(item.spec.disks):
        if disk.import_file and not is_url(disk.import_file):
            yield from _outside(item.document, ("disks", index, "import"), disk.import_file, settings)
        field = ("disks", index, "ceph_config")
        for problem in config_problem(item.document, field, disk.ceph_config or "", settings):
            yield field, problem
    for word in _DOCUMENTS if item.spec.cloud_init else ():
        content = getattr(item.spec.cloud_init, word)
        if isinstance(content, str) and not is_text(content):
            yield from _outside(item.document, ("cloud_init", word), content, settings)


def config_problem(document: YamlDocument, field: FieldPath, config: str, settings: Settings) -> Iterator[str]:
    """Yield why QEMU may not get a ceph.conf that a field names."""
    known = settings.ceph_configs
    if config and config not in known and not is_of_settings(document, field, settings):
        line = _line("ceph_configs", (*known, config), settings)
        yield f"{config} is not in the settings' ceph_configs; it can make QEMU run code: {line}"


def _outside(document: YamlDocument, field: FieldPath, name: str, settings: Settings) -> Iterator[Problem]:
    file = named_file(document, field, name, settings)
    real = os.path.realpath(file.path)
    if is_beneath(real, file.beneath):
        return
    # It is a link, or a folder on its way is: the written path does not show where it leads.
    leads = f"{name} leads to {real}, which" if os.path.normpath(file.path) != real else name
    line = _line("allowed_dirs", (*settings.allowed_dirs, os.path.dirname(real)), settings)
    yield field, f"{leads} is outside {file.beneath[0]}; put it there, or let specs read all of its folder: {line}"


def is_of_settings(document: YamlDocument, field: FieldPath, settings: Settings) -> bool:
    """Whether the settings themselves state the field."""
    file = document.place(field).file
    return bool(settings.file) and os.path.abspath(file) == os.path.abspath(settings.file)


def _line(word: str, values: tuple[str, ...], settings: Settings) -> str:
    """Return what to write into the settings."""
    quoted = (value if re.fullmatch(r"[\w/.@+-]+", value) else json.dumps(value) for value in values)
    return f"write `{word}: [{', '.join(quoted)}]` into {settings.file or SYSTEM_FILE}"
