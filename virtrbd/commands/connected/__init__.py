"""What verbs work with: libvirt and Ceph connected, and what they do with them in common."""
