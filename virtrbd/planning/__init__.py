"""The decisions: pure functions over desired and actual."""
