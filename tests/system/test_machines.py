"""The bench itself: what its machines promise, without which nothing that is shown with them would hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.guest import Guest
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
        guest.sh(f"echo kept | dd of={device} conv=fsync status=none")
        guest.cut_power()

        off = Machine(guest.machine.folder)
        assert (off.running, off.disks()) == (False, (disk,))

        guest.power_on().wait_ready()
        assert off.running
        assert guest.sh(f"head -c 5 {guest.wait_disk(disk.uuid)}") == "kept\n"
        guest.reset()
        assert guest.sh(f"head -c 5 {guest.wait_disk(disk.uuid)}") == "kept\n"
    finally:
        guest.close()


def test_commands_run_beside_each_other_and_end_at_their_limit(guest: Guest) -> None:
    assert guest.run("echo out; echo err >&2; exit 3").output == "out\nerr\n"
    assert guest.run("sleep 60", timeout_s=1).code == -1
    # What stays in the background does not keep the command.
    assert guest.sh("sleep 60 & echo done") == "done\n"
    assert guest.sh("cat", given="ü" * 5000) == "ü" * 5000
