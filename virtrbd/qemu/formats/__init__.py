"""The formats of image files, read from their first and last bytes: format, size, and other files that they need."""

# The usual formats of disks, in QEMU's words: vpc is VHD.
FORMATS = ("raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc")
# The bytes of a CD or DVD, for a CD-ROM drive: raw to QEMU.
DISC = "iso"
