"""How full a datastore is: the figures, and at which of them an administrator is warned."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.unit.esx.site import DS1, GB
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.cordons import Cordon, Placed
from vmdkvol_esx.filling import row
from vmdkvol_esx.ports import Datastore, DiskPath, DiskRef

STORE = Datastore(DS1, 100 * GB, 60 * GB, True)


def disk(number: int, size: int) -> Placed:
    return Placed(DiskRef(DiskUuid(UUID(int=number)), DiskPath(DS1, f"{number}.vmdk")), size)


ONE, TWO = disk(1, 30 * GB), disk(2, 50 * GB)
TAKEN = {ONE.disk.uuid: 5 * GB, TWO.disk.uuid: 50 * GB}


def test_a_datastore_is_told_with_what_is_promised_and_what_is_taken() -> None:
    found = row(DS1, STORE, (ONE, TWO), TAKEN, Cordon(DS1, "ann", 7.0, "full"), "")
    assert (found.capacity_bytes, found.free_bytes, found.volumes, found.writable) == (100 * GB, 60 * GB, 2, True)
    assert (found.provisioned_bytes, found.used_bytes, found.overcommit) == (80 * GB, 55 * GB, 0.8)
    assert found.cordon is not None
    assert (found.cordon.by, found.cordon.at, found.cordon.reason) == ("ann", 7.0, "full")
    assert (found.problem, found.warnings) == (None, ())


def test_an_empty_one_has_nothing_on_it() -> None:
    found = row(DS1, STORE, (), {}, None, "")
    assert (found.provisioned_bytes, found.used_bytes, found.overcommit, found.volumes, found.cordon) == (0, 0, 0.0, 0, None)


def test_what_disks_take_is_not_known_with_one_of_them_unread() -> None:
    found = row(DS1, replace(STORE, free_bytes=0), (ONE, TWO), {ONE.disk.uuid: 1}, None, "")
    assert found.used_bytes is None
    assert not any("over-committed" in each for each in found.warnings)


def test_one_that_is_not_shown_is_told_by_its_volumes_and_why() -> None:
    found = row(DS1, None, (ONE,), TAKEN, None, "away")
    assert (found.capacity_bytes, found.free_bytes, found.overcommit, found.writable) == (None, None, None, False)
    assert (found.problem, found.warnings, found.provisioned_bytes) == ("away", ("away",), 30 * GB)


@pytest.mark.parametrize(
    ("free", "said"),
    [
        pytest.param(16 * GB, None, id="84-percent"),
        pytest.param(15 * GB, "85 % full: 15gb of 100gb free", id="85-percent"),
        pytest.param(15 * GB + 1, None, id="a-byte-less"),
        pytest.param(0, "100 % full: 0kb of 100gb free", id="full"),
    ],
)
def test_one_is_full_from_85_percent_on(free: int, said: str | None) -> None:
    assert row(DS1, replace(STORE, free_bytes=free), (), {}, None, "").warnings == (() if said is None else (said,))


@pytest.mark.parametrize(
    ("free", "warned"), [pytest.param(25 * GB, False, id="just-enough"), pytest.param(25 * GB - 1, True, id="too-little")]
)
def test_one_is_over_committed_when_its_volumes_may_take_more_than_is_free(free: int, *, warned: bool) -> None:
    found = row(DS1, replace(STORE, free_bytes=free), (ONE, TWO), TAKEN, None, "")
    assert any(each.startswith("over-committed: its volumes may take 25gb more") for each in found.warnings) is warned


def test_thick_disks_promise_nothing_more() -> None:
    taken = {ONE.disk.uuid: 31 * GB}
    assert row(DS1, replace(STORE, free_bytes=16 * GB), (ONE,), taken, None, "").warnings == ()


def test_a_problem_is_the_one_warning() -> None:
    broken = replace(STORE, capacity_bytes=0, free_bytes=0, writable=False, problem="not mounted")
    found = row(DS1, broken, (ONE,), TAKEN, None, "")
    assert (found.warnings, found.overcommit) == (("not mounted",), None)


def test_a_read_only_one_is_told() -> None:
    assert row(DS1, replace(STORE, writable=False), (), {}, None, "").warnings == ("read-only",)
