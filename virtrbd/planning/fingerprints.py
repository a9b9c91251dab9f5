"""Fingerprints of what a definition was made from and compared with: if both are unchanged, nothing is compared."""

from collections.abc import Mapping

from virtrbd import __version__
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.templates import templates_digest
from virtrbd.model.digest import digest_of
from virtrbd.model.domain import Domain
from virtrbd.planning.world import World


def common_digest(actual: World, secret_uuid: str, template_dir: str) -> str:
    """Return the digest of what every definition of this host is rendered from. Raises ConfigError."""
    return digest_of(
        templates_digest(template_dir), __version__, actual.hypervisor_digest, repr(actual.cluster), secret_uuid
    )


def inputs_digest(domain: Domain, uuid: str, actual: World, common: str) -> str:
    """Return the digest of everything that a definition is rendered from; the domain gets this UUID."""
    return digest_of(common, domain.digest, repr(_cache_options(domain, actual)), uuid)


def documents_digest(inputs: str, defined: DefinedDomain) -> str:
    """Return the digest of a domain's three documents: desired, definition and live."""
    return digest_of(inputs, defined.definition.text, defined.live.text if defined.live else "")


def _cache_options(domain: Domain, actual: World) -> list[tuple[str, str, str]]:
    """Return the cache options of images and pools: when they are set later, their lint must still be reported."""
    found: list[tuple[str, str, str]] = []
    for disk in domain.disks:
        image = actual.images.get(disk.image.image)
        if image and image.config:
            found += _options(str(disk.image.image), image.config)
        if config := actual.pool_config.get(disk.image.pool):
            found += _options(disk.image.pool, config)
    return found


def _options(where: str, config: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(where, key, value) for key, value in sorted(config.items()) if key.startswith("rbd_cache")]
