"""From a domain that somebody else made to a spec that says the same."""
