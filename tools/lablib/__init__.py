"""A private Ceph and private libvirtds for tests; tools/lab is its command line."""
