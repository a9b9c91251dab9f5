"""What no name can be: what nobody can see or type, and what RBD can't take."""

from virtrbd.printable import first_unprintable, quoted

# RADOS takes names of objects up to 2048 bytes (osd_max_object_name_len); the image's is `rbd_id.NAME`, and librbd's
# create fails with ENAMETOOLONG beyond. Of pools and snapshots no limit was met; such a long one was never meant.
LONGEST_NAME = 2048 - len("rbd_id.")
# Ceph's mon and OSDs take up to 256 bytes (osd_max_object_namespace_len).
LONGEST_NAMESPACE = 256


def check_plain(text: str) -> str:
    """Return the text. Raises ValueError where a character of it can't be seen: a slip, or meant to mislead."""
    if unseen := first_unprintable(text):
        raise ValueError(
            f"the text holds control characters, or others that can't be seen ({unseen}): {quoted(text)}; "
            f"leave them out"
        )
    return text


def check_name(name: str, longest_bytes: int = LONGEST_NAME) -> str:
    """Return the name of something in Ceph. Raises ValueError."""
    check_plain(name)
    if name != name.strip():
        raise ValueError(f"{quoted(name)} begins or ends with a space; leave it out")
    if len(name.encode()) > longest_bytes:
        raise ValueError(f"{quoted(name)} is longer than the {longest_bytes} bytes that Ceph takes")
    return name
