"""The fields that specs may have only with trust_specs: they can make libvirt start programs, open files of the host,
and give its devices and folders away.

The settings' own defaults and profiles may have all of them: root wrote them.
"""

from collections.abc import Iterator

from virtrbd.model.settings import Settings
from virtrbd.specs.disk_rules import Problem
from virtrbd.specs.document import Path
from virtrbd.specs.load import LoadedSpec
from virtrbd.specs.named_files import is_of_settings
from virtrbd.specs.settings import SYSTEM_FILE


def trust_problems(item: LoadedSpec, settings: Settings) -> Iterator[Problem]:
    """Yield each field that the settings forbid in specs."""
    if settings.trust_specs:
        return
    spec = item.spec
    words = ("xml", "template", "hostdevs", "filesystems")
    said: list[tuple[Path, object]] = [((word,), getattr(spec, word)) for word in words]
    said += [(("disks", index, "ceph_config"), disk.ceph_config) for index, disk in enumerate(spec.disks)]
    for path, value in said:
        if value and not is_of_settings(item.document, path, settings):
            yield (
                path,
                (
                    f"{settings.file or SYSTEM_FILE} forbids it in specs (trust_specs: false); leave it out, or put it "
                    f"into a profile of the settings"
                ),
            )
