"""Service or agent is killed at each point of a growth under a mounted volume, and started again by hand.

The administrator repeats the order, as one does with a broken connection. Afterwards disk, record and file system have the new
size, the data is whole, and nothing is left.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from tests.daemons.site import Site, eventually
from tests.daemons.test_crash_points import ORDERED, Revived, assert_nothing_left, removed, write
from vmdkvol.addresses import UnixAddress
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Unavailable
from vmdkvol.line import Line
from vmdkvol.messages import Call
from vmdkvol.orders import Outcome
from vmdkvol.points import Point
from vmdkvol.resize_messages import ResizeVolume

pytestmark = pytest.mark.integration
MIB = 1 << 20
# The smallest xfs: a mounted one grows with what every machine for development has (field case C16).
OLD_MIB, NEW_MIB = 300, 600
CLOCK = SystemClock()
# Passed by create, attach and the growth; the number says which passage.
CHANGES = (Point.CHANGE_SUBMITTED, Point.CHANGE_DONE, Point.CHANGE_FINISHED)
CASES = [(point, 1) for point in ORDERED if point.value.startswith(("esx.resize.", "guest.growth."))]
CASES += [(point, 1) for point in (*CHANGES, Point.SIDECAR_WRITTEN)]


def order(site: Site, volume: str) -> Outcome:
    """Order the size until it is answered: a service that dies meanwhile is started again."""
    line = Line(UnixAddress(site.root / "admin.sock"), CLOCK, agent="administrator", boot_id="boot").start()
    try:
        limit = Deadline.after(CLOCK, 90.0)
        while True:
            try:
                request = ResizeVolume(volume=volume, size_bytes=NEW_MIB * MIB)
                return line.ask(request, Call(uuid4(), Deadline.after(CLOCK, 10.0)))
            except Unavailable:
                assert not limit.passed, "the order was never answered"
    finally:
        line.close()


def room(mountpoint: str) -> int:
    found = os.statvfs(mountpoint)
    return found.f_blocks * found.f_frsize // MIB


@pytest.mark.parametrize(("point", "time"), CASES, ids=str)
def test_killed_at_a_point_of_a_growth_all_come_to_the_new_size(site: Site, point: Point, time: int) -> None:
    host, mount_id = site.host, uuid4().hex * 2
    daemon = site.host.agent if point.value.startswith("guest.") else site.service
    site.service.start()
    site.host.agent.start()
    host.patiently("Create", Name="db", Opts={"size": f"{OLD_MIB}mb", "fstype": "xfs"})
    mountpoint = host.patiently("Mount", Name="db", ID=mount_id)["Mountpoint"]
    write(mountpoint, "kept")
    daemon.kill()
    daemon.wait_dead()
    daemon.start(point.value, time)
    revived = Revived(daemon)

    order(site, "db")
    eventually(lambda: room(mountpoint) > OLD_MIB, "the file system follows", 90.0)
    eventually(revived.died.is_set, f"{point} is passed")
    revived.join()

    assert order(site, "db").plan.steps == ()
    again = host.patiently("Mount", Name="db", ID=uuid4().hex * 2)["Mountpoint"]
    assert again == mountpoint
    assert (Path(mountpoint) / "data").read_text() == "kept"
    assert host.call("Get", Name="db")["Volume"]["Status"]["size-bytes"] == NEW_MIB * MIB
    for held in host.call("Get", Name="db")["Volume"]["Status"]["holders"]:
        host.patiently("Unmount", Name="db", ID=held)
    removed(site, "db")
    assert_nothing_left(site)
