"""What all verbs go through: the tree of groups, the global options, and how a run ends."""
