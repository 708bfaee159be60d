"""Certificates and tokens on record: a token counts once, two certificates of a VM at most, what is revoked stays so."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import MetadataDamaged
from vmdkvol.volume import VmId
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.store import SqlStore, open_store, read_identities
from vmdkvol_esx.store.identities import REMEMBERED_S

VM, OTHER = VmId(UUID(int=1)), VmId(UUID(int=2))
DAY_S = 86400.0


def identity(name: str, vm: VmId = VM, issued_at: float = 1000.0) -> Identity:
    return Identity(name, vm, "host", issued_at, issued_at + 90 * DAY_S, f"request of {name}", f"PEM of {name}")


def ticket(name: str, vm: VmId = VM, expires_at: float = 4600.0) -> Ticket:
    return Ticket(name, vm, "host", expires_at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vmdkvol.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    opened = open_store(path, HandClock())
    yield opened
    opened.close()


def standing(store: SqlStore, vm: VmId = VM) -> list[str]:
    return [each.fingerprint for each in store.identities(vm) if each.revoked_at is None]


def test_a_token_gives_one_identity(store: SqlStore) -> None:
    store.invite(ticket("t"))
    assert store.enrol(identity("a"), "t")
    assert store.identity("a") == identity("a")
    used = store.ticket("t")
    assert used is not None
    assert (used.used_at, used.used_for) == (1000.0, "request of a")


def test_a_token_that_was_used_gives_nothing(store: SqlStore) -> None:
    store.invite(ticket("t"))
    store.enrol(identity("a"), "t")
    assert not store.enrol(identity("b"), "t")
    assert store.identity("b") is None
    assert standing(store) == ["a"]


def test_a_token_that_is_over_is_remembered_for_a_month(tmp_path: Path) -> None:
    clock = HandClock(wall=1000.0)
    store = open_store(tmp_path / "own.db", clock)
    store.invite(ticket("t", expires_at=4600.0))
    store.enrol(identity("a"), "t")
    clock.jump(REMEMBERED_S)
    store.invite(ticket("u", expires_at=REMEMBERED_S + 4600.0))
    assert store.ticket("t") is not None
    clock.jump(3601.0)
    store.invite(ticket("v", expires_at=REMEMBERED_S + 8201.0))
    assert store.ticket("t") is None
    store.close()


def test_a_token_that_is_not_there_gives_nothing(store: SqlStore) -> None:
    assert not store.enrol(identity("a"), "t")
    assert store.identities() == ()


def test_who_enrols_again_is_the_only_one(store: SqlStore) -> None:
    for number in range(3):
        store.invite(ticket(f"t{number}"))
        store.enrol(identity(f"a{number}", issued_at=1000.0 + number), f"t{number}")
    assert standing(store) == ["a2"]


def test_an_enrolment_leaves_other_vms_alone(store: SqlStore) -> None:
    for name, vm in (("t", VM), ("u", OTHER)):
        store.invite(ticket(name, vm))
        store.enrol(identity(f"of {name}", vm), name)
    assert (standing(store), standing(store, OTHER)) == (["of t"], ["of u"])


def test_two_certificates_stand_while_they_are_exchanged_and_no_third(store: SqlStore) -> None:
    store.invite(ticket("t"))
    store.enrol(identity("a"), "t")
    assert store.renew(identity("b", issued_at=2000.0), "a")
    assert standing(store) == ["a", "b"]
    assert store.renew(identity("c", issued_at=3000.0), "b")
    assert standing(store) == ["b", "c"]


@pytest.mark.parametrize("keep", ["never", "revoked", "of another VM"])
def test_what_does_not_stand_is_not_renewed(store: SqlStore, keep: str) -> None:
    for name, vm in (("revoked", VM), ("of another VM", OTHER)):
        store.invite(ticket(name, vm))
        store.enrol(identity(name, vm), name)
    store.revoke(VM, 1500.0)
    assert not store.renew(identity("new"), keep)
    assert store.identity("new") is None


def test_who_is_revoked_has_neither_certificate_nor_token(store: SqlStore) -> None:
    store.invite(ticket("used"))
    store.enrol(identity("a"), "used")
    store.renew(identity("b"), "a")
    store.invite(ticket("not used"))
    store.invite(ticket("another's", OTHER))
    assert store.revoke(VM, 1500.0) == 3
    assert standing(store) == []
    assert not store.enrol(identity("c"), "not used")
    assert [each.hash for each in store.tickets()] == ["another's", "used"]


def test_a_revocation_keeps_its_first_time(store: SqlStore) -> None:
    store.invite(ticket("t"))
    store.enrol(identity("a"), "t")
    store.revoke(VM, 1500.0)
    assert store.revoke(VM, 1600.0) == 0
    assert [each.revoked_at for each in store.identities(VM)] == [1500.0]


def test_tokens_of_long_ago_are_forgotten(store: SqlStore, path: Path) -> None:
    clock = HandClock()
    ended = clock.wall() - 31 * DAY_S
    store.invite(ticket("old", expires_at=ended))
    store.invite(ticket("older than a month only now", OTHER, expires_at=ended + 2 * DAY_S))
    store.invite(ticket("new", expires_at=clock.wall()))
    assert [each.hash for each in store.tickets()] == ["older than a month only now", "new"]


def test_all_of_it_survives_a_restart(store: SqlStore, path: Path) -> None:
    store.invite(ticket("t"))
    store.enrol(identity("a"), "t")
    before = store.identities(), store.tickets()
    store.close()
    again = open_store(path, HandClock())
    assert (again.identities(), again.tickets()) == before
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE identities SET vm = '{OTHER}'",
        "UPDATE identities SET fingerprint = 'b'",
        "UPDATE identities SET revoked_at = NULL",
        f"UPDATE tokens SET vm = '{OTHER}'",
        "UPDATE tokens SET used_at = NULL",
        "UPDATE tokens SET expires_at = 1e12",
    ],
)
def test_a_record_that_was_changed_behind_our_back_is_damage(store: SqlStore, path: Path, statement: str) -> None:
    store.invite(ticket("t"))
    store.enrol(identity("a"), "t")
    store.revoke(VM, 1500.0)
    store.close()
    with sqlite3.connect(path) as plain:
        plain.execute(statement)
    plain.close()
    with pytest.raises(MetadataDamaged, match="certificate or token"):
        open_store(path, HandClock())


# --- what a rebuild takes over ---------------------------------------------------------------------------------------


def filled(store: SqlStore) -> tuple[object, object]:
    for name, vm in (("a", VM), ("b", OTHER)):
        store.invite(ticket(name, vm))
        store.enrol(identity(f"of {name}", vm), name)
    store.revoke(OTHER, 1500.0)
    store.invite(ticket("open"))
    known = store.identities(), store.tickets()
    store.close()
    return known


def test_a_rebuild_takes_over_who_is_enrolled_and_who_is_revoked(store: SqlStore, path: Path, tmp_path: Path) -> None:
    known = filled(store)
    assert read_identities(path) == known
    fresh = open_store(tmp_path / "fresh.db", HandClock())
    fresh.adopt(*read_identities(path))
    assert (fresh.identities(), fresh.tickets()) == known
    fresh.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"no database" * 1000), id="foreign"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:8192]), id="cut-off"),
        pytest.param(lambda path: changed(path, "UPDATE tokens SET used_at = NULL"), id="one-row-is-not-what-was-written"),
        pytest.param(lambda path: changed(path, "UPDATE identities SET revoked_at = NULL"), id="a-revocation-taken-back"),
        pytest.param(lambda path: changed(path, "DROP TABLE tokens"), id="without-one-of-the-tables"),
        pytest.param(lambda path: changed(path, "ALTER TABLE identities DROP COLUMN request"), id="without-a-column"),
    ],
)
def test_of_a_database_that_is_not_whole_a_rebuild_takes_over_nobody(
    store: SqlStore, path: Path, damage: Callable[[Path], object]
) -> None:
    filled(store)
    damage(path)
    assert read_identities(path) == ((), ())


def changed(path: Path, statement: str) -> None:
    plain = sqlite3.connect(path)
    with plain:
        plain.execute(statement)
    plain.close()
