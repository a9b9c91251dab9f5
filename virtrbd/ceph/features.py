"""Names of librbd's feature and flag bits."""

from collections.abc import Sequence
from datetime import UTC, datetime

from virtrbd.ceph.bindings import rbd

# An interrupted flatten leaves this, and a crash that librbd noticed.
OBJECT_MAP_INVALID = "object map invalid"

_BITS = {
    "layering": rbd.RBD_FEATURE_LAYERING,
    "striping": rbd.RBD_FEATURE_STRIPINGV2,
    "exclusive-lock": rbd.RBD_FEATURE_EXCLUSIVE_LOCK,
    "object-map": rbd.RBD_FEATURE_OBJECT_MAP,
    "fast-diff": rbd.RBD_FEATURE_FAST_DIFF,
    "deep-flatten": rbd.RBD_FEATURE_DEEP_FLATTEN,
    "journaling": rbd.RBD_FEATURE_JOURNALING,
    "data-pool": rbd.RBD_FEATURE_DATA_POOL,
    "operations": rbd.RBD_FEATURE_OPERATIONS,
    "migrating": rbd.RBD_FEATURE_MIGRATING,
}
_FLAGS = {
    OBJECT_MAP_INVALID: rbd.RBD_FLAG_OBJECT_MAP_INVALID,
    "fast diff invalid": rbd.RBD_FLAG_FAST_DIFF_INVALID,
}


def feature_names(bits: int) -> tuple[str, ...]:
    """Return the names of the features, as `rbd info` has them."""
    return tuple(name for name, bit in _BITS.items() if bits & bit)


def feature_bits(names: Sequence[str]) -> int:
    """Return the bits of the features."""
    return sum({_BITS[name] for name in names})


def flag_names(bits: int) -> tuple[str, ...]:
    """Return the names of the flags, as `rbd info` has them."""
    return tuple(name for name, bit in _FLAGS.items() if bits & bit)


def seconds_of(time: datetime) -> float:
    """Return seconds since 1970: the bindings of Ceph 16 give UTC without saying so, later ones say it."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
