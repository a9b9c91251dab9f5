"""virtrbd: libvirt domains whose disks are Ceph RBD images."""

__version__ = "0.1.0"
