"""The audit in the database: it grows at its end, is cut at its old end, and a row that was changed is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import MetadataDamaged, VolumeError
from vmdkvol.volume import VmId
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.store import SqlStore, open_store
from vmdkvol_esx.trail import LIMITS, AuditFilter, Extent, Kept

OLDER = Path(__file__).parent / "older" / "r0004.sql"
ALL = AuditFilter()
REQUEST = UUID(int=7)


def record(number: int, **changed: object) -> AuditRecord:
    made = AuditRecord(
        1000.0 + number, "alice", "admin", "unix", "create-vmgroup", f"group{number}", "done", UUID(int=number), "quota 1 TiB"
    )
    return replace(made, **changed)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vmdkvol.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    opened = open_store(path, HandClock())
    yield opened
    opened.close()


def fill(store: SqlStore, count: int = 5) -> None:
    for number in range(1, count + 1):
        assert store.trail.append(record(number)) == number


def seqs(found: object) -> list[int]:
    assert isinstance(found, tuple)
    return [each.record.seq for each in found]


def older(store: SqlStore, wanted: AuditFilter = ALL) -> list[int]:
    return seqs(store.trail.older(wanted, None, 100))


# --- what is written is read -------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_after_a_restart(store: SqlStore, path: Path) -> None:
    store.trail.append(record(1))
    store.close()
    with closing(open_store(path, HandClock())) as again:
        assert again.trail.older(ALL, None, 10) == (Kept(record(1, seq=1), intact=True),)


def test_the_newest_record_is_first_and_pages_go_on_where_they_ended(store: SqlStore) -> None:
    fill(store)
    assert seqs(store.trail.older(ALL, None, 2)) == [5, 4]
    assert seqs(store.trail.older(ALL, 4, 2)) == [3, 2]
    assert seqs(store.trail.newer(ALL, 0, 2)) == [1, 2]
    assert seqs(store.trail.newer(ALL, 2, 9)) == [3, 4, 5]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param(AuditFilter(since=1002.0), [3, 2], id="since-is-included"),
        pytest.param(AuditFilter(until=1002.0), [1], id="until-is-not"),
        pytest.param(AuditFilter(actor="bob"), [2], id="actor"),
        pytest.param(AuditFilter(actor="10.0.0.7"), [3], id="actor-by-its-source"),
        pytest.param(AuditFilter(actor="ali"), [], id="actor-is-whole"),
        pytest.param(AuditFilter(verb="create-vmgroup"), [3, 2, 1], id="verb"),
        pytest.param(AuditFilter(target="group[12]"), [2, 1], id="target-is-a-pattern"),
        pytest.param(AuditFilter(target="*3"), [3], id="target-by-its-end"),
        pytest.param(AuditFilter(target="GROUP1"), [], id="target-has-its-case"),
        pytest.param(AuditFilter(result="not-permitted"), [2], id="result"),
        pytest.param(AuditFilter(request=UUID(int=(7 << 64) + 3)), [3, 1], id="request-by-any-id-with-its-mark"),
        pytest.param(AuditFilter(request=UUID(int=8 << 64)), [2], id="request-by-another-one"),
        pytest.param(AuditFilter(request=UUID(int=1)), [], id="request-by-an-id-without-a-mark-of-these"),
        pytest.param(AuditFilter(since=1001.0, actor="alice", target="group*", result="done"), [3, 1], id="all-that-is-given"),
    ],
)
def test_a_filter_finds_what_fits_all_of_it(store: SqlStore, wanted: AuditFilter, found: list[int]) -> None:
    store.trail.append(record(1, request_id=UUID(int=(7 << 64) + 1)))
    store.trail.append(record(2, actor="bob", result="not-permitted", request_id=UUID(int=8 << 64)))
    store.trail.append(record(3, source="10.0.0.7", request_id=UUID(int=(7 << 64) + 2)))
    assert older(store, wanted) == found


@pytest.mark.parametrize("text", ["' OR 1=1 --", '" OR "" = "', "%", "_", "group1'; DROP TABLE audit; --", ":most", "\\"])
@pytest.mark.parametrize("field", ["actor", "verb", "target", "result"])
def test_words_of_sql_in_a_filter_are_words(store: SqlStore, field: str, text: str) -> None:
    fill(store, 2)
    assert older(store, AuditFilter(**{field: text})) == []  # type: ignore[arg-type]
    assert older(store) == [2, 1]


def test_words_of_sql_in_a_record_are_words(store: SqlStore) -> None:
    text = "x'); DELETE FROM audit; --"
    store.trail.append(record(1, actor=text, target=text, detail=text))
    assert older(store, AuditFilter(actor=text)) == [1]


@pytest.mark.parametrize("field", sorted(LIMITS))
def test_a_megabyte_of_text_is_cut(store: SqlStore, field: str) -> None:
    store.trail.append(record(1, **{field: "x" * (1 << 20)}))
    (kept,) = store.trail.older(ALL, None, 1)
    assert len(getattr(kept.record, field)) == LIMITS[field]
    assert kept.intact


@pytest.mark.parametrize(
    "text", ["two\nlines", "\x1b[2J", "nul\0nul", "\u202egnp.exe", "\ud800", "\u2028", "\x7f" * 600], ids=ascii
)
def test_what_cannot_be_printed_is_escaped(store: SqlStore, text: str) -> None:
    store.trail.append(record(1, actor=text, target=text, detail=text))
    (kept,) = store.trail.older(ALL, None, 1)
    assert kept.intact
    for told in (kept.record.actor, kept.record.target, kept.record.detail):
        assert told.isprintable()
        assert told.startswith(text[:3] if text[:3].isprintable() else ("\\", "nu", "tw"))


# --- it is only appended to --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'mallory' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 5",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT 2, at, 'mallory', role, source, verb, target, result, request_id, detail, "
        "checksum FROM audit WHERE seq = 2",
        "INSERT INTO audit SELECT 9, at, actor, role, source, verb, target, result, request_id, detail, checksum "
        "FROM audit WHERE seq = 2",
        "UPDATE audit_ends SET head = 2",
        "UPDATE audit_ends SET floor = -1",
        "DELETE FROM audit_ends",
        "INSERT OR REPLACE INTO audit_ends VALUES (1, 5, '', 5, '')",
    ],
)
def test_the_database_itself_refuses_to_change_the_audit(store: SqlStore, path: Path, statement: str) -> None:
    fill(store)
    before = store.trail.older(ALL, None, 100)
    with closing(sqlite3.connect(path)) as plain, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        plain.execute(statement)
    assert store.trail.older(ALL, None, 100) == before


def without_triggers(path: Path, statement: str) -> None:
    """Change the file as somebody does who means it; the schema is put back as it was."""
    with closing(sqlite3.connect(path)) as plain, plain:
        triggers = plain.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            plain.execute(f"DROP TRIGGER {name}")
        plain.execute(statement)
        for _, sql in triggers:
            plain.execute(sql)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        pytest.param("UPDATE audit SET actor = 'mallory' WHERE seq = 3", [3], id="an-actor"),
        pytest.param("UPDATE audit SET at = at + 1 WHERE seq = 3", [3], id="a-time"),
        pytest.param("UPDATE audit SET detail = '', target = target || detail WHERE seq = 3", [3], id="words-moved"),
        pytest.param("UPDATE audit SET request_id = 'no id' WHERE seq = 3", [3], id="an-id-that-is-none"),
        pytest.param("UPDATE audit SET checksum = 'x' WHERE seq = 3", [4, 3], id="a-checksum-and-so-the-next"),
        pytest.param("DELETE FROM audit WHERE seq = 3", [4], id="a-row-is-missing"),
        pytest.param("DELETE FROM audit WHERE seq = 5", [], id="the-last-row-is-missing"),
        pytest.param("UPDATE audit_ends SET head = 6, head_checksum = 'x'", [], id="the-end-says-more"),
    ],
)
def test_a_row_that_was_changed_is_told_and_the_service_still_opens(
    store: SqlStore, path: Path, statement: str, told: list[int]
) -> None:
    fill(store)
    store.close()
    without_triggers(path, statement)
    with closing(open_store(path, HandClock())) as again:
        found = again.trail.older(ALL, None, 100)
        extent = again.trail.extent()
        assert [each.record.seq for each in found if not each.intact] == told
        missing = extent.last - extent.first + 1 - extent.count
        assert (told != []) or missing == 1
        # The trail goes on.
        assert again.trail.append(record(9)) == extent.last + 1


def test_a_schema_without_the_triggers_is_damage(store: SqlStore, path: Path) -> None:
    fill(store)
    store.close()
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("DROP TRIGGER audit_is_not_changed")
    with pytest.raises(MetadataDamaged, match="tables"):
        open_store(path, HandClock())


def test_ends_that_are_gone_are_told_of_and_nothing_is_written(store: SqlStore, path: Path) -> None:
    fill(store)
    store.close()
    without_triggers(path, "DELETE FROM audit_ends")
    with closing(open_store(path, HandClock())) as again:
        for ask in (lambda: again.trail.append(record(6)), again.trail.extent):
            with pytest.raises(MetadataDamaged, match="ends"):
                ask()


def test_a_record_in_the_place_of_the_next_one_is_told_of_as_damage(store: SqlStore, path: Path) -> None:
    fill(store)
    store.close()
    without_triggers(path, "UPDATE audit_ends SET head = 4")
    with closing(open_store(path, HandClock())) as again, pytest.raises(VolumeError, match="takes no record"):
        again.trail.append(record(9))


# --- retention ---------------------------------------------------------------------------------------------------


def test_what_is_forgotten_leaves_a_record_that_says_so(store: SqlStore) -> None:
    fill(store)
    store.trail.cut(3, record(6, verb="forget-audit"))
    found = store.trail.older(ALL, None, 100)
    assert seqs(found) == [6, 5, 4]
    assert all(each.intact for each in found)
    assert found[0].record.verb == "forget-audit"
    extent = store.trail.extent()
    assert extent == Extent(4, 6, 3)


def test_all_may_be_forgotten(store: SqlStore) -> None:
    fill(store)
    store.trail.cut(5, record(6))
    assert older(store) == [6]
    assert store.trail.older(ALL, None, 1)[0].intact


@pytest.mark.parametrize("upto", [-1, 0, 6, 1 << 62])
def test_a_cut_that_forgets_nothing_or_what_is_not_there_does_nothing(store: SqlStore, upto: int) -> None:
    fill(store)
    store.trail.cut(upto, record(6))
    assert older(store) == [5, 4, 3, 2, 1]


def test_a_cut_a_second_time_does_nothing(store: SqlStore) -> None:
    fill(store)
    store.trail.cut(3, record(6))
    store.trail.cut(3, record(7))
    assert older(store) == [6, 5, 4]


def test_what_lies_behind_a_young_record_is_not_old(store: SqlStore) -> None:
    for at in (10.0, 20.0, 500.0, 30.0):
        store.trail.append(record(1, at=at))
    assert [store.trail.last_before(at) for at in (5.0, 15.0, 400.0, 501.0)] == [0, 1, 2, 4]


def test_an_empty_audit_has_nothing(store: SqlStore) -> None:
    extent = store.trail.extent()
    assert extent == Extent(1, 0, 0)
    assert older(store) == []
    assert store.trail.last_before(1e12) == 0


# --- an older database -------------------------------------------------------------------------------------------


def test_a_database_that_the_version_before_wrote_is_brought_up_with_all_that_is_in_it(path: Path) -> None:
    with closing(sqlite3.connect(path)) as plain:
        plain.executescript(OLDER.read_text(encoding="utf-8"))
    with closing(open_store(path, HandClock())) as store:
        assert len(store.page(None, None, 100)) == 5
        (intent,) = store.open_intents()
        assert (intent.volume.int, intent.request) == (3, None)
        assert [each.fingerprint for each in store.identities(VmId(UUID(int=1)))] == ["a"]
        fill(store)
        assert older(store) == [5, 4, 3, 2, 1]
    with closing(open_store(path, HandClock())) as again:
        assert older(again) == [5, 4, 3, 2, 1]
