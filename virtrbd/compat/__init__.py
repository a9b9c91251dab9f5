"""What a desired domain becomes on this host's libvirt and QEMU. Pure functions."""
