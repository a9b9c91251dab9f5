"""virtrbd as it is, but for guests that are started paused: 50 of them at once would boot for the rest of the run.

Usage: paused.py VERB …
"""

from __future__ import annotations

import libvirt

from virtrbd.__main__ import main


def create_paused(domain: libvirt.virDomain) -> int:
    """Start a domain and leave its vcpus stopped, as `virsh start --paused` does."""
    return int(domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED))


libvirt.virDomain.create = create_paused
main()
