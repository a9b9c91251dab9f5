"""Addresses of machines, which may be spelled in several ways."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a text, the same for all its spellings; None for a name."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    # `fe80::1%eth0` says by which interface, and `::ffff:10.0.0.1` is 10.0.0.1.
    return found.ipv4_mapped or IPv6Address(int(found))
