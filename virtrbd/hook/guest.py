"""The guest that libvirt's hook is called for."""

from pathlib import Path

from msgspec import Struct

from virtrbd.domainxml.document import Document
from virtrbd.model.image import LastRun
from virtrbd.model.settings import Settings


class Guest(Struct, frozen=True, kw_only=True):
    """An owned domain that starts or ended; `run` is its run on this host, `starts` the folder of starts under way."""

    name: str
    uuid: str
    document: Document
    run: LastRun
    settings: Settings
    starts: Path
