"""The disc that cloud-init reads: ISO 9660, by pycdlib."""

from collections.abc import Mapping
from io import BytesIO

from virtrbd.errors import VirtrbdError
from virtrbd.model.seed import SEED_BYTES

# cloud-init's NoCloud looks for a file system with this label.
_LABEL = "cidata"


def seed_iso(documents: Mapping[str, bytes]) -> bytes:
    """Return a disc with the documents, filled up with zeroes to the size of a seed's image. Raises VirtrbdError.

    Its names are written for Rock Ridge and Joliet: plain ISO 9660 has no small letters and no "-".
    """
    # Here, not above: a run that writes no seed does not need it.
    from pycdlib import PyCdlib

    disc, written = PyCdlib(), BytesIO()
    disc.new(interchange_level=3, vol_ident=_LABEL, rock_ridge="1.09", joliet=3)
    for name, content in documents.items():
        plain = name.upper().replace("-", "_")
        disc.add_fp(BytesIO(content), len(content), f"/{plain}.;1", rr_name=name, joliet_path=f"/{name}")
    disc.write_fp(written)
    disc.close()
    size_bytes = written.tell()
    if size_bytes > SEED_BYTES:
        raise VirtrbdError(f"the cloud-init seed takes {size_bytes} bytes, more than {SEED_BYTES}; make it smaller")
    return written.getvalue().ljust(SEED_BYTES, b"\0")
