"""The start gate behind libvirt's own starts: the program in libvirt's folder of hooks, and what it answers.

`program` is that file. libvirt runs it for `virsh start`, autostart, a restore and an incoming migration, waits for it,
and gives up where it fails. It runs `python -m virtrbd.hook`: `answer` decides what needs no Ceph, and forks; the other
process (`apart`) looks at Ceph (`checks`), answers by a pipe, and stays with the images open until the guest's QEMU has
them open too. Nothing here calls libvirt, which waits: it would never answer.
"""
