"""The promises of the ``Notebook`` port, in memory and in SQLite files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.doubles.memory_notebook import MemoryNotebook
from vmdkvol.errors import MetadataDamaged
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import (
    DEFAULT_VMGROUP,
    Attachment,
    Content,
    DiskUuid,
    Holder,
    LoopAddress,
    State,
    VmId,
    VolumeId,
    VolumeInfo,
)
from vmdkvol_guest.notebook import SqliteNotebook
from vmdkvol_guest.ports import Holdings, Notebook

BOOT = "5a0c8a0e-boot"
VOLUME = VolumeId(UUID(int=1))


def info(name: str, number: int | None = None) -> VolumeInfo:
    options = CreateOptions.parse({"size": "1gb", "label": "a=b", "mount-options": "noatime,commit=5"})
    volume = VolumeId(uuid4() if number is None else UUID(int=number))
    holder = Holder(VmId(UUID(int=9)), "vm-9", LoopAddress(100000))
    state, content = State.READY, Content.FORMATTED
    ds = DatastoreName("ds1")
    return VolumeInfo(volume, name, ds, DEFAULT_VMGROUP, 1 << 30, 4096, state, content, options, 1.5, "vm-9", holder)


ATTACHED = Attachment(
    VOLUME, DiskUuid(UUID(int=2)), 1 << 30, LoopAddress(100001), 7, Content.FORMATTED, UUID(int=3), CreateOptions()
)


def open_files(directory: Path, boot_id: str = BOOT) -> SqliteNotebook:
    return SqliteNotebook(directory / "run", directory / "state", boot_id)


@pytest.fixture(params=["memory", "sqlite"])
def notebook(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Notebook]:
    if request.param == "memory":
        yield MemoryNotebook()
        return
    opened = open_files(tmp_path)
    yield opened
    opened.end()


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[..., SqliteNotebook]]:
    """Open the notebook of this test, again if need be, as a new process would."""
    opened: list[SqliteNotebook] = []

    def again(boot_id: str = BOOT) -> SqliteNotebook:
        for notebook in opened:
            notebook.end()
        opened.append(open_files(tmp_path, boot_id))
        return opened[-1]

    yield again
    for notebook in opened:
        notebook.end()


def test_a_new_notebook_is_empty(notebook: Notebook) -> None:
    assert (dict(notebook.holdings()), list(notebook.catalogue()), notebook.change()) == ({}, [], None)


def test_holders_are_kept_once_each(notebook: Notebook) -> None:
    for mount_id in ("a", "b", "a"):
        notebook.hold(VOLUME, mount_id)
    assert notebook.holdings()[VOLUME].ids == {"a", "b"}


def test_a_dropped_holder_is_gone(notebook: Notebook) -> None:
    notebook.hold(VOLUME, "a")
    notebook.hold(VOLUME, "b")
    notebook.drop(VOLUME, "a")
    assert notebook.holdings()[VOLUME].ids == {"b"}


def test_dropping_an_unknown_holder_is_fine(notebook: Notebook) -> None:
    notebook.drop(VOLUME, "never")
    assert VOLUME not in notebook.holdings()


def test_a_volume_with_nothing_noted_is_not_listed(notebook: Notebook) -> None:
    notebook.hold(VOLUME, "a")
    notebook.drop(VOLUME, "a")
    assert VOLUME not in notebook.holdings()


def test_a_new_holder_ends_the_linger(notebook: Notebook) -> None:
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=12.5)
    notebook.hold(VOLUME, "a")
    assert notebook.holdings()[VOLUME] == Holdings(VOLUME, frozenset({"a"}), ATTACHED, None)


def test_a_known_holder_ends_the_linger_too(notebook: Notebook) -> None:
    notebook.hold(VOLUME, "a")
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=12.5)
    notebook.hold(VOLUME, "a")
    assert notebook.holdings()[VOLUME].linger_until is None


def test_a_note_keeps_the_holders(notebook: Notebook) -> None:
    notebook.hold(VOLUME, "a")
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=None)
    assert notebook.holdings()[VOLUME] == Holdings(VOLUME, frozenset({"a"}), ATTACHED, None)


def test_a_closed_volume_is_forgotten_whole(notebook: Notebook) -> None:
    notebook.hold(VOLUME, "a")
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=3.0)
    notebook.close(VOLUME)
    notebook.close(VOLUME)
    assert VOLUME not in notebook.holdings()


def test_what_is_listed_does_not_change_afterwards(notebook: Notebook) -> None:
    before = notebook.holdings()
    notebook.hold(VOLUME, "a")
    assert VOLUME not in before


def test_a_volume_is_known_by_exactly_its_name(notebook: Notebook) -> None:
    told = info("db@ds1")
    notebook.remember(told)
    assert (notebook.known("db@ds1"), notebook.known("db"), notebook.known("DB@ds1")) == (told, None, None)


def test_a_volume_is_replaced_under_its_id(notebook: Notebook) -> None:
    told = info("db")
    notebook.remember(told)
    notebook.remember(replace(told, state=State.LOST))
    assert [known.state for known in notebook.catalogue()] == [State.LOST]


def test_a_new_volume_takes_the_name_of_one_that_is_gone(notebook: Notebook) -> None:
    """corrections 30: a name is bound to one volume."""
    old, new = info("db"), info("db")
    notebook.remember(old)
    notebook.remember(new)
    assert list(notebook.catalogue()) == [new]


def test_a_renamed_volume_loses_its_old_name(notebook: Notebook) -> None:
    told = info("old")
    notebook.remember(told)
    notebook.remember(replace(told, name="new"))
    assert (notebook.known("old"), [known.name for known in notebook.catalogue()]) == (None, ["new"])


def test_two_volumes_may_swap_their_names(notebook: Notebook) -> None:
    first, second = info("a"), info("b")
    notebook.remember(first)
    notebook.remember(second)
    notebook.remember(replace(first, name="b"))
    notebook.remember(replace(second, name="a"))
    assert [known.id for known in notebook.catalogue()] == [second.id, first.id]


def test_a_forgotten_volume_is_unknown(notebook: Notebook) -> None:
    told = info("db")
    notebook.remember(told)
    notebook.forget(told.id)
    notebook.forget(told.id)
    assert (notebook.known("db"), list(notebook.catalogue())) == (None, [])


def test_many_are_forgotten_at_once_and_the_others_stay(notebook: Notebook) -> None:
    told = [info(name) for name in "abcd"]
    notebook.remember(*told)
    notebook.forget(told[0].id, told[2].id)
    assert [known.name for known in notebook.catalogue()] == ["b", "d"]


def test_the_catalogue_is_in_the_order_of_names(notebook: Notebook) -> None:
    for name in ("b", "é", "a b", "a"):
        notebook.remember(info(name))
    assert [known.name for known in notebook.catalogue()] == ["a", "a b", "b", "é"]


@pytest.mark.parametrize("name", ["a'; DROP TABLE volume; --", "%", "*", "\N{SNOWMAN}", "x" * 100])
def test_any_name_is_only_a_name(notebook: Notebook, name: str) -> None:
    notebook.remember(info(name))
    found = notebook.known(name)
    assert found is not None
    assert found.name == name


def test_the_change_number_is_kept_until_it_is_taken_back(notebook: Notebook) -> None:
    notebook.set_change(41)
    assert notebook.change() == 41
    notebook.set_change(None)
    assert notebook.change() is None


def test_threads_do_not_lose_each_others_holders(notebook: Notebook) -> None:
    def work(number: int) -> None:
        for step in range(20):
            notebook.hold(VOLUME, f"{number}-{step}")
            if step % 2:
                notebook.drop(VOLUME, f"{number}-{step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notebook.holdings()[VOLUME].ids) == 80


# --- what is in the files --------------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(reopen: Callable[..., SqliteNotebook]) -> None:
    told = info("db")
    first = reopen()
    first.hold(VOLUME, "a")
    first.note(VOLUME, attachment=ATTACHED, linger_until=12.5)
    first.remember(told)
    first.set_change(41)
    again = reopen()
    assert again.holdings() == {VOLUME: Holdings(VOLUME, frozenset({"a"}), ATTACHED, 12.5)}
    assert (again.known("db"), again.change()) == (told, 41)


def test_another_boot_has_no_holders_but_the_same_catalogue(reopen: Callable[..., SqliteNotebook]) -> None:
    """corrections 5 and F: the run directory may lie on a disk."""
    first = reopen()
    first.hold(VOLUME, "a")
    first.note(VOLUME, attachment=ATTACHED, linger_until=12.5)
    first.remember(info("db"))
    again = reopen("another boot")
    assert (dict(again.holdings()), [known.name for known in again.catalogue()]) == ({}, ["db"])
    assert not reopen("another boot").holdings()


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to be looked at" * 40, bytes(8192)])
@pytest.mark.parametrize("file", ["run/holders.db", "state/catalogue.db"])
def test_a_damaged_file_is_put_aside_and_begun_anew(
    reopen: Callable[..., SqliteNotebook], tmp_path: Path, file: str, damage: bytes
) -> None:
    """F65: kernel and service have the facts."""
    first = reopen()
    first.hold(VOLUME, "a")
    first.remember(info("db"))
    first.set_change(3)
    first.end()
    (tmp_path / file).write_bytes(damage)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"{file}{suffix}").unlink(missing_ok=True)
    again = reopen()
    other_is_whole = again.known("db") is not None if file.startswith("run") else VOLUME in again.holdings()
    assert other_is_whole
    assert (len(again.holdings()), len(again.catalogue())) in ((0, 1), (1, 0))
    assert again.change() == (3 if file.startswith("run") else None)
    again.hold(VOLUME, "b")
    again.remember(info("new"))


def test_a_damaged_file_is_kept_for_whoever_wants_to_look(reopen: Callable[..., SqliteNotebook], tmp_path: Path) -> None:
    reopen().end()
    (tmp_path / "run/holders.db").write_bytes(b"broken" * 2000)
    reopen()
    assert (tmp_path / "run/holders.db.damaged").read_bytes() == b"broken" * 2000


def test_a_page_of_noise_in_the_catalogue_is_found_at_the_start(reopen: Callable[..., SqliteNotebook], tmp_path: Path) -> None:
    first = reopen()
    for number in range(50):
        first.remember(info(f"v{number}"))
    first.set_change(3)
    first.end()
    path = tmp_path / "state/catalogue.db"
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)
    again = reopen()
    assert (list(again.catalogue()), again.change()) == ([], None)


def test_a_row_that_no_longer_loads_is_dropped_and_the_catalogue_counts_as_incomplete(
    reopen: Callable[..., SqliteNotebook], tmp_path: Path
) -> None:
    first = reopen()
    first.remember(info("good"))
    first.remember(info("bad"))
    first.set_change(3)
    first.end()
    with sqlite3.connect(tmp_path / "state/catalogue.db") as database:
        database.execute("UPDATE volume SET info = '{\"id\": 5}' WHERE name = 'bad'")
    database.close()
    again = reopen()
    assert ([known.name for known in again.catalogue()], again.change()) == (["good"], None)
    assert [known.name for known in reopen().catalogue()] == ["good"]


def test_a_file_of_another_version_is_put_aside(reopen: Callable[..., SqliteNotebook], tmp_path: Path) -> None:
    reopen().remember(info("db"))
    reopen().end()
    with sqlite3.connect(tmp_path / "state/catalogue.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert list(reopen().catalogue()) == []


def test_a_directory_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(MetadataDamaged):
        open_files(tmp_path)


def test_a_healthy_file_that_cannot_be_opened_is_not_put_aside(tmp_path: Path) -> None:
    (tmp_path / "run/holders.db").mkdir(parents=True)
    with pytest.raises(MetadataDamaged):
        open_files(tmp_path)
    assert (tmp_path / "run/holders.db").is_dir()


def test_only_root_reads_the_files(reopen: Callable[..., SqliteNotebook], tmp_path: Path) -> None:
    reopen()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*/*.db")} == {0o600}


def test_ten_thousand_volumes_are_listed_and_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    notebook = open_files(tmp_path)
    infos = [info(f"v{number:05}") for number in range(300)]
    for each in infos:
        notebook.remember(each)
    notebook.end()
    with sqlite3.connect(tmp_path / "state/catalogue.db") as database:
        (row,) = database.execute("SELECT info FROM volume WHERE name = 'v00000'").fetchall()
        rows = [(str(uuid4()), f"v{number:05}") for number in range(300, 10_000)]
        told = [(key, name, row[0].replace("v00000", name).replace(str(infos[0].id), key)) for key, name in rows]
        database.executemany("INSERT INTO volume VALUES (?, ?, ?)", told)
    database.close()
    notebook = open_files(tmp_path)
    started = time.monotonic()
    assert len(notebook.catalogue()) == 10_000
    for number in range(0, 10_000, 10):
        assert notebook.known(f"v{number:05}") is not None
    # Guards against work that grows with the square, not a speed: 20 times what a quiet machine takes.
    assert time.monotonic() - started < 10.0
    notebook.end()


@pytest.mark.integration
def test_a_kill_in_the_middle_of_writing_leaves_what_was_answered(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from uuid import UUID\n"
        "from vmdkvol_guest.notebook import SqliteNotebook\n"
        f"notebook = SqliteNotebook(Path({str(tmp_path)!r}) / 'run', Path({str(tmp_path)!r}) / 'state', {BOOT!r})\n"
        "for number in range(10**6):\n"
        "    notebook.hold(UUID(int=1), str(number))\n"
        "    print(number, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answered = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as child:
            assert child.stdout is not None
            for _ in range(40):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            answered = max(answered, 40 + len(child.stdout.read().splitlines()))
    notebook = open_files(tmp_path)
    assert len(notebook.holdings()[VOLUME].ids) >= answered
    notebook.end()
