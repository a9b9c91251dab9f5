"""The schema of cloud_init in a spec: a seed that the guest reads at its first boot.

Its content may be secret, so no message repeats it.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from virtrbd.specs.checked import Strict
from virtrbd.specs.disk_schema import Target


def is_text(value: str) -> bool:
    """Whether the text is a document itself; else it is a path. Every form of user data has a first line of its own."""
    return "\n" in value or value.startswith("#")


def _document(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise ValueError("write a mapping, a text in several lines (`|`), or the path of a file")
    if not value or (not is_text(value) and (": " in value or value[0] in "{[" or not value.isprintable())):
        raise ValueError("neither a path nor a text: a text has several lines (`|`), or begins with #")
    return value


def whole_seed(value: object) -> object:
    """Return the mapping of a short form: true is a seed that gives a guest its name."""
    if isinstance(value, bool):
        return {} if value else None
    if value is None or isinstance(value, dict):
        return value
    raise ValueError("write true, or a mapping of user_data, meta_data and network_config")


Content = Annotated[
    dict[str, Any] | str | None, BeforeValidator(_document, json_schema_input_type=dict[str, Any] | str | None)
]


class CloudInitSpec(Strict):
    """A NoCloud seed in an RBD image, in a separate CD-ROM drive."""

    refused: ClassVar[dict[str, str]] = {
        "image": "it is <pool>/<domain>.seed, which virtrbd rewrites; leave it out",
        "vendor_data": "not supported; user_data can hold all of it",
    }

    user_data: Annotated[
        Content, Field(description="A mapping (#cloud-config), a text, or a file; nothing unless stated.")
    ] = None
    meta_data: Annotated[
        Content, Field(description="Merged over instance-id (the UUID) and local-hostname (the name).")
    ] = None
    network_config: Annotated[Content, Field(description="Version 1 or 2; without it cloud-init uses DHCP.")] = None
    bus: Annotated[
        Literal["scsi", "sata", "ide", "usb"] | None,
        Field(description="scsi unless stated: cloud kernels have no AHCI."),
    ] = None
    target: Annotated[Target | None, Field(description="sdg, or sdf on sata; else the next free one.")] = None
