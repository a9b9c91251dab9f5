"""The devices of a plain QEMU command line: what each has, and from which QEMU on."""

import json

from support.command_lines import command, device, disk, domain, drive, node, refusal, values

from virtrbd.model.disk import Bus, Cache, Cdrom, DetectZeroes, Discard
from virtrbd.model.image import ImageRef
from virtrbd.model.record import replace


def test_controllers_and_addresses() -> None:
    disks = [disk(Bus.SCSI, target="sda"), disk(Bus.USB, target="sdb")]
    disks += [disk(Bus.SATA, target=f"sd{letter}") for letter in "cdefghi"]
    disks += [disk(Bus.IDE, target=target) for target in ("hda", "hdb", "hdd")]
    found = values(command(domain(*disks), "7.2"), "-device")
    assert found[:4] == [
        "ich9-ahci,id=ahci0",
        "ich9-ahci,id=ahci1",
        "virtio-scsi-pci,id=scsi0",
        "qemu-xhci,id=usb0,p2=15,p3=15",
    ]
    places = [value.partition("bus=")[2] for value in found[4:]]
    assert places == [
        "ide.0,unit=0", "ide.0,unit=1", "ide.1,unit=1", "scsi0.0,channel=0,scsi-id=0,lun=0", "usb0.0",
        "ahci0.0", "ahci0.1", "ahci0.2", "ahci0.3", "ahci0.4", "ahci0.5", "ahci1.0",
    ]  # fmt: skip
    assert "usb-ehci,id=usb0" in values(command(disk(Bus.USB), "2.9"), "-device")


def test_buses_that_are_not_there_are_refused() -> None:
    assert "virtio-scsi came with QEMU 1.1" in refusal(disk(Bus.SCSI), "1.0")
    assert "q35 has no IDE" in refusal(disk(Bus.IDE), "7.2", "pc-q35-7.2")
    assert "has hda to hdd" in refusal(disk(Bus.IDE, target="hde"), "7.2")
    assert "drive can't be virtio" in refusal(domain(disk(), cdroms=(Cdrom(target="vdb", bus=Bus.VIRTIO),)), "7.2")
    assert "too old" in refusal(disk(), "0.15")
    assert refusal(domain(disk(Bus.SCSI, line=7), disk(Bus.IDE, target="hdz", line=9)), "1.0").count("\n") == 1


def test_what_a_device_has_from_which_qemu_on() -> None:
    ata = disk(Bus.SCSI, serial="s,1", wwn="5000c50015ea71ac", rotation_rate=1, boot=2)
    text = values(command(ata, "2.11"), "-device")[-1]
    assert "serial=s,,1,wwn=0x5000c50015ea71ac,rotation_rate=1,bootindex=2," in text
    assert "disk sda: rotation_rate came with QEMU 2.11; left out" in command(ata, "2.10").notes
    fast = disk(iothread=2, queues=4)
    assert values(command(fast, "2.7"), "-object") == ["iothread,id=iothread1", "iothread,id=iothread2"]
    assert device(fast, "2.7") | {"iothread": "iothread2", "num-queues": "4"} == device(fast, "2.7")
    assert "queues came with QEMU 2.7; left out" in str(command(fast, "2.1").notes)
    assert values(command(fast, "2.0"), "-object") == []
    assert "iothreads is left out" in str(command(disk(iothreads={"1": ()}), "9.0").notes)
    assert device(disk(shareable=True, cache=Cache.NONE), "2.10")["share-rw"] == "on"
    assert command(disk(Bus.IDE, shareable=True, cache=Cache.NONE), "2.9").notes == ()
    assert "share-rw" not in device(disk(shareable=True, cache=Cache.NONE), "2.9")
    for wrong in (
        disk(wwn="5000c50015ea71ac"),
        disk(rotation_rate=1),
        disk(Bus.IDE, iothread=1),
        disk(Bus.SCSI, queues=2),
    ):
        assert "does not exist for" in refusal(wrong, "7.2")


def test_detect_zeroes_from_2_1() -> None:
    zeroes = disk(Bus.IDE, detect_zeroes=DetectZeroes.UNMAP)
    assert "detect-zeroes" not in drive(zeroes, "2.0")
    assert "detect_zeroes came with QEMU 2.1" in str(command(zeroes, "2.0").notes)
    assert "detect-zeroes=unmap" in drive(zeroes, "2.1")
    assert node(zeroes, "4.2")["detect-zeroes"] == "unmap"
    # QEMU refuses unmap without discard=unmap.
    assert node(replace(zeroes, discard=Discard.IGNORE), "4.2")["detect-zeroes"] == "on"
    assert "detect-zeroes" not in node(replace(zeroes, detect_zeroes=DetectZeroes.OFF), "4.2")


def test_error_policies_move_from_the_drive_to_the_device() -> None:
    full = disk(Bus.SCSI, error_policy="enospace", rerror_policy="report")
    assert "werror=enospc,rerror=report" in drive(full, "2.7")
    assert device(full, "4.2") | {"werror": "enospc", "rerror": "report"} == device(full, "4.2")
    stopping = device(disk(error_policy="stop"), "7.2")
    assert (stopping["werror"], stopping["rerror"]) == ("stop", "stop")
    assert "rerror" not in device(disk(error_policy="enospace"), "7.2")


LIMITS = {"total_bytes_sec": 10, "write_iops_sec": 20, "write_iops_sec_max": 30, "write_iops_sec_max_length": 4}


def test_limits_in_the_words_of_each_era() -> None:
    limited = disk(Bus.IDE, iotune={**LIMITS, "size_iops_sec": 5, "group_name": "g"})
    assert ",bps=10,iops_wr=20,if=" in drive(limited, "1.5")
    assert "write_iops_sec_max, write_iops_sec_max_length, group_name" in str(command(limited, "1.5").notes)
    new = drive(limited, "2.7")
    for option in ("bps=10", "iops_wr=20", "iops_wr_max=30", "throttling.iops-write-max-length=4", "group=limits-g"):
        assert f",{option}," in new
    assert values(command(limited, "5.0"), "-object") == [
        "throttle-group,id=limits-g,x-iops-size=5,x-bps-total=10,x-iops-write=20,x-iops-write-max=30,x-iops-write-max-length=4"
    ]
    [group] = values(command(domain(limited, replace(limited, target="hdb")), "6.2"), "-object")
    assert json.loads(group)["limits"] == {
        "iops-size": 5, "bps-total": 10, "iops-write": 20, "iops-write-max": 30, "iops-write-max-length": 4,
    }  # fmt: skip
    file = node(limited, "6.2")["file"]
    assert isinstance(file, dict)
    assert (file["driver"], file["throttle-group"], file["file"]["driver"]) == ("throttle", "limits-g", "rbd")


def test_cdroms_full_and_empty() -> None:
    iso = ImageRef(pool="data", name="iso")
    both = domain(
        disk(), cdroms=(Cdrom(target="hda", bus=Bus.IDE, image=iso, boot=1), Cdrom(target="sda", bus=Bus.USB))
    )
    old = command(both, "1.2")
    assert values(old, "-drive")[:2] == [
        "format=raw,file=rbd:data/iso,readonly=on,media=cdrom,if=none,id=drive-hda",
        "if=none,id=drive-sda,media=cdrom",
    ]
    assert "ide-cd,drive=drive-hda,bootindex=1,id=hda,bus=ide.0,unit=0" in values(old, "-device")
    assert "usb-storage,drive=drive-sda,id=sda,bus=usb0.0" in values(old, "-device")
    new = command(both, "7.2")
    assert len(values(new, "-blockdev")) == 2
    assert json.loads(values(new, "-blockdev")[0])["read-only"] is True
    assert values(new, "-device")[-3:-1] == ["usb-bot,id=bot-sda,bus=usb0.0", "scsi-cd,id=sda,bus=bot-sda.0,lun=0"]
