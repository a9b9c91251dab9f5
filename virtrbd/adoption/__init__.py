"""From an existing domain that others made to a spec that describes it. Pure."""
