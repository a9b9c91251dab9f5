"""Digests: short proofs that nothing changed."""

import hashlib


def digest_of(*parts: bytes | str) -> str:
    """Return a digest of the parts; their borders count, so ("ab", "c") is not ("a", "bc")."""
    state = hashlib.sha256()
    for part in parts:
        # Names of files that are not UTF-8 hold surrogates.
        raw = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()[:32]
