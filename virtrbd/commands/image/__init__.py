"""The verbs of `virtrbd image`, a file each; those of its groups have the group's name before theirs."""
