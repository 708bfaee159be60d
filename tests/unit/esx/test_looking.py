"""A look at the database changes nothing, sees what a running service wrote, and tells what is wrong with a way out."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from uuid import UUID

import pytest

from tests.contract.store_benches import new_record
from vmdkvol.clock import SystemClock
from vmdkvol.errors import Busy, MetadataDamaged
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.store import open_store
from vmdkvol_esx.store.looking import look


def never() -> bool:
    return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "state %20?" / "vmdkvol.db"
    made.parent.mkdir()
    open_store(made, SystemClock()).close()
    return made


def files(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def test_where_nothing_is_nothing_is_made(tmp_path: Path) -> None:
    assert look(tmp_path / "vmdkvol.db", never) is None
    assert list(tmp_path.iterdir()) == []


def test_the_volumes_are_counted_while_a_service_has_the_database(path: Path) -> None:
    store = open_store(path, SystemClock())
    store.restore(new_record("a"), new_record("b"))

    looked = look(path, never)

    assert (looked.volumes if looked else None) == 2
    store.close()


def test_it_says_by_what_datastores_are_known_again(path: Path) -> None:
    store = open_store(path, SystemClock())
    store.remember_datastore(DatastoreName("ds 1"), UUID(int=7))
    store.close()

    looked = look(path, never)

    assert (looked.datastores if looked else None) == {"ds 1": UUID(int=7)}


def test_it_says_who_is_enrolled_and_not_revoked(path: Path) -> None:
    store = open_store(path, SystemClock())
    for number, name in ((1, "a"), (2, "b")):
        store.invite(Ticket(name, VmId(UUID(int=number)), name, 2e9))
        store.enrol(Identity(name, VmId(UUID(int=number)), name, 1.0, 2e9, "request", "pem"), name)
    store.revoke(VmId(UUID(int=2)), 2.0)

    looked = look(path, never)

    assert (looked.enrolled if looked else None) == {UUID(int=1): "a"}
    store.close()


def test_a_database_from_before_there_were_certificates_has_nobody_enrolled(path: Path) -> None:
    plain = sqlite3.connect(path)
    plain.execute("DROP TABLE identities")
    plain.close()

    looked = look(path, never)

    assert (looked.enrolled if looked else None) == {}


def test_a_look_leaves_the_file_as_it_was(path: Path) -> None:
    before = files(path)
    look(path, never)
    assert files(path) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"SQLite format 3\0" + bytes(84), b"something else, of somebody else" * 10],
    ids=["empty", "sqlite", "foreign"],
)
def test_what_is_not_ours_is_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(MetadataDamaged) as refused:
        look(path, never)

    assert "rebuild" in refused.value.remedy


def test_a_page_that_was_overwritten_is_told(path: Path) -> None:
    size = os.path.getsize(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))

    with pytest.raises(MetadataDamaged) as refused:
        look(path, never)

    assert "rebuild" in refused.value.remedy


def test_a_database_without_our_tables_is_told(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE volumes")
    database.close()

    with pytest.raises(MetadataDamaged):
        look(path, never)


def test_a_look_ends_at_its_time(path: Path) -> None:
    store = open_store(path, SystemClock())
    store.restore(*(new_record(f"v{number}") for number in range(2000)))
    store.close()

    with pytest.raises(Busy):
        look(path, lambda: True)
