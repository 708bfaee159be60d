"""The audit of a database that is rebuilt: what can be read of it goes on in the new one, and what is lost is said."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.store import Carried, SqlStore, old_audit, open_store
from vmdkvol_esx.trail import AuditFilter, Kept

ALL = AuditFilter()
MANY = 900
PAGE = 4096


def record(number: int) -> AuditRecord:
    return AuditRecord(
        1000.0 + number, "alice", "admin", "unix", "create-vmgroup", f"<group {number}>", "done", UUID(int=number), "x" * 60
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "vmdkvol.db"
    with closing(open_store(path, HandClock())) as store:
        fill(store, MANY)
    return path


@pytest.fixture
def old(filled: Path, tmp_path: Path) -> Path:
    """A closed database with an audit of many records."""
    return Path(shutil.copy(filled, tmp_path / "vmdkvol.db"))


def fill(store: SqlStore, count: int) -> None:
    for number in range(1, count + 1):
        store.trail.append(record(number))


@pytest.fixture
def new(tmp_path: Path) -> Iterator[SqlStore]:
    with closing(open_store(tmp_path / "new.db", HandClock())) as store:
        yield store


def carry(path: Path, store: SqlStore) -> Carried:
    with old_audit(path) as found:
        assert found is not None
        return store.trail.adopt(found.ends, found.rows())


def everything(store: SqlStore) -> list[Kept]:
    found: list[Kept] = []
    while page := store.trail.newer(ALL, found[-1].record.seq if found else 0, 500):
        found += page
    return found


def spoil(path: Path, number: int) -> None:
    """Zero the page that has this record, as a lost write does."""
    content = bytearray(path.read_bytes())
    at = content.index(f"<group {number}>".encode()) // PAGE * PAGE
    content[at : at + PAGE] = bytes(PAGE)
    path.write_bytes(content)


def by_hand(path: Path, *statements: str) -> None:
    """Do to the database what nobody may, without the triggers that are against it."""
    with closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_whole_audit_is_taken_over_and_goes_on_as_if_nothing_had_been(old: Path, new: SqlStore) -> None:
    assert carry(old, new) == Carried(MANY, 0)

    new.trail.append(record(MANY + 1))

    found = everything(new)
    assert [each.record.seq for each in found] == list(range(1, MANY + 2))
    assert all(each.intact for each in found)
    assert found[0].record.target == "<group 1>"


@pytest.mark.parametrize("spoilt", [[450], [200, 450, 700], [1], [1, 40, 450]])
def test_what_lies_before_and_behind_damaged_pages_is_taken_over_and_how_much_is_lost_is_known(
    old: Path, new: SqlStore, spoilt: list[int]
) -> None:
    for number in spoilt:
        spoil(old, number)

    carried = carry(old, new)

    assert carried.lost is not None
    assert 0 < carried.lost < 200
    assert carried.kept + carried.lost == MANY
    extent = new.trail.extent()
    assert (extent.last, extent.last - extent.first + 1 - extent.count) == (MANY, carried.lost)
    assert not {f"<group {number}>" for number in spoilt} & {each.record.target for each in everything(new)}


def test_beside_a_gap_the_record_behind_it_is_not_vouched_for_and_all_others_are(old: Path, new: SqlStore) -> None:
    spoil(old, 450)
    carry(old, new)

    found = everything(new)

    behind = [one.record.seq for before, one in zip(found, found[1:], strict=False) if before.record.seq + 1 != one.record.seq]
    assert [each.record.seq for each in found if not each.intact] == behind
    assert len(behind) == 1


def test_after_an_end_that_is_lost_the_next_record_goes_on_behind_it(old: Path, new: SqlStore) -> None:
    spoil(old, MANY)
    carried = carry(old, new)

    assert new.trail.append(record(MANY + 1)) == MANY + 1

    assert carried.lost
    assert everything(new)[-1] == Kept(new.trail.older(ALL, None, 1)[0].record, intact=True)


def test_a_record_that_somebody_changed_is_not_made_right_by_a_rebuild(old: Path, new: SqlStore) -> None:
    by_hand(old, "UPDATE audit SET actor = 'mallory' WHERE seq = 450")
    carry(old, new)
    assert [each.record.seq for each in everything(new) if not each.intact] == [450]


def test_records_that_somebody_took_away_are_told_as_lost(old: Path, new: SqlStore) -> None:
    by_hand(old, "DELETE FROM audit WHERE seq BETWEEN 100 AND 109", f"DELETE FROM audit WHERE seq = {MANY}")
    assert carry(old, new) == Carried(MANY - 11, 11)


def test_what_retention_had_forgotten_is_not_lost(old: Path, new: SqlStore) -> None:
    with closing(open_store(old, HandClock())) as store:
        store.trail.cut(300, record(1))

    assert carry(old, new) == Carried(MANY - 300 + 1, 0)
    assert new.trail.extent().first == 301
    assert all(each.intact for each in everything(new))


def test_without_its_ends_the_records_are_kept_and_nobody_knows_how_many_there_were(old: Path, new: SqlStore) -> None:
    by_hand(old, "DELETE FROM audit_ends")
    assert carry(old, new) == Carried(MANY, None)
    assert new.trail.append(record(MANY + 1)) == MANY + 1


def test_an_empty_audit_is_taken_over(tmp_path: Path, new: SqlStore) -> None:
    open_store(tmp_path / "empty.db", HandClock()).close()
    assert carry(tmp_path / "empty.db", new) == Carried(0, 0)
    assert new.trail.append(record(1)) == 1


def _no_file(path: Path) -> None:
    path.unlink()


def _foreign(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _no_table(path: Path) -> None:
    by_hand(path, "DROP TABLE audit")


def _first_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:PAGE] = bytes(PAGE - 100)
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [_no_file, _foreign])
def test_where_there_is_no_database_there_is_no_audit(old: Path, harm: Callable[[Path], None]) -> None:
    harm(old)
    with old_audit(old) as found:
        assert found is None


@pytest.mark.parametrize("harm", [_no_table, _first_page])
def test_what_cannot_be_read_at_all_is_nothing_and_no_error(old: Path, new: SqlStore, harm: Callable[[Path], None]) -> None:
    harm(old)
    with old_audit(old) as found:
        kept = 0 if found is None else new.trail.adopt(found.ends, found.rows()).kept
    assert kept == 0
    assert new.trail.append(record(1)) > 0


def test_text_that_is_no_text_any_more_costs_its_record_alone(old: Path, new: SqlStore) -> None:
    content = old.read_bytes()
    at = content.index(b"<group 450>")
    old.write_bytes(content[:at] + b"\xff\xfe" + content[at + 2 :])
    assert carry(old, new) == Carried(MANY - 1, 1)
