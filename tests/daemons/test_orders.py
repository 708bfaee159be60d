"""The service is killed at each point of what an administrator orders, and started again by hand.

The order comes again with its key, as whoever lost the answer sends it. Afterwards it is answered as done, record and copy say
the same, the data is whole, and no other volume was touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.daemons.site import Site, eventually
from tests.daemons.test_crash_points import ORDERED, Revived
from vmdkvol.addresses import UnixAddress
from vmdkvol.cli import devices
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Unavailable, VolumeNotFound
from vmdkvol.line import Line
from vmdkvol.messages import Call, Request
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan
from vmdkvol.points import Point
from vmdkvol.policy_messages import CreatePolicy, SetVolumePolicy
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import State
from vmdkvol.volume_orders import (
    CreateVolumeFor,
    DestroyVolume,
    DetachVolume,
    InspectVolume,
    MoveVolume,
    RenameVolume,
    RestoreVolume,
    SetVolume,
    TrashVolume,
    VolumeDetail,
)
from vmdkvol_esx import sidecar

pytestmark = pytest.mark.integration
P = Point
CLOCK = SystemClock()
CHANGE = (P.CHANGE_SUBMITTED, P.CHANGE_DONE, P.CHANGE_FINISHED)
SIZE = (("size", "8mb"),)
DATA = b"what the volume keeps"
# Of the extent: behind whatever a file system keeps at its beginning.
PLACE = 1 << 20


class Administrator:
    """Asks at the admin socket until it is answered: a service that dies meanwhile is started again."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.line = Line(UnixAddress(site.root / "admin.sock"), CLOCK, agent="administrator", boot_id="boot").start()

    def ask(self, request: Request[Any], call: UUID | None = None) -> Any:
        limit, call = Deadline.after(CLOCK, 90.0), call or uuid4()
        while True:
            try:
                return self.line.ask(request, Call(call, Deadline.after(CLOCK, 10.0)))
            except Unavailable:
                assert not limit.passed, f"{type(request).__name__} was never answered"

    def volume(self, name: str) -> VolumeDetail | None:
        try:
            found: VolumeDetail = self.ask(InspectVolume(volume=name))
        except VolumeNotFound:
            return None
        return found

    def create(self, name: str) -> str:
        volume = str(self.ask(CreateVolumeFor(vmgroup="_DEFAULT", name=name, options=SIZE)).subject)
        with self.extent(name).open("r+b") as file:
            file.seek(PLACE)
            file.write(DATA)
        return volume

    def files(self, name: str) -> list[Path]:
        return sorted(path for path in self.site.datastore.rglob(f"{name}-*") if path.is_file())

    def extent(self, name: str) -> Path:
        return next(path for path in self.files(name) if path.name.endswith("-flat.vmdk"))


Prepare = Callable[[Administrator], Request[Any]]
Done = Callable[[Administrator], bool]


def _restore(admin: Administrator) -> Request[Any]:
    admin.create("db")
    admin.ask(TrashVolume(volume="db"))
    return RestoreVolume(volume="db", new_name="back")


def _rename(admin: Administrator) -> Request[Any]:
    admin.create("db")
    return RenameVolume(volume="db", new_name="back")


def _move(admin: Administrator) -> Request[Any]:
    admin.create("db")
    found = admin.volume("db")
    assert found is not None
    admin.ask(CreateVmgroup(name="red", default_datastore=found.row.datastore))
    return MoveVolume(volume="db", to_vmgroup="red")


def _set(admin: Administrator) -> Request[Any]:
    admin.create("db")
    return SetVolume(volume="db", options=(("access", "read-only"),))


def _follow(admin: Administrator) -> Request[Any]:
    admin.create("db")
    admin.ask(CreatePolicy(name="gold"))
    return SetVolumePolicy(volume="db", vmgroup="_DEFAULT", policy="gold")


def _commission(_: Administrator) -> Request[Any]:
    return CreateVolumeFor(vmgroup="_DEFAULT", name="db", options=SIZE)


def _destroy(admin: Administrator) -> Request[Any]:
    admin.create("db")
    admin.ask(TrashVolume(volume="db"))
    return DestroyVolume(volume="db", i_know="db")


def _forget(admin: Administrator) -> Request[Any]:
    volume = admin.create("db")
    for path in admin.files("db"):
        if path.suffix == ".vmdk":
            path.unlink()
    eventually(lambda: _state(admin, volume) is State.LOST, "the volume is lost", 60.0)
    return DestroyVolume(volume=volume, i_know="db")


def _mend(admin: Administrator) -> Request[Any]:
    admin.create("db")
    aside = admin.site.root / "aside"
    aside.mkdir()
    files = [path for path in admin.files("db") if path.suffix == ".vmdk"]
    for path in files:
        shutil.copy2(path, aside / path.name)
    admin.ask(TrashVolume(volume="db"))
    admin.ask(DestroyVolume(volume="db", i_know="db"))
    for path in files:
        shutil.copy2(aside / path.name, path)
    (orphan,) = admin.ask(ListOrphans()).orphans
    return MendOrphan(where=orphan.where, action=Mending.TRASH, i_know=orphan.where)


def _sever(admin: Administrator) -> Request[Any]:
    """The host's agent is dead, and its mount gone: the disk is left at a machine that is said to run."""
    host = admin.site.host
    admin.create("db")
    host.agent.start()
    host.patiently("Mount", Name="db", ID=uuid4().hex * 2)
    host.agent.kill()
    for loop in admin.site.loops():
        devices.unmount(loop)
    return DetachVolume(volume="db", force=True, i_know=host.name)


def _state(admin: Administrator, name: str) -> State | None:
    found = admin.volume(name)
    return None if found is None else found.row.state


def _is_back(admin: Administrator) -> bool:
    return (_state(admin, "back"), _state(admin, "db")) == (State.READY, None)


def _is_red(admin: Administrator) -> bool:
    found, copies = admin.volume("db"), {str(copy.id): str(copy.vmgroup) for copy in _copies(admin)}
    return found is not None and found.row.vmgroup == "red" and copies[str(found.row.id)] == found.vmgroup_id


def _is_severed(admin: Administrator) -> bool:
    found = admin.volume("db")
    return found is not None and found.row.must_check and found.vm is None and admin.site.loops() == []


def _is_in_the_trash(admin: Administrator) -> bool:
    trashed = [copy for copy in _copies(admin) if copy.state is State.TRASHED]
    return [_state(admin, str(copy.id)) for copy in trashed] == [State.TRASHED]


def _copies(admin: Administrator) -> list[Any]:
    return [sidecar.decode(path.read_bytes()) for path in admin.site.datastore.rglob("*.vmdkvol.json")]


@dataclass(frozen=True, slots=True)
class Work:
    """``points`` with their passages. ``keeps`` is what the extent's name begins with that must have its data afterwards."""

    prepare: Prepare
    points: tuple[tuple[Point, int], ...]
    done: Done
    keeps: str | None = "db"


def _once(*points: Point) -> tuple[tuple[Point, int], ...]:
    return tuple((point, 1) for point in points)


WORK = {
    "restore": Work(_restore, ((P.SIDECAR_WRITTEN, 1), (P.RESTORE_RECORDED, 1), (P.SIDECAR_WRITTEN, 2)), _is_back),
    "rename": Work(_rename, ((P.SIDECAR_WRITTEN, 1), (P.RENAME_RECORDED, 1), (P.SIDECAR_WRITTEN, 2)), _is_back),
    "move": Work(_move, ((P.SIDECAR_WRITTEN, 1), (P.MOVE_RECORDED, 1), (P.SIDECAR_WRITTEN, 2)), _is_red),
    "set": Work(
        _set,
        _once(P.SET_RECORDED, P.SIDECAR_WRITTEN),
        lambda admin: (found := admin.volume("db")) is not None and found.row.access == "read-only",
    ),
    "policy": Work(
        _follow,
        _once(P.POLICY_BEGUN, *CHANGE, P.SIDECAR_WRITTEN),
        lambda admin: (found := admin.volume("db")) is not None and found.row.policy == "gold",
    ),
    "commission": Work(
        _commission,
        _once(P.COMMISSION_BEGUN, *CHANGE, P.SIDECAR_WRITTEN),
        lambda admin: _state(admin, "db") is State.READY,
        keeps=None,
    ),
    "destroy": Work(
        _destroy,
        _once(P.REMOVE_BEGUN, *CHANGE),
        lambda admin: _state(admin, "db") is None and not admin.files("db"),
        keeps=None,
    ),
    "forget": Work(
        _forget, _once(P.FORGET_CLEARED), lambda admin: _state(admin, "db") is None and not admin.files("db"), keeps=None
    ),
    "mend": Work(_mend, _once(P.MEND_COPIED), _is_in_the_trash),
    "sever": Work(
        _sever,
        (*_once(P.SIDECAR_WRITTEN, P.SEVER_BEGUN, *CHANGE, P.SEVER_RECORDED), (P.SIDECAR_WRITTEN, 2)),
        _is_severed,
    ),
}
CASES = [pytest.param(name, point, time, id=f"{name}-{point}-{time}") for name in WORK for point, time in WORK[name].points]


@pytest.fixture
def site(site: Site) -> Site:
    """What is in the trash stays there."""
    config = site.service.config
    config.write_text(config.read_text().replace("trash_retention_s = 0.0", "trash_retention_s = 1000.0"))
    return site


def test_every_point_of_an_order_is_killed_at() -> None:
    own = {point for work in WORK.values() for point, _ in work.points}
    # Of test_growing.py and test_adopting.py.
    others = ("esx.resize.", "guest.growth.", "esx.adopt.", "esx.release.")
    # Where policies are vCenter's: of tests/unit/esx/test_order_crashes.py.
    own.add(P.POLICY_RECORDED)
    assert {point for point in ORDERED if not point.value.startswith(others)} <= own


@pytest.mark.parametrize(("name", "point", "time"), CASES)
def test_killed_at_a_point_of_an_order_its_repeat_ends_it_and_nothing_is_lost(
    site: Site, name: str, point: Point, time: int
) -> None:
    work, call = WORK[name], uuid4()
    site.service.start()
    admin = Administrator(site)
    try:
        other = admin.create("other")
        request = work.prepare(admin)
        site.service.kill()
        site.service.start(point.value, time)
        revived = Revived(site.service)

        told = admin.ask(request, call)
        eventually(revived.died.is_set, f"{point} is passed")
        revived.join()

        assert told.done
        eventually(lambda: work.done(admin), "it is as it was ordered")
        assert admin.ask(request, call).done
        eventually(lambda: _alike(admin), "record and copy say the same")
        untouched = admin.volume(other)
        assert untouched is not None
        assert (untouched.row.state, untouched.row.name) == (State.READY, "other")
        for kept in ("other", *([work.keeps] if work.keeps else [])):
            assert admin.extent(kept).read_bytes()[PLACE:].startswith(DATA)
    finally:
        admin.line.close()


def _alike(admin: Administrator) -> bool:
    """Tell whether a rebuild would find each volume as it is."""
    for copy in _copies(admin):
        found = admin.volume(str(copy.id))
        if found is None:
            return False
        row = found.row
        says = (copy.name, copy.state, copy.options.access, copy.filesystem_uuid)
        stands = (row.name, row.state, row.access, None if found.filesystem_uuid is None else UUID(found.filesystem_uuid))
        if says != stands or copy.generation > row.revision:
            return False
    return True
