"""The database's file: damage, foreign files, full disks, locks, kill -9. What is not whole is never believed."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, select

from vmdkvol.clock import SystemClock
from vmdkvol.errors import Busy, MetadataDamaged, NoSpace, StaleRequest, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VmId, VolumeId
from vmdkvol_esx.ports import DeleteDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.records import Group, Intent, Right, Vmgroup, VolumeRecord
from vmdkvol_esx.store import SqlStore, check_not_newer, open_store
from vmdkvol_esx.store.engine import Database
from vmdkvol_esx.store.opening import _fingerprint
from vmdkvol_esx.store.schema import intent_to_row, metadata
from vmdkvol_esx.store.statements import Statement, Transaction

CLOCK = SystemClock()
VM = VmId(UUID(int=1))


def record(number: int, state: State = State.READY) -> VolumeRecord:
    return VolumeRecord(
        id=VolumeId(UUID(int=number)),
        vmgroup=DEFAULT_VMGROUP,
        name=f"db{number}",
        datastore=DatastoreName("ds1"),
        path=f"vmdkvol/x-{number}.vmdk",
        disk_uuid=DiskUuid(UUID(int=1000 + number)),
        size_bytes=1 << 30,
        state=state,
        content=Content.FORMATTED,
        filesystem_uuid=UUID(int=2000 + number),
        options=CreateOptions(),
        generation=7,
        created_at=1.0,
        created_by="host",
    )


def removing(of: VolumeRecord) -> Intent:
    disk = DiskRef(of.disk_uuid, DiskPath(of.datastore, of.path))
    return Intent(UUID(int=3000 + of.id.int), of.id, DeleteDisk(disk), VM, 1.0, before=of)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vmdkvol.db"


@contextmanager
def opened(path: Path, wait_s: float = 5.0) -> Iterator[SqlStore]:
    store = open_store(path, CLOCK, wait_s=wait_s)
    try:
        yield store
    finally:
        store.close()


def filled(path: Path) -> tuple[object, ...]:
    """Make a database with some volumes and an open intent; return what a reader sees."""
    with opened(path) as store:
        for number in range(1, 6):
            store.restore(record(number))
        store.begin(removing(record(3)), replace(record(3), state=State.REMOVING, generation=8))
        return seen(store)


def seen(store: SqlStore) -> tuple[object, ...]:
    return (store.page(None, None, 100), store.open_intents())


def refused(path: Path) -> MetadataDamaged:
    with pytest.raises(MetadataDamaged) as caught, opened(path):
        pass
    return caught.value


# --- a new file --------------------------------------------------------------------------------------------------


def test_a_new_database_is_for_its_owner_only(path: Path) -> None:
    filled(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_database_half_made_by_a_killed_process_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("vmdkvol.db.new").write_bytes(b"half")
    filled(path)
    assert {file.name for file in path.parent.iterdir()} <= {"vmdkvol.db", "vmdkvol.db-wal", "vmdkvol.db-shm"}


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_log_without_its_database_is_not_played_into_a_new_one(path: Path, suffix: str) -> None:
    path.parent.mkdir()
    Path(f"{path}{suffix}").write_bytes(b"what is left of the lost one")
    assert suffix in refused(path).text
    assert not path.exists()


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TruthUnknown, match="cannot be made"), opened(tmp_path / "file" / "x.db"):
        pass


def test_the_tables_are_those_of_the_migrations(path: Path) -> None:
    with closing(Database(None)) as database, database.altering() as connection:
        from vmdkvol_esx.store import migrations

        migrations.upgrade(connection)
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    # SQLite makes a unique constraint an index without a name, which the comparison does not know.
    assert [difference for difference in found if "alembic_version" not in str(difference)] == []


# A file that a service of that schema wrote, as SQLite tells it: three volumes, one on its way out, and a token.
R0004 = (Path(__file__).parent / "older" / "r0004_default.sql").read_text(encoding="utf-8")


def of_r0004(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as plain:
        plain.executescript(R0004)


def test_a_database_of_schema_4_is_brought_up_and_its_machines_may_what_they_could(path: Path) -> None:
    of_r0004(path)

    with opened(path) as store:
        assert store.page(None, None, 100) == (record(1), record(2), replace(record(3), state=State.REMOVING, generation=8))
        assert store.open_intents() == (removing(record(3)),)
        assert [ticket.name for ticket in store.tickets()] == ["host-a"]
        (default,) = store.groups()
    assert default == Group(
        Vmgroup(DEFAULT_VMGROUP, "_DEFAULT", DatastoreName("ds1")), (Right(DatastoreName("_ALL_DS"), allow_create=True),)
    )


def test_a_database_that_was_brought_up_is_one_that_was_made(path: Path) -> None:
    of_r0004(path)
    with opened(path):
        pass
    fresh = path.with_name("fresh.db")
    with opened(fresh):
        pass

    def schema(of: Path) -> list[object]:
        with closing(sqlite3.connect(of)) as plain:
            return plain.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()

    assert schema(path) == schema(fresh)


@pytest.mark.integration
def test_kill_9_in_the_change_to_our_schema_leaves_the_old_one(path: Path) -> None:
    of_r0004(path)
    script = KILLED.replace("PATH", str(path))

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL

    with closing(sqlite3.connect(path)) as plain:
        left = "\n".join(plain.iterdump())
    assert left in R0004
    with opened(path) as store:
        assert len(store.page(None, None, 100)) == 3


KILLED = """
import os, signal
from pathlib import Path
from vmdkvol_esx.store import open_store, opening
from vmdkvol.clock import SystemClock

opening.check_records = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
open_store(Path("PATH"), SystemClock())
"""


def test_a_database_of_the_first_schema_is_brought_up_with_its_volumes(path: Path) -> None:
    of_r0004(path)
    with closing(Database(path)) as database, database.altering() as connection:
        for table in ("datastores", "identities", "tokens"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("ALTER TABLE volumes DROP COLUMN copied_uuids")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        connection.exec_driver_sql(f"PRAGMA user_version = {_fingerprint(connection)}")

    with opened(path) as store:
        assert len(store.page(None, None, 100)) == 3
        assert store.datastore_ids() == {}
        assert (store.identities(), store.tickets()) == ((), ())
        assert [group.vmgroup.name for group in store.groups()] == ["_DEFAULT"]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda store: store.find(DEFAULT_VMGROUP, "db1"), id="by-name"),
        pytest.param(lambda store: store.elsewhere(DEFAULT_VMGROUP, "db1"), id="without-its-datastore"),
        pytest.param(lambda store: store.volume(VolumeId(UUID(int=1))), id="by-id"),
        pytest.param(lambda store: store.with_disk(DiskUuid(UUID(int=1001))), id="by-disk"),
        pytest.param(lambda store: store.open_intent(VolumeId(UUID(int=1))), id="open-intent"),
        pytest.param(lambda store: store.page(DEFAULT_VMGROUP, None, 100, store.change_number()), id="what-changed"),
        pytest.param(lambda store: store.page(DEFAULT_VMGROUP, VolumeId(UUID(int=1)), 100, 0), id="what-changed-after"),
        pytest.param(lambda store: store.begin(removing(raised(1)), raised(1)), id="begin"),
        pytest.param(lambda store: store.update(raised(1), expect=7), id="update"),
    ],
)
def test_no_look_at_one_volume_reads_them_all(path: Path, ask: Callable[[SqlStore], object]) -> None:
    """SQLite takes an index of some rows only for a query with its condition word by word, not with parameters in it."""
    filled(path)
    sent: list[str] = []

    def listen(connection: sqlite3.Connection, _: object) -> None:
        # With the values that the statement was given.
        connection.set_trace_callback(sent.append)

    event.listen(Engine, "connect", listen)
    try:
        with opened(path) as store:
            sent.clear()
            ask(store)
    finally:
        event.remove(Engine, "connect", listen)

    with closing(sqlite3.connect(path)) as plain:
        asked = [statement for statement in sent if statement.lstrip().startswith(("SELECT", "UPDATE"))]
        plans = {line[3] for each in asked for line in plain.execute(f"EXPLAIN QUERY PLAN {each}")}
    assert asked
    assert {plan for plan in plans if plan.startswith("SCAN") and "counters" not in plan} == set()


def raised(number: int) -> VolumeRecord:
    before = record(number)
    return replace(before, generation=before.generation + 1)


def test_every_table_is_strict(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as plain:
        tables = plain.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name != 'sqlite_schema'")
        assert {name for name, strict in tables if not strict} == {"alembic_version"}


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("query_only", 0)]
)
def test_the_writer_is_durable_and_strict(path: Path, pragma: str, value: object) -> None:
    filled(path)
    with closing(Database(path)) as database, database.altering() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


@pytest.fixture
def failing() -> Iterator[list[str]]:
    """Words of SQL that no connection made meanwhile carries out."""
    words: list[str] = []

    def allow(action: int, what: str | None, *_: object) -> int:
        failed = action == sqlite3.SQLITE_TRANSACTION and what in words
        return sqlite3.SQLITE_DENY if failed else sqlite3.SQLITE_OK

    def listen(connection: sqlite3.Connection, _: object) -> None:
        connection.set_authorizer(allow)

    event.listen(Engine, "connect", listen)
    yield words
    event.remove(Engine, "connect", listen)


@pytest.mark.parametrize("begin", [Database.writing, Database.reading])
def test_a_transaction_that_could_not_be_ended_is_in_nobody_s_way(
    path: Path, failing: list[str], begin: Callable[[Database], AbstractContextManager[Transaction]]
) -> None:
    """A disk that fails at COMMIT may fail at ROLLBACK, too."""
    filled(path)
    with closing(Database(path)) as database:
        failing += ["COMMIT", "ROLLBACK"]
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"), begin(database):
            pass
        failing.clear()

        # More than there are connections to read.
        for _ in range(20):
            with begin(database) as transaction:
                assert transaction.all(Statement(select(metadata.tables["vmgroups"]))) != []


@pytest.mark.integration
def test_a_start_on_our_own_schema_does_not_load_alembic(path: Path) -> None:
    filled(path)
    code = (
        "import sys; from pathlib import Path\n"
        "from vmdkvol.clock import SystemClock; from vmdkvol_esx.store import open_store\n"
        f"open_store(Path({str(path)!r}), SystemClock()).close(); print('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- damage ------------------------------------------------------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x5a" * 5000)


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")


def sql(statement: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as plain:
            plain.execute(statement)
            plain.commit()

    run.__name__ = statement.lower()[:40]
    return run


DAMAGES = [
    empty,
    garbage,
    zeroed,
    halved,
    foreign,
    sql("DROP TABLE intents"),
    sql("DROP TABLE alembic_version"),
    sql("UPDATE alembic_version SET version_num = '9999'"),
    sql("UPDATE volumes SET generation = 6 WHERE name = 'db1'"),
    sql("UPDATE volumes SET content = 'unformatted' WHERE name = 'db1'"),
    sql("UPDATE intents SET change = replace(change, 'x-3', 'x-4')"),
    sql("DELETE FROM vmgroups"),
    sql("UPDATE vmgroups SET default_datastore = 'ds2'"),
    sql("UPDATE rights SET datastore = 'ds1'"),
    sql("UPDATE rights SET total_bytes = 5"),
    sql("INSERT INTO members VALUES ('00000000-0000-0000-0000-000000000001', (SELECT id FROM vmgroups), 'x', 'no')"),
    sql("PRAGMA application_id = 1"),
    sql("DROP INDEX live_names"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_f40_a_damaged_database_is_refused_with_path_and_remedy(path: Path, damage: Callable[[Path], None]) -> None:
    filled(path)
    damage(path)
    before = path.read_bytes()
    error = refused(path)
    assert str(path) in error.text
    assert "vmdkvol-esxd rebuild" in error.remedy
    assert path.read_bytes() == before


def test_a_newer_versions_database_says_both_versions(path: Path) -> None:
    filled(path)
    sql("UPDATE alembic_version SET version_num = '9999'")(path)
    assert "'9999'" in refused(path).text
    assert "newer version" in refused(path).remedy


def test_a_rebuild_refuses_a_newer_version_s_database(path: Path) -> None:
    filled(path)
    sql("UPDATE alembic_version SET version_num = '9999'")(path)
    with pytest.raises(MetadataDamaged, match=r"newer version: its schema is 9999.*move the file away") as caught:
        check_not_newer(path)
    assert str(path) in caught.value.text


NOT_NEWER = [each for each in DAMAGES if "version_num" not in each.__name__]


@pytest.mark.parametrize("damage", [*NOT_NEWER, sql("UPDATE alembic_version SET version_num = '99x9'"), Path.unlink])
def test_a_rebuild_refuses_no_other_database(path: Path, damage: Callable[[Path], None]) -> None:
    filled(path)
    damage(path)
    check_not_newer(path)


def test_f40_no_flipped_byte_changes_what_a_reader_sees(path: Path) -> None:
    expected = filled(path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 397):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ (0x11, 0x80)[position % 2]]) + whole[position + 1 :])
        with suppress(MetadataDamaged, TruthUnknown), opened(path) as store:
            assert seen(store) == expected, f"byte {position}"


def test_f40_a_schema_that_is_not_even_text_is_damage(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"CREATE UNIQUE INDEX live_names", b"CREATE \xd5NIQUE INDEX live_names"))
    assert path.read_bytes() != whole
    assert str(path) in refused(path).text


def test_damage_found_while_running_is_told_as_such(path: Path) -> None:
    with opened(path) as store:
        store.restore(record(1))
        sql("UPDATE volumes SET generation = 6")(path)
        with pytest.raises(MetadataDamaged, match="db1"):
            store.volume(record(1).id)


# --- locks, full disks, failed writes ----------------------------------------------------------------------------


def test_a_database_locked_by_another_process_is_busy(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, opened(path, wait_s=0.05) as store:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="locked"):
            store.restore(record(9))
        assert store.volume(record(9).id) is None
        other.execute("ROLLBACK")
        store.restore(record(9))


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    expected = filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, opened(path, wait_s=0.05) as store:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM volumes")
        assert seen(store) == expected
        other.execute("ROLLBACK")


def test_corrections_6_two_processes_on_one_file_lose_no_update(path: Path) -> None:
    with opened(path, 20.0) as one, opened(path, 20.0) as two:
        one.restore(record(1))
        rounds = 50

        def count_up(store: SqlStore) -> None:
            done = 0
            while done < rounds:
                found = store.volume(record(1).id)
                assert found is not None
                with suppress(StaleRequest):
                    store.update(replace(found, generation=found.generation + 1), expect=found.generation)
                    done += 1

        with ThreadPoolExecutor(2) as pool:
            for work in [pool.submit(count_up, store) for store in (one, two)]:
                work.result()
        found = one.volume(record(1).id)
        assert found is not None
        assert found.generation == 7 + 2 * rounds


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file grows beyond ``size`` bytes: a write there fails with EFBIG, which SQLite calls a disk I/O error."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)


def test_a_failed_write_is_not_done_and_ends_all_writes(path: Path) -> None:
    expected = filled(path)
    with opened(path) as store:
        with files_limited_to(1), pytest.raises(MetadataDamaged, match="I/O error"):
            store.restore(record(9))
        assert seen(store) == expected
        with pytest.raises(MetadataDamaged, match="takes no writes"):
            store.restore(record(9))
        assert seen(store) == expected
    with opened(path) as store:
        assert seen(store) == expected
        store.restore(record(9))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "small"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "vmdkvol-test", target], check=True)
    yield target
    subprocess.run(["umount", target], check=True)


@pytest.mark.integration
def test_f26_a_full_disk_is_no_space_and_nothing_is_half_done(small_disk: Path) -> None:
    path = small_disk / "vmdkvol.db"
    with opened(path) as store:
        (small_disk / "ballast").write_bytes(bytes(700_000))
        done = []
        with suppress(NoSpace):
            for number in range(1, 2000):
                store.restore(record(number))
                done.append(record(number))
        with pytest.raises(NoSpace, match="full"):
            store.restore(record(2000))
        assert store.page(None, None, 10_000) == tuple(done)
        (small_disk / "ballast").unlink()
        store.restore(record(5000))
    with opened(path) as store:
        assert store.page(None, None, 10_000) == (*done, record(5000))


@pytest.mark.integration
def test_f26_no_room_for_a_new_database_leaves_none(small_disk: Path) -> None:
    with suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(2_000_000))
    path = small_disk / "vmdkvol.db"
    with pytest.raises(NoSpace), opened(path):
        pass
    assert not path.exists()
    (small_disk / "ballast").unlink()
    filled(path)


# --- kill -9 -----------------------------------------------------------------------------------------------------

# Begins and finishes volumes for ever, and says each step that is done; killed at any moment.
_VICTIM = """
import sys, json
from dataclasses import replace
from pathlib import Path
from vmdkvol.clock import SystemClock
from vmdkvol.volume import State
from vmdkvol_esx.store import open_store
sys.path.insert(0, {tests!r})
from tests.unit.esx.test_store_file import record, removing
store = open_store(Path({path!r}), SystemClock())
for number in range(1, 100000):
    new = replace(record(number, State.PREPARING), generation=1)
    intent = removing(new)
    store.begin(replace(intent, before=None), new)
    print(json.dumps(["begun", number]), flush=True)
    store.finish(intent.id, replace(new, state=State.READY))
    print(json.dumps(["done", number]), flush=True)
"""


@pytest.mark.integration
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 41])
def test_kill_9_leaves_the_whole_old_or_the_whole_new(path: Path, steps: int) -> None:
    root = str(Path(__file__).parents[3])
    code = _VICTIM.format(tests=root, path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as victim:
        assert victim.stdout is not None
        said = [json.loads(victim.stdout.readline()) for _ in range(steps)]
        victim.kill()
        said += [json.loads(line) for line in victim.stdout if line.endswith("\n")]
    with opened(path) as store:
        volumes = {volume.name: volume for volume in store.page(None, None, 10_000)}
        working = {intent.volume for intent in store.open_intents()}
        for volume in volumes.values():
            # The record and its intent are one: preparing has one, ready has none.
            assert (volume.id in working) == (volume.state is State.PREPARING)
        assert len(working) <= 1
        # What was told as done is done.
        for what, number in said:
            assert f"db{number}" in volumes
            assert what == "begun" or volumes[f"db{number}"].state is State.READY
        store.restore(record(999_999))


@pytest.mark.integration
def test_kill_9_inside_a_transaction_leaves_the_old(path: Path) -> None:
    expected = filled(path)
    code = (
        "import os, sqlite3\n"
        f"c = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN IMMEDIATE')\n"
        "c.execute(\"UPDATE volumes SET name = name || 'x'\")\n"
        "c.executemany('INSERT INTO answers VALUES (?, ?, ?, 0)', ((str(n), 'x', bytes(4000)) for n in range(500)))\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with opened(path) as store:
        assert seen(store) == expected
        store.keep_answer(VM, uuid4(), b"x")


# --- another version of the service ------------------------------------------------------------------------------


@pytest.mark.parametrize("only_off", [False, True])
def test_f56_a_detach_is_written_so_that_the_version_before_reads_it_unless_it_cannot_know_it(only_off: bool) -> None:
    """A service that is put back to the version before settles what this one left open; it reads strictly."""
    of = record(1)
    change = DetachDisk(VM, DiskRef(of.disk_uuid, DiskPath(of.datastore, of.path)), only_off=only_off)

    written = json.loads(intent_to_row(Intent(uuid4(), of.id, change, VM, 1.0))["change"])

    assert written.keys() == {"vm", "disk"} | ({"only_off"} if only_off else set())
