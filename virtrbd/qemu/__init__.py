"""A domain's disks as a plain QEMU command line, to run QEMU by hand; and the formats of image files."""
