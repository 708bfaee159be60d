"""The service dies in the middle of an order: the next one ends with record and copy alike, and the repeat succeeds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, A, B, Killed
from tests.unit.esx.tenants import EVERYTHING, RED
from tests.unit.esx.test_crashes import TASK, Passed
from tests.unit.esx.test_rebuilding import rebuilt
from vmdkvol.adoption_messages import AdoptDisk, ReleaseVolume
from vmdkvol.errors import MetadataDamaged, VolumeNotFound
from vmdkvol.points import Point
from vmdkvol.policy_messages import SetVolumePolicy
from vmdkvol.volume import State, new_disk_uuid
from vmdkvol.volume_orders import (
    DestroyVolume,
    DetachVolume,
    MoveVolume,
    RenameVolume,
    RestoreVolume,
    SetVolume,
    TrashVolume,
)
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import ChangePolicy, CreateDisk, DeleteDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.records import Group, Vmgroup
from vmdkvol_esx.storage_policies import Followed, LocalPolicy

P = Point


@dataclass(frozen=True, slots=True)
class Work:
    """One order: what is there before, the points that it passes, and what must be there in the end."""

    prepare: Callable[[AdminSite], Any]
    points: tuple[Point, ...]
    done: Callable[[AdminSite], bool]


def _made(site: AdminSite) -> str:
    volume = site.create("db").id
    site.format(volume)
    return str(volume)


def _restore(site: AdminSite) -> Any:
    volume = _made(site)
    site.remove(site.get("db").id)
    return RestoreVolume(volume=volume, new_name="back")


def _rename(site: AdminSite) -> Any:
    return RenameVolume(volume=_made(site), new_name="db2")


def _move(site: AdminSite) -> Any:
    site.store.put_group(Group(Vmgroup(RED, "red", DS1), EVERYTHING), expect=None)
    return MoveVolume(volume=_made(site), to_vmgroup="red")


def _set(site: AdminSite) -> Any:
    return SetVolume(volume=_made(site), options=(("access", "read-only"),))


def _policy(site: AdminSite) -> Any:
    site.hypervisor.policies = ("gold", "silver")
    site.hypervisor.local_policies = lambda: (LocalPolicy("gold"), LocalPolicy("silver"))
    volume = site.create("db", policy="gold").id
    site.format(volume)
    site.attach(volume)
    return SetVolumePolicy(volume=str(volume), policy="silver")


def _is_under_silver(site: AdminSite) -> bool:
    (record,) = site.records()
    seen = site.hypervisor.followed([disk_ref(record)])[record.disk_uuid]
    return isinstance(seen, Followed) and (record.options.policy, seen.policy) == ("silver", "silver")


def _policy_to_come(site: AdminSite) -> Any:
    site.hypervisor.policies = ("gold", "silver")
    return SetVolumePolicy(volume=str(site.create("db", policy="gold").id), policy="silver")


def _silver_comes(site: AdminSite) -> bool:
    (record,) = site.records()
    return (record.options.policy, record.policy_pending) == ("silver", True)


def _sever(site: AdminSite) -> Any:
    volume = _made(site)
    site.attach(site.get("db").id)
    return DetachVolume(volume=volume, force=True, i_know="host-a")


def _sever_silent(site: AdminSite) -> Any:
    order = _sever(site)
    site.hypervisor.unread(A)
    return order


def _trash(site: AdminSite) -> Any:
    return TrashVolume(volume=_made(site))


def _destroy(site: AdminSite) -> Any:
    volume = _made(site)
    site.remove(site.get("db").id)
    return DestroyVolume(volume=volume, i_know="db")


def _forget(site: AdminSite) -> Any:
    volume = _made(site)
    (record,) = site.records()
    site.hypervisor.lose(disk_path(record))
    site.store.update(replace(record, state=State.LOST), expect=record.generation)
    return DestroyVolume(volume=volume, i_know="db")


def _is_gone(site: AdminSite) -> bool:
    truth = site.hypervisor.truth()
    return not site.records() and not truth.disks and not truth.sidecars


def _is_severed(site: AdminSite) -> bool:
    (record,) = site.records()
    return record.last_vm is None and record.filesystem_uuid is None and len(record.copied_uuids) == 1


def _adopt(site: AdminSite) -> Any:
    ref = DiskRef(new_disk_uuid(uuid4()), DiskPath(DS1, "theirs/x.vmdk"))
    site.hypervisor.submit(CreateDisk(ref, 1 << 30, "thin", {}), uuid4())
    return AdoptDisk(disk=str(ref.path), vmgroup="_DEFAULT", name="db")


def _release(site: AdminSite) -> Any:
    site.order(_adopt(site))
    return ReleaseVolume(volume="db")


def _is_given_back(site: AdminSite) -> bool:
    truth = site.hypervisor.truth()
    return (
        not site.records() and not truth.sidecars and [disk.ref.path.path for disk in truth.disks.values()] == ["theirs/x.vmdk"]
    )


WORK = {
    "adopt": Work(
        _adopt,
        (P.ADOPT_RECORDED, P.SIDECAR_WRITTEN),
        lambda site: [(each.name, each.path, each.state) for each in site.records()] == [("db", "theirs/x.vmdk", State.READY)],
    ),
    "release": Work(_release, (P.RELEASE_CLEARED,), _is_given_back),
    "restore": Work(
        _restore,
        (P.SIDECAR_WRITTEN, P.RESTORE_RECORDED, P.SIDECAR_WRITTEN),
        lambda site: [(each.name, each.state) for each in site.records()] == [("back", State.READY)],
    ),
    "rename": Work(
        _rename,
        (P.SIDECAR_WRITTEN, P.RENAME_RECORDED, P.SIDECAR_WRITTEN),
        lambda site: site.records()[0].name == "db2",
    ),
    "move": Work(
        _move,
        (P.SIDECAR_WRITTEN, P.MOVE_RECORDED, P.SIDECAR_WRITTEN),
        lambda site: [(each.name, each.vmgroup) for each in site.records()] == [("db", RED)],
    ),
    "set": Work(_set, (P.SET_RECORDED, P.SIDECAR_WRITTEN), lambda site: site.records()[0].options.access == "read-only"),
    "policy": Work(_policy, (P.POLICY_BEGUN, *TASK, P.SIDECAR_WRITTEN), _is_under_silver),
    "policy-to-come": Work(_policy_to_come, (P.POLICY_RECORDED, P.SIDECAR_WRITTEN), _silver_comes),
    "trash": Work(
        _trash,
        (P.SIDECAR_WRITTEN, P.REMOVE_TRASHED),
        lambda site: [(each.state, site.copy_of(each).state) for each in site.records()] == [(State.TRASHED, State.TRASHED)],
    ),
    "destroy": Work(_destroy, (P.REMOVE_BEGUN, *TASK), _is_gone),
    "forget": Work(_forget, (P.FORGET_CLEARED,), _is_gone),
    "sever": Work(_sever, (P.SIDECAR_WRITTEN, P.SEVER_BEGUN, *TASK, P.SEVER_RECORDED, P.SIDECAR_WRITTEN), _is_severed),
    "sever-silent": Work(_sever_silent, (P.SIDECAR_WRITTEN, P.SEVER_RECORDED, P.SIDECAR_WRITTEN), _is_severed),
}
DEATHS = [
    pytest.param(name, nth, id=f"{name}-{point}-{nth}") for name, work in WORK.items() for nth, point in enumerate(work.points)
]
# Orders after which the volume is to be used.
KEEPING = ("restore", "rename", "move", "set", "policy", "policy-to-come", "sever", "sever-silent")


def _ready(name: str) -> tuple[AdminSite, Any]:
    site = AdminSite()
    order = WORK[name].prepare(site)
    for change in (DetachDisk, DeleteDisk, ChangePolicy):
        site.hypervisor.takes(change, 1.0)
    return site, order


def _settled(site: AdminSite) -> bool:
    """Tell whether the copy of each volume says what its record says, as a rebuild reads it; its number may be older."""
    kept = [(record, site.copy_of(record)) for record in site.records() if record.state in (State.READY, State.TRASHED)]
    alike = all(replace(copy, generation=record.generation, last_vm=record.last_vm) == record for record, copy in kept)
    return alike and all(copy.generation <= record.generation for record, copy in kept) and not site.store.open_intents()


@pytest.mark.parametrize("name", list(WORK))
def test_the_points_of_the_order_are_these(name: str) -> None:
    site, order = _ready(name)
    passed = Passed()
    site.restart(passed)
    site.order(order)
    assert tuple(passed.points) == WORK[name].points
    assert WORK[name].done(site)


@pytest.mark.parametrize(("name", "nth"), DEATHS)
def test_after_a_death_record_and_copy_agree_and_the_repeat_succeeds(name: str, nth: int) -> None:
    site, order = _ready(name)
    site.restart(Passed(nth))
    with pytest.raises(Killed):
        site.order(order)
    site.restart()
    site.check()
    site.clock.sleep(1.5)
    site.calm_down()
    assert _settled(site)
    # Gone is gone: whoever destroys it again hears that there is no such volume.
    with suppress(VolumeNotFound):
        site.order(order)
    assert WORK[name].done(site)
    assert _settled(site)
    site.check_settled()


@pytest.mark.parametrize(("name", "nth"), [(name, nth) for name in KEEPING for nth in range(len(WORK[name].points))])
def test_a_death_and_a_lost_database_empty_no_volume_that_is_wanted(name: str, nth: int) -> None:
    """The retention was over when the order came: a rebuild that found the volume in the trash would delete it at once."""
    site, order = _ready(name)
    (disk,) = site.hypervisor.truth().disks
    site.clock.skip(2000.0)
    site.restart(Passed(nth))
    with pytest.raises(Killed):
        site.order(order)
    rebuilt(site)
    for _ in range(3):
        site.housekeeping.scan()
    assert set(site.hypervisor.truth().disks) == {disk}


@pytest.mark.parametrize("nth", range(2, len(WORK["restore"].points)))
def test_after_a_recorded_restore_a_rebuild_finds_the_volume_out_of_the_trash(nth: int) -> None:
    site, order = _ready("restore")
    site.restart(Passed(nth))
    with pytest.raises(Killed):
        site.order(order)
    rebuilt(site)
    assert WORK["restore"].done(site)


@pytest.mark.parametrize("nth", [nth for nth, point in enumerate(WORK["sever"].points) if point is not P.SEVER_BEGUN])
def test_after_a_severance_and_a_lost_database_the_file_system_is_checked(nth: int) -> None:
    site, order = _ready("sever")
    site.restart(Passed(nth))
    with pytest.raises(Killed):
        site.order(order)
    rebuilt(site)
    (record,) = site.records()
    assert record.filesystem_uuid is None


def test_a_restore_that_a_death_cut_off_has_its_whole_time_to_be_ordered_again() -> None:
    site, order = _ready("restore")
    site.clock.skip(2000.0)
    site.restart(Passed(0))
    with pytest.raises(Killed):
        site.order(order)
    site.restart()
    for _ in range(3):
        site.housekeeping.scan()
    site.order(order)
    assert WORK["restore"].done(site)


@pytest.mark.parametrize("nth", range(len(WORK["sever"].points)))
def test_after_a_death_in_the_middle_of_a_severance_no_two_machines_have_the_disk(nth: int) -> None:
    """I2: whatever the death left, the other host gets the disk once it is off the first, and the first is refused."""
    site, order = _ready("sever")
    held = site.record(site.get("db").id)
    site.restart(Passed(nth))
    with pytest.raises(Killed):
        site.order(order)
    site.restart()
    site.order(order)
    attached = site.attach(held.id, B)
    assert attached.filesystem_uuid is None
    assert list(site.hypervisor.truth().holders.values()) == [B]
    site.check_settled()


LAST = {"restore": P.RESTORE_RECORDED, "rename": P.RENAME_RECORDED, "move": P.MOVE_RECORDED, "sever": P.SEVER_RECORDED}


@pytest.mark.parametrize("name", list(LAST))
def test_an_order_whose_last_copy_was_not_written_is_known_beside_an_old_database(name: str) -> None:
    """F40: the copy that came first has the generation of before. Left so, it would not pass for newer than a backup."""
    site, order = _ready(name)
    (old,) = site.records()
    site.restart(Passed(WORK[name].points.index(LAST[name])))
    with pytest.raises(Killed):
        site.order(order)
    site.restart()
    site.housekeeping.scan()

    site.store.delete(old.id, expect=site.record(old.id).generation)
    site.store.restore(old)
    for _ in range(4):
        site.restart()
        site.housekeeping.scan()
        site.clock.skip(2000.0)

    assert old.disk_uuid in site.hypervisor.truth().disks
    with pytest.raises(MetadataDamaged, match="is older than its sidecar"):
        site.order(RestoreVolume(volume=str(old.id)) if name == "restore" else SetVolume(volume=str(old.id), unset=("label",)))
