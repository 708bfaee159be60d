"""A listing asks for the identities of a few of the disks that changed, of each in its turn."""

from __future__ import annotations

from vmdkvol.names import DatastoreName
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.anew import Anew

DISKS = [DiskPath(DatastoreName("ds1"), f"vmdkvol/db-{number}.vmdk") for number in range(5)]


def test_a_few_changed_ones_are_all_asked_for() -> None:
    assert Anew(3).chosen(DISKS[:3]) == set(DISKS[:3])


def test_of_many_only_so_many_are() -> None:
    assert len(Anew(3).chosen(DISKS)) == 3


def test_each_of_those_that_stay_changed_has_its_turn() -> None:
    anew = Anew(2)

    assert anew.chosen(DISKS) | anew.chosen(DISKS) | anew.chosen(DISKS) == set(DISKS)


def test_one_that_changes_for_the_first_time_comes_before_those_that_were_asked_for() -> None:
    anew = Anew(2)
    anew.chosen(DISKS[:2])

    assert DISKS[4] in anew.chosen([*DISKS[:2], DISKS[4]])


def test_one_that_came_back_is_a_new_one() -> None:
    anew = Anew(1)
    anew.chosen(DISKS[:1])
    anew.forget(DISKS[0])

    assert anew.chosen(DISKS[:2]) == {DISKS[0]}
