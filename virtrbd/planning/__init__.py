"""The decisions: pure functions of desired and actual."""
