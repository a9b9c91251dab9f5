"""A spec to start from."""

_TEXT = """\
# yaml-language-server: $schema=./virtrbd.schema.json
# For completion in an editor: virtrbd schema > virtrbd.schema.json
name: {name}
memory: 2G
vcpus: 2
# autostart: true                # start with the host
# uses: [small]                  # profiles from the settings or from profiles.yaml beside this file
# cpu: host-model                # the default under kvm; host-passthrough is faster and moves to the same CPU only
# firmware: uefi
# machine: q35                   # the default; pc where a disk is ide
disks:
  - size: 20G                    # an empty image {pool}/{name}.vda, or made from one of:
    # clone: golden/debian@v1    #   a snapshot
    # import: debian.qcow2       #   raw, qcow2, vmdk, vdi, vhdx or VHD
    # bus: virtio                # scsi, sata, ide, usb
    # cache: writeback           # none, writethrough, directsync, unsafe, default
    # discard: unmap             # trimmed space goes back to the pool
    # iotune: {{total_iops_sec: 2000}}
  # - size: 100G
interfaces:
  - bridge: br0                  # or network: NAME, or direct: DEVICE
    # mac: "52:54:00:12:34:56"   # in quotes; derived from domain and bridge unless stated
# cloud_init: # data for a golden clone, on a disc in {pool}/{name}.seed
#   user_data: seeds/{name}.yaml # a file, a text or a mapping; network_config and meta_data too
# graphics: vnc                  # on 127.0.0.1; a server has a serial console: virtrbd console {name}
# tpm: true
# watchdog: i6300esb
"""


def starting_spec(name: str, pool: str) -> str:
    """Return a commented spec that is valid as it is."""
    return _TEXT.format(name=name, pool=pool)
