"""What the agent sees of a virtual machine: disks by what they say and by where they sit, without udev; its doctor.

The agent's own code, alone in a guest without udev: nothing makes links or renames, and no service is needed.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.system.agents import CODE, SERIAL, code_disk
from tests.system.guest import Guest, Hardware
from tests.system.machine import Plugged
from tests.system.site import Site
from tests.test_units import values
from vmdkvol.volume import DiskUuid, ScsiAddress, new_disk_uuid

pytestmark = [pytest.mark.integration, pytest.mark.system]

MIB = 1 << 20
SIZE_MIB = 8
KEPT = (word.removeprefix("CAP_").lower() for word in values("vmdkvol-agent.service", "CapabilityBoundingSet"))
AS_THE_UNIT = f"setpriv --bounding-set -all,{','.join(f'+{word}' for word in KEPT)} --inh-caps=-all --no-new-privs"
# What each script begins with: the agent's devices, attachments, and a patience that a loaded machine needs.
BEGIN = """
import dataclasses, json, os, sys, time
from uuid import UUID, uuid4
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import ServiceUnreachable, VolumeError
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, Content, DiskUuid, ScsiAddress, VmId, VolumeId
from vmdkvol_guest.linux import inquiry
from vmdkvol_guest.doctor import Doctor
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.settings import AgentSettings

clock, vm = SystemClock(), VmId(uuid4())
devices = LinuxDevices(clock, lambda: vm)

def within(seconds=60.0):
    return Deadline.after(clock, seconds)

def attached(disk, bus, unit, size={size}, **more):
    told = dict(content=Content.UNFORMATTED, filesystem_uuid=None) | more
    return Attachment(VolumeId(uuid4()), DiskUuid(UUID(disk)), size, ScsiAddress(bus, unit), 1, options=CreateOptions(), **told)

def formatted(*where):
    return attached(*where, content=Content.FORMATTED, filesystem_uuid=uuid4())

def away():
    raise ServiceUnreachable("there is none")

def refused(work):
    try:
        work()
    except VolumeError as error:
        return error.code
    return "not refused"
"""


@pytest.fixture(scope="module")
def alone(image: Path, site: Site) -> Iterator[Guest]:
    """A guest without udev, and without anything of ours but code."""
    disk = code_disk(site.root / "code.ext4")
    # Behind the root file system's place, so that this is not the first disk.
    drive = f"file={disk},if=none,id=code,format=raw,readonly=on"
    extra = ("-drive", drive, "-device", f"virtio-blk-pci,drive=code,addr=0x9,serial={SERIAL}")
    machine = site.machine("alone")
    with site.vsock(machine) as device:
        guest = Guest(machine, image, Hardware(append="noudev", vsock=device, extra=extra))
        try:
            guest.power_on().wait_ready()
            find = f"grep -lx {SERIAL} /sys/block/vd*/serial"
            guest.sh(f"mkdir -p {CODE} && mount -o ro /dev/$(basename $(dirname $({find}))) {CODE}")
            yield guest
        finally:
            guest.close()


@pytest.fixture
def empty(alone: Guest) -> Iterator[Guest]:
    """The same, without disks; those that a test plugs are taken away."""
    yield alone
    for disk in alone.machine.disks():
        alone.unplug(disk)


def said(guest: Guest, script: str) -> Any:
    """Run a script in the guest with the rights that the unit leaves the agent; return what it printed as JSON."""
    text = BEGIN.format(size=SIZE_MIB * MIB) + textwrap.dedent(script)
    return json.loads(guest.sh(f"{AS_THE_UNIT} env PYTHONPATH={CODE} python3 -", given=text))


def doctor(guest: Guest) -> dict[str, dict[str, str]]:
    ran = guest.run(f"{AS_THE_UNIT} env PYTHONPATH={CODE} python3 -m vmdkvol_guest.cli --config /etc/agent.toml doctor -o json")
    return {line["check"]: line for line in json.loads(ran.output)}


def plug_silent(guest: Guest, site: Site, address: ScsiAddress) -> DiskUuid:
    """Plug a disk that says nothing of itself, as a machine without disk.EnableUUID shows it; return its UUID."""
    node = f"silent-{address.bus}-{address.unit}"
    file = {"driver": "file", "filename": str(site.vmdk(SIZE_MIB))}
    guest.qmp.do("blockdev-add", {"driver": "vmdk", "node-name": node, "file": file})
    place = {"bus": f"scsi{address.bus}.0", "scsi-id": address.unit, "lun": 0}
    guest.qmp.do("device_add", {"driver": "scsi-hd", "id": node, "drive": node, **place})
    return new_disk_uuid(uuid4())


def pull_silent(guest: Guest, *addresses: ScsiAddress) -> None:
    for address in addresses:
        node = f"silent-{address.bus}-{address.unit}"
        since = guest.qmp.told()
        guest.qmp.do("device_del", {"id": node})
        guest.qmp.wait("DEVICE_DELETED", since, 60.0, device=node)
        guest.qmp.do("blockdev-del", {"node-name": node})


def where(disk: Plugged) -> str:
    return f"'{disk.uuid}', {disk.address.bus}, {disk.address.unit}"


def test_a_disk_is_found_claimed_forgotten_and_found_again(empty: Guest, site: Site) -> None:
    """The detach that follows a forget may fail: the disk is then out of the kernel and still on the machine."""
    disk = empty.plug(site.vmdk(SIZE_MIB), ScsiAddress(2, 9))
    told = said(
        empty,
        f"""
        attachment = attached({where(disk)})
        first = devices.find(attachment, within())
        asked = os.open(first.path, os.O_RDONLY)
        uuid = inquiry.disk_uuid(asked)
        os.close(asked)
        with devices.claim(first, within(5)):
            busy = refused(lambda: devices.claim(first, within(0.1)).__enter__())
            devices.forget(first)
        gone = devices.present(vm, attachment), os.path.exists("/sys/block/" + os.path.basename(first.path))
        devices.forget(first)
        again = devices.find(attachment, within())
        old = refused(lambda: devices.claim(first, within(5)).__enter__())
        print(json.dumps([str(uuid), first.named, busy, gone, again == first, again.path, old]))
        """,
    )
    assert told == [str(disk.uuid), True, "still-mounted", [None, False], False, "/dev/sda", "wrong-disk"]


def test_a_disk_is_told_from_others_by_its_uuid_alone_and_a_node_is_made(empty: Guest, site: Site) -> None:
    first = empty.plug(site.vmdk(SIZE_MIB), ScsiAddress(1, 0))
    second = empty.plug(site.vmdk(SIZE_MIB), ScsiAddress(0, 15))
    empty.wait_disk(first.uuid)
    path = empty.wait_disk(second.uuid)
    empty.sh(f"rm {path}")
    told = said(
        empty,
        f"""
        found = devices.find(attached('{second.uuid}', 1, 0), within())
        wrong = refused(lambda: devices.find(attached('{uuid4()}', 1, 0), within(1)))
        print(json.dumps([found.path, os.path.exists(found.path), wrong]))
        """,
    )
    assert told == [path, True, "wrong-disk"]


def test_a_disk_that_says_nothing_is_taken_by_its_place_only_if_its_file_system_will_tell(empty: Guest, site: Site) -> None:
    """Four controllers, and no firmware that says which is which: new disks are not touched."""
    places = ScsiAddress(1, 4), ScsiAddress(3, 4)
    disks = [plug_silent(empty, site, place) for place in places]
    try:
        told = said(
            empty,
            f"""
            while len(devices._tree.disks()) < 2:
                time.sleep(0.1)
            second = '{disks[1]}', 3, 4
            found = devices.find(formatted(*second), within())
            place = os.path.realpath("/sys/block/" + os.path.basename(found.path))
            new = refused(lambda: devices.find(attached(*second), within(1)))
            other_size = refused(lambda: devices.find(attached(*second, size=4096), within(1)))
            twins = refused(lambda: devices.present(vm, attached(*second)))
            nobody = devices.present(vm, attached('{disks[0]}', 0, 5))
            (line,) = [each.fix for each in Doctor(AgentSettings(), clock, Commands(clock), away).examine()
                       if each.check == "disk.EnableUUID"]
            print(json.dumps(["/0000:00:18.0/" in place, found.named, new, other_size, twins, nobody, "= TRUE" in line]))
            """,
        )
    finally:
        pull_silent(empty, *places)
    assert told == [True, False, "truth-unknown", "wrong-disk", "truth-unknown", None, True]


GROWN_MIB = 900
WRITER = """
import os
number = 0
with open("{data}/records", "ab") as file:
    while True:
        file.write(b"%d\\n" % number)
        file.flush()
        os.fsync(file.fileno())
        with open("/run/acked.new", "w") as acked:
            acked.write(str(number))
        os.rename("/run/acked.new", "/run/acked")
        number += 1
"""


@contextmanager
def growing_disk(guest: Guest, site: Site, address: ScsiAddress, fstype: str) -> Iterator[tuple[DiskUuid, Callable[[], None]]]:
    """A disk that says who it is, and what makes it larger while the guest has it, which QEMU does for raw disks only."""
    file, uuid, node = site.root / f"growing-{fstype}.raw", new_disk_uuid(uuid4()), f"growing-{fstype}"
    file.touch()
    os.truncate(file, SIZE_OF_BOTH_MIB * MIB)
    raw = {"driver": "raw", "node-name": node, "file": {"driver": "file", "filename": str(file)}}
    guest.qmp.do("blockdev-add", raw)
    place = {"bus": f"scsi{address.bus}.0", "scsi-id": address.unit, "lun": 0}
    told = {"wwn": uuid.int >> 64, "serial": uuid.hex, "vendor": "VMware", "product": "Virtual disk"}
    guest.qmp.do("device_add", {"driver": "scsi-hd", "id": node, "drive": node, **place, **told})
    try:
        yield uuid, lambda: guest.qmp.do("block_resize", {"node-name": node, "size": GROWN_MIB * MIB})
    finally:
        since = guest.qmp.told()
        guest.qmp.do("device_del", {"id": node})
        guest.qmp.wait("DEVICE_DELETED", since, 60.0, device=node)
        guest.qmp.do("blockdev-del", {"node-name": node})


# Enough for an xfs.
SIZE_OF_BOTH_MIB = 320


GROWING = """
from pathlib import Path
from vmdkvol_guest.linux.filesystems import LinuxFilesystems
from vmdkvol_guest.linux.mounts import LinuxMounts
filesystems, mounts = LinuxFilesystems(Commands(clock)), LinuxMounts(Path("/run/vmdkvol/mnt"), clock)
volume, fstype = VolumeId(UUID("{volume}")), "{fstype}"
point = mounts.path(volume, "root")
device = devices.find(attached("{disk}", 1, 5, size={size_mib} << 20), within())
"""
MOUNTED = """
filesystems.make(device, fstype, uuid4(), (), pristine=True)
mounts.mount(device, volume, fstype, (), read_only=False)
mounts.prepare(volume, "data", 0, 0, 0o755)
print(json.dumps(mounts.path(volume, "data")))
"""
GROWN = """
filesystems.grow(device, fstype, point)
found = os.statvfs(point)
print(json.dumps([filesystems.size(device, fstype, point) >> 20, found.f_blocks * found.f_frsize >> 20]))
"""
KEPT_RECORDS = """
mounts.unmount(volume)
filesystems.check(device, fstype, full=True)
mounts.mount(device, volume, fstype, (), read_only=False)
kept = Path(mounts.path(volume, "data"), "records").read_text().split()
mounts.unmount(volume)
devices.forget(device)
print(json.dumps(len(kept) if kept == [str(number) for number in range(len(kept))] else kept[-10:]))
"""


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_disk_grows_under_its_file_system_which_follows_under_a_writer(empty: Guest, site: Site, fstype: str) -> None:
    """Field case C16: with the unit's capabilities. The guest's kernel is not told of the growth: it is made to look."""
    volume = uuid4()
    with growing_disk(empty, site, ScsiAddress(1, 5), fstype) as (disk, grow):

        def does(script: str, size_mib: int) -> Any:
            return said(empty, GROWING.format(volume=volume, fstype=fstype, disk=disk, size_mib=size_mib) + script)

        data = does(MOUNTED, SIZE_OF_BOTH_MIB)
        empty.sh("cat >/run/writer.py", given=WRITER.format(data=data))
        empty.sh("setsid python3 /run/writer.py >/dev/null 2>&1 & echo $! >/run/writer.pid")
        empty.sh("until [ -e /run/acked ]; do :; done")
        grow()
        grown, room = does(GROWN, GROWN_MIB)
        assert GROWN_MIB - 2 <= grown <= GROWN_MIB
        assert room > GROWN_MIB * 0.8
        acked = int(empty.sh("sleep 0.2; kill -9 $(cat /run/writer.pid); cat /run/acked; rm /run/acked"))

        assert does(KEPT_RECORDS, GROWN_MIB) > acked > 0


def test_the_doctor_says_what_this_machine_has_and_lacks(empty: Guest, site: Site) -> None:
    empty.sh("cat >/etc/agent.toml && chmod 600 /etc/agent.toml", given='service = "vsock://2:1019"\n')
    disk = empty.plug(site.vmdk(SIZE_MIB), ScsiAddress(0, 0))
    empty.wait_disk(disk.uuid)
    found = doctor(empty)
    right = ("root", "python", "driver", "tools ext4", "tools xfs", "tool blkid", "pvscsi", "disk.EnableUUID", "mount root")
    assert {check: found[check]["status"] for check in right} == dict.fromkeys(right, "OK")
    assert found["vsock"]["finding"] == f"this machine has context id {empty.machine.context_id}"
    # No service, no agent, never enrolled.
    wrong = {check for check, line in found.items() if line["status"] == "FAIL"}
    assert wrong == {"agent", "certificate", "service"}
    assert all(found[check]["fix"] for check in wrong)
