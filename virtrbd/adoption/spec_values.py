"""Candidate spec values for an existing definition (used by adopt); others decide which are needed and allowed.

Disks, CD-ROM drives and interfaces are mappings here, by target and MAC: their order is found at the end.
"""

from collections.abc import Collection, Mapping

from virtrbd.adoption.device_values import filesystem_words, hostdev_words, interface_words, small_words
from virtrbd.adoption.disk_values import cdrom_words, disk_words, why_unknown
from virtrbd.adoption.machine_values import base_words, cputune_words, machine_words
from virtrbd.adoption.word import Unknown, Words
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.tree import attribute
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import ImageRef

# i686 has the machines of x86_64; the architecture itself goes into the spec's own XML.
_ARCHITECTURES = frozenset({"x86_64", "i686"})


def spec_words(definition: Definition, sizes: Mapping[ImageRef, int], monitors: Collection[str]) -> Words:
    """Return what a spec may state of a definition; `sizes` holds the existing images, by reference.

    `monitors`: the names and addresses that mean this cluster.
    """
    root = definition.tree
    if (arch := attribute(root, "os/type", "arch")) not in _ARCHITECTURES:
        return Words(base={}, more=(), refusals=(f"it is for {arch}, and specs have only the machines of x86_64",))
    unknown: list[Unknown] = []
    more = [*machine_words(root)]
    for disk in root.iterfind("devices/disk"):
        if disk.get("device", "disk") == "cdrom":
            more += cdrom_words(disk, monitors)
        elif disk.get("type") == "network" and attribute(disk, "source", "protocol") == "rbd":
            why = why_unknown(disk, sizes, monitors)
            if why:
                unknown.append(Unknown(path=ElementPath.of_device(f"disk:{attribute(disk, 'target', 'dev')}"), why=why))
            else:
                more += disk_words(disk, sizes)
    for interface in root.iterfind("devices/interface"):
        more += interface_words(interface)
    more += filesystem_words(root)
    more += hostdev_words(root)
    more += small_words(root)
    # After the vcpus and the disks, of whose threads its pins are.
    more += cputune_words(root)
    return Words(base=base_words(root), more=tuple(more), unknown=tuple(unknown))
