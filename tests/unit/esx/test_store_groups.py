"""What a rebuild takes over of the vmgroups: all of them or none, and then nobody sees what was not for everybody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.contract.store_benches import new_record
from tests.doubles.hand_clock import HandClock
from vmdkvol.names import ALL_DATASTORES, DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmgroupId, VmId
from vmdkvol_esx.records import Group, Member, Right, Vmgroup
from vmdkvol_esx.store import SqlStore, open_store, read_groups

RED = VmgroupId(UUID(int=0x4ED))
A, B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))
OLDER = Path(__file__).parent / "older" / "r0004.sql"
WHOLE = Group(
    Vmgroup(RED, "red", DatastoreName("ds1"), "ours", (("size", "1gb"),), ("gold",)),
    (Right(DatastoreName("ds1"), True, 1 << 30, 2 << 30, ("gold",)),),
    (Member(A, "host-a"),),
)
EVERYTHING = (Right(ALL_DATASTORES, allow_create=True),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vmdkvol.db"


@pytest.fixture
def fresh() -> Iterator[SqlStore]:
    """A new database into which volumes of red and of ``_DEFAULT`` came back."""
    with closing(open_store(None, HandClock())) as store:
        store.restore(replace(new_record(state=State.READY), vmgroup=RED), new_record(state=State.READY))
        yield store


def old(path: Path, group: Group = WHOLE) -> None:
    with closing(open_store(path, HandClock())) as store:
        store.put_group(group, expect=None)


def test_groups_come_back_whole(path: Path, fresh: SqlStore) -> None:
    old(path)
    found = read_groups(path)

    assert fresh.adopt_groups(found) == ()

    assert fresh.groups() == found
    assert fresh.group_by_id(RED) == WHOLE
    assert fresh.vmgroup(A).id == RED
    assert fresh.group_of(B).rights == EVERYTHING
    # An agent's number of the lost database, or of a moment ago, is too old now.
    assert fresh.vmgroup(A).changed == fresh.change_number()


def test_with_a_group_of_which_only_the_id_is_known_nobody_is_let_in_by_default(fresh: SqlStore) -> None:
    assert fresh.adopt_groups(None) == (RED,)

    assert fresh.group_by_id(RED) == Group(Vmgroup(RED, str(RED), None))
    assert fresh.group_of(A).rights == ()


def test_a_site_that_has_only_the_default_group_goes_on_as_it_did(path: Path) -> None:
    with closing(open_store(None, HandClock())) as store:
        store.restore(new_record(state=State.READY))

        assert store.adopt_groups(None) == ()
        assert store.group_of(A).rights == EVERYTHING


def test_a_default_group_that_was_removed_lets_nobody_in(path: Path, fresh: SqlStore) -> None:
    old(path)
    with closing(open_store(path, HandClock())) as store:
        store.delete_group(DEFAULT_VMGROUP, expect=None)

    assert fresh.adopt_groups(read_groups(path)) == ()

    assert fresh.group_of(B).rights == ()
    assert fresh.group_of(A) == replace(WHOLE, members=())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE rights SET total_bytes = NULL WHERE vmgroup <> '11111111-1111-1111-1111-111111111111'",
        "UPDATE members SET vm = '00000000-0000-0000-0000-00000000000b'",
        "UPDATE vmgroups SET name = 'blue' WHERE name = 'red'",
        "DROP TABLE members",
    ],
)
def test_of_groups_that_cannot_all_be_read_none_is_taken_over(path: Path, damage: str) -> None:
    old(path)
    with closing(sqlite3.connect(path)) as plain:
        plain.execute(damage)
        plain.commit()

    assert read_groups(path) is None


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 100])
def test_what_is_no_database_of_ours_has_no_groups(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)

    assert read_groups(path) is None


def test_a_database_of_before_there_were_groups_has_none_to_take_over(path: Path) -> None:
    with closing(sqlite3.connect(path)) as plain:
        plain.executescript(OLDER.read_text(encoding="utf-8"))

    assert read_groups(path) is None
