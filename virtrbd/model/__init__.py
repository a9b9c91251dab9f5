"""The nouns: frozen records (msgspec), no I/O."""
