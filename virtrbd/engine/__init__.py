"""The effects: everything that touches libvirt, Ceph or the state directory."""
