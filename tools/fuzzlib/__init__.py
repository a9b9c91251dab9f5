"""Fuzzing: what virtrbd does not trust, as functions that take bytes."""
