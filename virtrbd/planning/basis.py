"""The world and the policy of a run, indexed once for the plans of all its domains."""

from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.model.domain import Domain
from virtrbd.planning.fingerprints import common_digest, documents_digest, inputs_digest
from virtrbd.planning.policy import Policy
from virtrbd.planning.secret import SecretPlan, plan_secret
from virtrbd.planning.world import World


class Basis(Struct, frozen=True, kw_only=True):
    """What the plan of one domain needs to know of all."""

    actual: World
    policy: Policy
    secret: SecretPlan
    common: str
    by_uuid: Mapping[str, DefinedDomain]
    by_name: Mapping[str, DefinedDomain]

    @classmethod
    def of(cls, actual: World, policy: Policy) -> Self:
        """Return the world, indexed once."""
        secret = plan_secret(actual)
        return cls(
            actual=actual,
            policy=policy,
            secret=secret,
            common=common_digest(actual, secret.uuid, policy.template_dir),
            by_uuid={found.uuid: found for found in actual.domains},
            by_name={found.name: found for found in actual.domains},
        )

    def held(self, domain: Domain) -> DefinedDomain | None:
        """Return the domain as libvirt holds it: by its UUID, else by its name."""
        return self.by_uuid.get(domain.uuid) or self.by_name.get(domain.name)

    def inputs(self, domain: Domain, uuid: str) -> str:
        """Return the digest of what a domain's definition is rendered from; the domain gets this UUID."""
        return inputs_digest(domain, uuid, self.actual, self.common)

    def documents(self, domain: Domain, defined: DefinedDomain) -> str:
        """Return the digest of a domain's documents."""
        return documents_digest(self.inputs(domain, defined.uuid), defined)

    def is_judged(self, defined: DefinedDomain | None) -> bool:
        """Whether an earlier run compared these very documents, and found nothing to do and nothing to report.

        A running domain that was undefined still shows the same two.
        """
        return defined is not None and defined.persistent and defined.uuid in self.actual.judged
