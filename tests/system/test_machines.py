"""The bench itself: what its machines promise, without which nothing that is shown with them would hold."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.system.guest import Guest, Hardware, disks_listed
from tests.system.lines import Gone
from tests.system.machine import Machine
from tests.system.qmp import Refused
from tests.system.site import Site
from vmdkvol.volume import ScsiAddress

pytestmark = [pytest.mark.integration, pytest.mark.system]

FIRST = ScsiAddress(0, 0)


def test_a_disk_comes_and_goes_in_a_running_guest_with_its_identity_and_its_place(guest: Guest, site: Site) -> None:
    since = guest.news()
    disk = guest.plug(site.vmdk(), ScsiAddress(2, 9))
    device = guest.wait_disk(disk.uuid)
    place = guest.sh(f"readlink -f /sys/block/{device.removeprefix('/dev/')}/device").strip()

    guest.unplug(disk)
    gone = guest.wait_news("remove", since)

    # Where VMware puts the third controller.
    assert "/0000:00:17.0/" in place
    assert place.endswith(":0:9:0")
    assert f"/dev/{gone['device']}" == device
    assert guest.block_devices() == {}


def test_a_list_that_is_made_while_disks_come_and_go_has_those_that_are_there() -> None:
    listed = disks_listed("sd* 6000c29a\nsda 6000c29b\nsdb \nsdaa 6000c29c\n")

    assert listed == {"6000c29b": "sda", "6000c29c": "sdaa"}


def test_bytes_for_a_device_that_is_not_there_are_a_failure_and_become_no_file(guest: Guest) -> None:
    with pytest.raises(AssertionError, match="ended with 1"):
        guest.write("/dev/sdz", b"data")

    assert guest.run("test -e /dev/sdz").code == 1


def test_bytes_written_to_a_disk_are_read_from_it(guest: Guest, site: Site) -> None:
    disk = guest.plug(site.vmdk(size_mib=1), FIRST)
    device = guest.wait_disk(disk.uuid)

    guest.write(device, b"data")

    assert guest.read(device, 4 << 20) == b"data".ljust(1 << 20, b"\0")
    guest.unplug(disk)


def test_a_disk_that_one_machine_has_is_refused_to_another(guest: Guest, site: Site) -> None:
    file = site.vmdk()
    disk = guest.plug(file, FIRST)

    with pytest.raises(Refused, match="lock"):
        guest.plug(file, ScsiAddress(0, 1))

    assert guest.machine.disks() == (disk,)
    guest.unplug(disk)


def test_a_machine_keeps_its_disk_while_its_power_is_cut_and_has_it_when_it_is_back(image: Path, site: Site) -> None:
    guest = Guest(site.machine("b"), image)
    try:
        disk = guest.power_on().wait_ready().plug(site.vmdk(), FIRST)
        device = guest.wait_disk(disk.uuid)
        guest.write(device, b"kept\n")
        guest.cut_power()

        off = Machine(guest.machine.folder)
        assert (off.running, off.disks()) == (False, (disk,))

        guest.power_on().wait_ready()
        assert off.running
        assert guest.read(guest.wait_disk(disk.uuid), 5) == b"kept\n"
        guest.reset()
        assert guest.read(guest.wait_disk(disk.uuid), 5) == b"kept\n"
    finally:
        guest.close()


@pytest.fixture
def endless(image: Path, tmp_path: Path) -> Path:
    """The image of a guest that computes without end before it has a root file system."""
    folder, tree = tmp_path / "endless", tmp_path / "tree"
    for each in (folder, tree / "bin"):
        each.mkdir(parents=True)
    for name in ("vmlinux", "root.ext4"):
        (folder / name).symlink_to(image / name)
    shutil.copy("/bin/busybox", tree / "bin" / "sh")
    (tree / "init").write_text("#!/bin/sh\nwhile :; do :; done\n")
    (tree / "init").chmod(0o755)
    with (folder / "initrd.gz").open("wb") as packed:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=b"init\nbin\nbin/sh\n", stdout=packed, check=True
        )
    return folder


def test_a_boot_that_computes_without_end_is_begun_once_more_and_told(image: Path, endless: Path, site: Site) -> None:
    guest = Guest(site.machine("c"), endless, Hardware(processors=1), boot_computes_s=15)
    try:
        disk = guest.power_on().plug(site.vmdk(), FIRST)
        (endless / "initrd.gz").unlink()
        (endless / "initrd.gz").symlink_to(image / "initrd.gz")

        with pytest.warns(UserWarning, match=r"never came up, it is begun once more: QEMU computed \d+ s\nCPU#0\nRIP="):
            guest.wait_ready()

        assert guest.wait_disk(disk.uuid)
    finally:
        guest.close()


def test_a_boot_whose_qemu_ends_is_a_failure_at_once(image: Path, site: Site) -> None:
    guest = Guest(site.machine("d"), image)
    try:
        os.kill(guest.power_on().pid, signal.SIGKILL)

        with pytest.raises(Gone, match="QEMU has ended"):
            guest.wait_ready()
    finally:
        guest.close()


def test_commands_run_beside_each_other_and_end_at_their_limit(guest: Guest) -> None:
    assert guest.run("echo out; echo err >&2; exit 3").output == "out\nerr\n"
    assert guest.run("sleep 60", timeout_s=1).code == -1
    # What stays in the background does not keep the command.
    assert guest.sh("sleep 60 & echo done") == "done\n"
    assert guest.sh("cat", given="ü" * 5000) == "ü" * 5000
