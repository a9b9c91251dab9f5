"""The libvirt secret by which the domains of a host reach the cluster."""

import uuid

from msgspec import Struct

from virtrbd.model.actions import Action
from virtrbd.model.cluster import Secret
from virtrbd.model.domain_actions import DefineSecret
from virtrbd.planning.world import World

_SECRETS = uuid.UUID("0d9f6c4e-9d0b-5b52-8a55-1f4c7b7c0a37")


class SecretPlan(Struct, frozen=True, kw_only=True):
    """The UUID of the secret to use, "" where the cluster needs none, and the actions that make it."""

    uuid: str = ""
    actions: tuple[Action, ...] = ()


def secret_uuid_for(usage: str) -> str:
    """Return the secret's UUID: from the cluster's fsid and the user, so that all hosts agree."""
    return str(uuid.uuid5(_SECRETS, usage))


def plan_secret(actual: World) -> SecretPlan:
    """Return the UUID of the secret to use, and the action that makes it.

    A secret of others for the same user is used as it is: libvirt refuses a second secret with the same usage name. A
    cluster without cephx needs none.
    """
    if not actual.cluster.cephx:
        return SecretPlan()
    usage = actual.cluster.secret_usage
    ours = secret_uuid_for(usage)

    def usable(secret: Secret) -> bool:
        return secret.uuid == ours or secret.usage == usage or secret.holds_key

    candidates = sorted(filter(usable, actual.secrets), key=lambda s: (s.uuid != ours, s.usage != usage, s.uuid))
    if candidates and (candidates[0].is_set or candidates[0].uuid != ours):
        return SecretPlan(uuid=candidates[0].uuid)
    return SecretPlan(uuid=ours, actions=(DefineSecret(uuid=ours, usage=usage),))
