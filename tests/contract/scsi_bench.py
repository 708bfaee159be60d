"""The Linux bench with its disks on SCSI controllers: sysfs is a directory, the disk under a name is a loop device.

What is opened, claimed, mounted and checked is this machine's kernel; who the disks are is read as in a virtual machine.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from tests.contract.guest_benches import MIB, VM, LinuxBench, attachment, configure, free_loop, release
from tests.doubles.scsi_sysfs import ScsiSysfs, Virtual, identification
from vmdkvol.volume import Attachment, DiskUuid, ScsiAddress, loop_tag
from vmdkvol_guest.linux.devices import LinuxDevices


class ScsiBench(LinuxBench):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sysfs = ScsiSysfs(directory / "sys")
        self.dev = directory / "dev"
        self.dev.mkdir()
        self.devices = LinuxDevices(self.clock, lambda: VM, sysfs=self.sysfs.root, dev=self.dev, tell=self.sysfs.tell)
        self.sysfs.controller(0, label="SCSI0")
        self.places: dict[ScsiAddress, int] = {}
        self.unplugged: list[int] = []

    def end(self) -> None:
        super().end()
        for number in self.unplugged:
            # The kernel makes a loop device anew when somebody opens a node of its number.
            if Path(f"/sys/block/loop{number}").exists():
                release(number)

    def plug(self, size_bytes: int = 2 * MIB) -> Attachment:
        return self.insert(self.announce(size_bytes))

    def announce(self, size_bytes: int = 2 * MIB) -> Attachment:
        unit = next(unit for unit in range(16) if unit != 7 and ScsiAddress(0, unit) not in self.places)
        address = ScsiAddress(0, unit)
        number = self.places[address] = free_loop()
        # Taken away at the end, bound or not.
        self.loops[number] = self.image(size_bytes)
        return replace(attachment(0, size_bytes), address=address)

    def plug_later(self, attached: Attachment) -> None:
        def work() -> None:
            self.clock.sleep(0.05)
            self.insert(attached)

        self.clock.start("plug", work)

    def insert(self, attached: Attachment, image: Path | None = None) -> Attachment:
        """The hypervisor attaches this image as the disk that was announced."""
        assert isinstance(attached.address, ScsiAddress)
        number = self.places[attached.address]
        image = image or self.image(attached.size_bytes)
        self.loops[number] = image
        configure(number, image, loop_tag(VM, attached.disk_uuid))
        self.sysfs.attach(attached.address, self.disk(number, attached))
        return attached

    def disk(self, number: int, attached: Attachment) -> Virtual:
        block = Path(f"/sys/block/loop{number}")
        rdev = os.stat(f"/dev/loop{number}").st_rdev
        return Virtual(
            (os.major(rdev), os.minor(rdev)),
            attached.size_bytes,
            int((block / "diskseq").read_text()),
            identification(attached.disk_uuid),
        )

    def unplug(self, attached: Attachment) -> None:
        assert isinstance(attached.address, ScsiAddress)
        self.sysfs.detach(attached.address)
        number = self.places.pop(attached.address)
        self.detach(number)
        self.unplugged.append(number)

    def clone(self, attached: Attachment) -> Attachment:
        assert isinstance(attached.address, ScsiAddress)
        source = self.loops[self.places[attached.address]]
        target = self.directory / f"{uuid4().hex}-flat.vmdk"
        subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)
        return self.insert(replace(self.announce(attached.size_bytes), disk_uuid=DiskUuid(uuid4())), target)
