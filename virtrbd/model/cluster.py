"""What domains must know of the Ceph cluster: its monitors, its user, and libvirt's secrets for them."""

from collections.abc import Collection

from msgspec import Struct


class Monitor(Struct, frozen=True, kw_only=True):
    """A monitor's address; `port` None lets librados try v2 (3300) and v1 (6789)."""

    address: str
    port: int | None = None


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """The cluster, for a domain's XML. Without `cephx` clients do not authenticate: no user, no secret.

    A monitor is rendered with one address; `map_addresses` are all its addresses.
    """

    fsid: str
    monitors: tuple[Monitor, ...]
    user: str
    cephx: bool = True
    map_addresses: tuple[str, ...] = ()

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses and names by which a document may name the monitors, as the cluster spells them."""
        return frozenset(monitor.address for monitor in self.monitors).union(self.map_addresses)

    def has_none_of(self, named: Collection[str]) -> bool:
        """Whether all monitors that a document names are others than the cluster's; a name may lead to any."""
        if not named or not self.addresses.isdisjoint(named):
            return False
        # Here, not above: usually they are the cluster's, word for word.
        import ipaddress

        try:
            return {ipaddress.ip_address(name) for name in named}.isdisjoint(map(ipaddress.ip_address, self.addresses))
        except ValueError:
            return False

    @property
    def secret_usage(self) -> str:
        """The secret's usage name: unique in libvirt, and the same on all hosts."""
        return f"client.{self.user}@{self.fsid}"


class Secret(Struct, frozen=True, kw_only=True):
    """A libvirt secret of usage type ceph. `is_set`: it has a value, as far as is known."""

    uuid: str
    usage: str
    is_set: bool
    holds_key: bool = False
