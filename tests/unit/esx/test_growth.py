"""Whether a disk may become so large: what was found and the size that is asked for, and what is done or said."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.unit.esx.test_settling import READY
from vmdkvol.errors import InvalidSize, MetadataDamaged, NoSpace, NotPermitted, TruthUnknown, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Plan, Step
from vmdkvol.sizes import MAX_SIZE
from vmdkvol.volume import Content, VmId
from vmdkvol_esx.growth import Found, Holding, check, check_size, plan
from vmdkvol_esx.ports import Datastore

GB = 1 << 30
RECORD = replace(READY, size_bytes=GB, content=Content.FORMATTED, filesystem_uuid=UUID(int=5))
THIN, THICK = Found(RECORD, GB), Found(replace(RECORD, options=CreateOptions(diskformat="zeroedthick")), GB)
STORE = Datastore(DatastoreName("ds1"), 10 * GB, 3 * GB, True)
ON_A = Holding(VmId(UUID(int=1)), "host-a", running=True)


@pytest.mark.parametrize("size_bytes", [-512, 0, 511, GB + 1, MAX_SIZE + 512])
def test_what_is_no_disks_size_is_refused(size_bytes: int) -> None:
    with pytest.raises(InvalidSize):
        check_size(size_bytes)


@pytest.mark.parametrize("size_bytes", [512, GB, MAX_SIZE])
def test_what_is_a_disks_size_is_none_of_its_business(size_bytes: int) -> None:
    check_size(size_bytes)


@pytest.mark.parametrize(
    ("found", "size_bytes"),
    [
        pytest.param(THIN, GB, id="the-same-size"),
        pytest.param(THIN, 10 * GB, id="a-thin-one-beyond-what-is-free"),
        pytest.param(THICK, 4 * GB, id="a-thick-one-that-takes-all-that-is-free"),
        pytest.param(replace(THIN, size_bytes=2 * GB), 2 * GB, id="to-what-the-disk-has-already"),
    ],
)
def test_what_has_room_may_grow(found: Found, size_bytes: int) -> None:
    check(found, size_bytes, [STORE])


@pytest.mark.parametrize(
    ("found", "size_bytes", "store", "error", "said"),
    [
        pytest.param(THIN, GB - 512, STORE, InvalidSize, "has 1gb, and no volume is made smaller", id="smaller"),
        pytest.param(
            replace(THIN, size_bytes=2 * GB), GB, STORE, InvalidSize, "has 2gb", id="smaller-than-the-disk-has-become-by-hand"
        ),
        pytest.param(THIN, 10 * GB + 512, STORE, NoSpace, "10gb in all", id="a-thin-one-that-could-never-be-filled"),
        pytest.param(THICK, 4 * GB + 512, STORE, NoSpace, "3gb are free", id="a-thick-one-without-room"),
        pytest.param(THIN, 2 * GB, replace(STORE, writable=False), NotPermitted, "read-only", id="a-read-only-datastore"),
        pytest.param(
            THIN, 2 * GB, replace(STORE, problem="not mounted"), TruthUnknown, "not mounted", id="a-datastore-with-trouble"
        ),
        pytest.param(
            THIN, 2 * GB, replace(STORE, name=DatastoreName("other")), TruthUnknown, "not there", id="a-datastore-that-is-gone"
        ),
        pytest.param(
            replace(THIN, size_bytes=GB - 512),
            2 * GB,
            STORE,
            MetadataDamaged,
            "its record says 1gb",
            id="a-disk-that-has-shrunk",
        ),
    ],
)
def test_what_may_not_grow_is_told_why(
    found: Found, size_bytes: int, store: Datastore, error: type[VolumeError], said: str
) -> None:
    with pytest.raises(error, match=said):
        check(found, size_bytes, [store])


def test_the_same_size_is_no_step() -> None:
    assert plan(THIN, GB) == Plan()


DISK = Step("GrowDisk", "db", "1gb", "2gb")


@pytest.mark.parametrize(
    ("found", "follows"),
    [
        pytest.param(THIN, "at the next mount", id="a-disk-that-nobody-has"),
        pytest.param(replace(THIN, holding=ON_A), "at once on host-a, if it is mounted there", id="a-disk-that-a-machine-has"),
        pytest.param(
            replace(THIN, holding=replace(ON_A, running=False)), "at the next mount", id="a-disk-of-a-machine-that-is-off"
        ),
        pytest.param(
            replace(THIN, record=replace(RECORD, options=CreateOptions(access="read-only")), holding=ON_A),
            "stays as it is: the volume's access is read-only",
            id="a-read-only-volume",
        ),
    ],
)
def test_the_plan_says_when_the_file_system_follows(found: Found, follows: str) -> None:
    assert plan(found, 2 * GB) == Plan((DISK, Step("GrowFilesystem", "db", None, follows)))


@pytest.mark.parametrize("content", [Content.UNFORMATTED, Content.FORMATTING])
def test_a_disk_without_a_file_system_has_none_that_follows(content: Content) -> None:
    assert plan(replace(THIN, record=replace(RECORD, content=content)), 2 * GB) == Plan((DISK,))


def test_a_record_follows_a_disk_that_was_made_larger_by_hand() -> None:
    assert plan(replace(THIN, size_bytes=2 * GB), 2 * GB).steps[0] == DISK
