"""What an image file says of itself, read from its first and last bytes: its format, its size, what else it needs."""

# Those that people keep disks in, in QEMU's words: vpc is VHD.
FORMATS = ("raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc")
# The bytes of a CD or DVD, for a CD-ROM drive: raw to QEMU.
DISC = "iso"
