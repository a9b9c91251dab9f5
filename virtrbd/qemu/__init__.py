"""A domain's disks as a plain QEMU command line, for people who run QEMU by hand."""
