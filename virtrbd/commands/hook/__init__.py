"""The verbs of `virtrbd hook`, a file each."""
