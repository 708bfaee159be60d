"""A database that is taken away under the running service: nothing more is answered "done" that nobody would find again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.esx.test_store_file import CLOCK, record
from vmdkvol.errors import MetadataDamaged
from vmdkvol_esx.store import SqlStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(tmp_path / "vmdkvol.db", CLOCK)
    opened.restore(record(1))
    yield opened
    opened.close()


def remove(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)


@pytest.mark.parametrize(
    ("take_away", "how"), [pytest.param(remove, "removed", id="removed"), pytest.param(replace, "replaced", id="replaced")]
)
def test_a_database_that_is_gone_takes_no_writes_and_says_so(
    store: SqlStore, tmp_path: Path, take_away: Callable[[Path], None], how: str
) -> None:
    take_away(tmp_path / "vmdkvol.db")

    with pytest.raises(MetadataDamaged, match=f"was {how} while the service runs.*restart the service"):
        store.delete(record(1).id, expect=7)


def test_a_database_that_is_gone_is_not_taken_for_an_empty_one(store: SqlStore, tmp_path: Path) -> None:
    """A new connection would make an empty file, in which there is no volume."""
    remove(tmp_path / "vmdkvol.db")

    with pytest.raises(MetadataDamaged):
        store.volume(record(1).id)

    assert not (tmp_path / "vmdkvol.db").exists()


def test_a_database_that_is_put_back_takes_writes_again(store: SqlStore, tmp_path: Path) -> None:
    database, kept = tmp_path / "vmdkvol.db", tmp_path / "kept"
    database.rename(kept)
    with pytest.raises(MetadataDamaged):
        store.delete(record(1).id, expect=7)
    kept.rename(database)

    store.delete(record(1).id, expect=7)

    assert store.volume(record(1).id) is None
