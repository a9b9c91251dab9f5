"""What a desired domain becomes on the hypervisor at hand. Pure functions."""
