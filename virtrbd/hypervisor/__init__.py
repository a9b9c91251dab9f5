"""libvirt: the only room that knows its bindings. No object of theirs leaves it."""
