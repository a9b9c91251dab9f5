"""What tools/soak-kill is made of: the kinds of verbs that are killed, and the killing."""
