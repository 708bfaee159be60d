"""The notebook's files when the disk is full, takes no writes, or somebody takes the files away (F26, F65)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.contract.test_notebook import ATTACHED, VOLUME, info, open_files
from vmdkvol.errors import NoSpace, VolumeError
from vmdkvol.volume import VolumeId
from vmdkvol_guest.linux import kernel
from vmdkvol_guest.notebook import SqliteNotebook
from vmdkvol_guest.ports import Holdings

pytestmark = pytest.mark.integration
OTHER = VolumeId(UUID(int=2))


class Disk:
    """A small file system for both files, which can be filled and have room again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"
        kernel.mount("none", str(directory), "tmpfs", 0, "size=800k")

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()

    def close(self) -> None:
        kernel.umount(str(self.directory))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def reopen(disk: Disk) -> Iterator[Callable[[], SqliteNotebook]]:
    opened: list[SqliteNotebook] = []

    def again() -> SqliteNotebook:
        for notebook in opened:
            notebook.end()
        opened.append(open_files(disk.directory))
        return opened[-1]

    yield again
    for notebook in opened:
        notebook.end()


def full(notebook: SqliteNotebook, disk: Disk) -> str:
    """Fill the disk until a holder of this notebook was refused; return the refusal."""
    disk.fill()
    # What SQLite had reserved for its log is used first.
    for count in range(1000):
        try:
            notebook.hold(OTHER, f"more-{count}")
        except NoSpace as error:
            return str(error)
    pytest.fail("nothing was refused")


def test_on_a_full_disk_a_new_holder_is_refused_and_not_kept(reopen: Callable[[], SqliteNotebook], disk: Disk) -> None:
    notebook = reopen()

    refusal = full(notebook, disk)

    assert "free space on this Docker host [no-space]" in refusal
    before = notebook.holdings()
    with pytest.raises(NoSpace):
        notebook.hold(VOLUME, "last")
    assert notebook.holdings() == before


def test_on_a_full_disk_a_holder_is_dropped_all_the_same(reopen: Callable[[], SqliteNotebook], disk: Disk) -> None:
    """Docker sends no second Unmount: a holder that stayed would keep the disk attached for ever."""
    notebook = reopen()
    notebook.hold(VOLUME, "first")
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=None)
    full(notebook, disk)

    notebook.drop(VOLUME, "first")
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=7.0)

    assert notebook.holdings()[VOLUME] == Holdings(VOLUME, frozenset(), ATTACHED, 7.0)


def test_what_was_kept_in_memory_is_written_when_there_is_room(reopen: Callable[[], SqliteNotebook], disk: Disk) -> None:
    notebook = reopen()
    notebook.hold(VOLUME, "first")
    full(notebook, disk)
    notebook.drop(VOLUME, "first")
    disk.free()

    notebook.hold(OTHER, "last")

    ids = notebook.holdings()[OTHER].ids
    assert reopen().holdings() == {OTHER: Holdings(OTHER, ids)}


def test_on_a_full_disk_the_catalogue_goes_on_in_memory(reopen: Callable[[], SqliteNotebook], disk: Disk) -> None:
    notebook = reopen()
    notebook.remember(info("old", 1))
    notebook.set_change(1)
    full(notebook, disk)

    many = [info(f"name-{count}", 100 + count) for count in range(200)]
    for each in many:
        notebook.remember(each)
    notebook.forget(VolumeId(UUID(int=1)))
    notebook.set_change(2)

    assert [each.name for each in notebook.catalogue()] == sorted(each.name for each in many)
    assert notebook.change() == 2
    disk.free()
    notebook.remember(info("last", 5))
    again = reopen()
    assert len(again.catalogue()) == 201
    assert (again.known("old"), again.change()) == (None, 2)


def test_a_catalogue_that_was_not_written_has_the_older_change_number(reopen: Callable[[], SqliteNotebook], disk: Disk) -> None:
    """After a restart the agent asks for what changed since then, and gets what was lost."""
    notebook = reopen()
    notebook.set_change(1)
    full(notebook, disk)
    for count in range(200):
        notebook.remember(info(f"name-{count}", 100 + count))
    notebook.set_change(2)

    again = reopen()

    assert len(again.catalogue()) < 200
    assert again.change() == 1


@pytest.mark.parametrize("wiped", ["run", "state"])
@pytest.mark.parametrize("whole", [pytest.param(True, id="the-directory"), pytest.param(False, id="the-files")])
def test_files_that_are_taken_away_are_made_again_from_memory(
    reopen: Callable[[], SqliteNotebook], disk: Disk, wiped: str, whole: bool
) -> None:
    notebook = reopen()
    notebook.hold(VOLUME, "first")
    notebook.note(VOLUME, attachment=ATTACHED, linger_until=None)
    notebook.remember(info("a", 1))
    notebook.set_change(3)
    directory = disk.directory / wiped
    if whole:
        shutil.rmtree(directory)
    else:
        for path in directory.iterdir():
            path.unlink()

    notebook.hold(VOLUME, "second")
    notebook.remember(info("b", 2))

    again = reopen()
    assert again.holdings() == {VOLUME: Holdings(VOLUME, frozenset({"first", "second"}), ATTACHED)}
    assert [each.name for each in again.catalogue()] == ["a", "b"]
    assert again.change() == 3
    assert (directory.stat().st_mode & 0o777) in (0o711, 0o755)


@pytest.mark.parametrize("whole", [pytest.param(True, id="the-directory"), pytest.param(False, id="the-files")])
def test_files_that_cannot_be_made_again_at_once_are_made_when_there_is_room(
    reopen: Callable[[], SqliteNotebook], disk: Disk, whole: bool
) -> None:
    """Moved away on a full disk, as by somebody who looks for room in the wrong place: no restart is needed afterwards."""
    notebook = reopen()
    notebook.hold(VOLUME, "first")
    directory, elsewhere = disk.directory / "run", disk.directory / "elsewhere"
    directory.rename(elsewhere)
    if not whole:
        directory.mkdir()
    disk.fill()
    for count in range(2):
        with pytest.raises(VolumeError):
            notebook.hold(VOLUME, f"refused-{count}")
    disk.free()

    notebook.hold(VOLUME, "second")

    assert reopen().holdings() == {VOLUME: Holdings(VOLUME, frozenset({"first", "second"}))}


def test_an_older_copy_that_is_put_back_while_it_runs_is_brought_up_to_date(
    reopen: Callable[[], SqliteNotebook], disk: Disk
) -> None:
    notebook = reopen()
    notebook.hold(OTHER, "old")
    reopened = reopen()
    shutil.copytree(disk.directory / "run", disk.directory / "copy")
    reopened.drop(OTHER, "old")
    reopened.hold(VOLUME, "new")
    for path in (disk.directory / "run").iterdir():
        path.unlink()
    for path in (disk.directory / "copy").iterdir():
        path.rename(disk.directory / "run" / path.name)

    reopened.hold(VOLUME, "newest")

    assert reopen().holdings() == {VOLUME: Holdings(VOLUME, frozenset({"new", "newest"}))}
