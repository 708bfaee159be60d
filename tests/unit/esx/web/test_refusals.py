"""Who was not let in is told to the audit, and whoever knocks a million times does not fill it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.daemons.site import eventually
from tests.doubles.hand_clock import HandClock
from tests.doubles.hurried_clock import HurriedClock
from tests.unit.esx.site import Kept
from vmdkvol.audit_messages import NoteLogin
from vmdkvol.errors import ServiceUnreachable
from vmdkvol.messages import Call, Done
from vmdkvol.orders import Actor, Role
from vmdkvol_esx.web.refusals import ALL_MOST, ALL_S, MANY, SOURCE_MOST, SOURCE_S, TLS, Few, Refusals

ALICE = Actor("alice", Role.ADMIN, "192.0.2.9")


def refusal(source: str = "192.0.2.1", reason: str = "the token is unknown") -> NoteLogin:
    return NoteLogin(door="api", source=source, refused=reason)


# --- which are told ----------------------------------------------------------------------------------------------


def test_the_first_ones_of_a_source_are_told_and_the_others_counted() -> None:
    few = Few()
    told = [few.admit(refusal(), 0.0) for _ in range(SOURCE_MOST + 7)]
    assert told == [True] * SOURCE_MOST + [False] * 7
    assert list(few.over(SOURCE_S - 1.0)) == []
    assert [(each.source, each.more) for each in few.over(SOURCE_S)] == [("192.0.2.1", 7)]


def test_of_failed_handshakes_the_first_is_told_and_the_others_counted_beside_refused_logins() -> None:
    few = Few()
    failed = NoteLogin(door=TLS, source="192.0.2.1", refused="no TLS: wrong version number")
    assert [few.admit(failed, 0.0) for _ in range(1000)] == [True] + [False] * 999
    assert [few.admit(refusal(), 1.0) for _ in range(SOURCE_MOST + 1)] == [True] * SOURCE_MOST + [False]
    assert [(each.door, each.more) for each in few.over(SOURCE_S + 1.0)] == [(TLS, 999), ("api", 1)]


def test_the_count_has_the_reason_of_the_last_one() -> None:
    few = Few()
    for number in range(SOURCE_MOST + 2):
        few.admit(refusal(reason=f"try {number}"), 0.0)
    assert [each.refused for each in few.over(SOURCE_S)] == [f"try {SOURCE_MOST + 1}"]


def test_another_source_has_a_share_of_its_own() -> None:
    few = Few()
    for _ in range(100):
        few.admit(refusal(), 0.0)
    assert few.admit(refusal("192.0.2.2"), 0.0)


def test_after_its_time_a_source_is_told_again() -> None:
    few = Few()
    for _ in range(SOURCE_MOST):
        few.admit(refusal(), 0.0)
    assert list(few.over(SOURCE_S)) == []
    assert few.admit(refusal(), SOURCE_S)


def test_a_source_that_was_told_in_full_leaves_no_count() -> None:
    few = Few()
    few.admit(refusal(), 0.0)
    assert list(few.over(SOURCE_S)) == []
    assert list(few.over(ALL_S)) == []
    assert few.next is None


@pytest.mark.parametrize("sources", [ALL_MOST + 1, 10_000])
def test_of_however_many_sources_an_hour_has_so_many_records_and_one(sources: int) -> None:
    few = Few()
    told = sum(few.admit(refusal(f"source {number}"), 0.0) for number in range(sources))
    counted = [*few.over(SOURCE_S), *few.over(ALL_S)]
    assert told == ALL_MOST
    assert [(each.source, each.more) for each in counted] == [(MANY, sources - ALL_MOST)]


def test_nothing_that_was_refused_is_missing_in_the_counts() -> None:
    few, told, counted = Few(), 0, 0
    for second in range(4000):
        told += few.admit(refusal(f"source {second * second % 300}"), float(second))
        counted += sum(each.more for each in few.over(float(second)))
    counted += sum(each.more for each in few.over(4000.0, end=True))
    assert told + counted == 4000
    assert told <= 2 * ALL_MOST


# --- the core is told --------------------------------------------------------------------------------------------


class Core:
    """Keeps what it is told while it is there."""

    def __init__(self) -> None:
        self.told: list[tuple[NoteLogin, UUID]] = []
        self.away = False
        self.tries = 0

    def ask(self, request: Any, call: Call) -> Done:
        self.tries += 1
        if self.away:
            raise ServiceUnreachable("the core is away")
        self.told.append((request, call.id))
        return Done()


class Bench:
    def __init__(self) -> None:
        self.core, self.log, self.clock = Core(), Kept(), HurriedClock(200.0)
        self.refusals = Refusals(self.core.ask, self.clock, self.log, uuid4)

    def knock(self, times: int = 1, source: str = "192.0.2.1") -> None:
        for _ in range(times):
            self.refusals.refused("api", source, "the token is unknown", UUID(int=7))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.refusals.close()


def test_the_core_hears_of_a_refusal_with_the_id_of_its_request(bench: Bench) -> None:
    bench.knock()
    eventually(lambda: bench.core.told == [(refusal(), UUID(int=7))], "it was told")


def test_the_core_hears_who_logged_in(bench: Bench) -> None:
    bench.refusals.entered("page", ALICE, UUID(int=8))
    eventually(lambda: bool(bench.core.told), "it was told")
    assert bench.core.told == [(NoteLogin(by=ALICE, door="page", source=ALICE.source), UUID(int=8))]


def test_the_count_is_told_when_its_time_is_over_though_nobody_comes_any_more(bench: Bench) -> None:
    bench.knock(50)
    eventually(lambda: len(bench.core.told) == SOURCE_MOST + 1, "the count was told")
    assert [note.more for note, _ in bench.core.told] == [0] * SOURCE_MOST + [50 - SOURCE_MOST]


def test_while_the_core_is_away_nothing_is_lost_and_it_is_not_asked_for_each(bench: Bench) -> None:
    bench.core.away = True
    bench.knock(1000)
    eventually(lambda: bench.core.tries >= 2, "it was tried again")
    bench.core.away = False
    eventually(lambda: sum(note.more or 1 for note, _ in bench.core.told) == 1000, "all of them were told")


def test_an_end_tells_what_is_counted() -> None:
    bench = Bench()
    bench.knock(9)
    bench.refusals.close()
    assert sum(note.more or 1 for note, _ in bench.core.told) == 9


def test_an_end_while_the_core_is_away_ends() -> None:
    bench = Bench()
    bench.core.away = True
    bench.knock(9)
    bench.refusals.close()
    assert bench.core.told == []
    assert "the audit is told later of a login" in bench.log.events("warning")


def test_what_a_long_absence_of_the_core_costs_is_said_in_the_log() -> None:
    bench = Bench()
    bench.core.away = True
    for number in range(300):
        bench.refusals.entered("page", ALICE, UUID(int=number + 1))
    bench.refusals.close()
    assert bench.log.events("error") == ["a login is not in the audit"] * (300 - 2 * ALL_MOST)


def test_a_line_of_a_stranger_s_cannot_be_more_than_a_line(bench: Bench) -> None:
    bench.refusals.refused("api", "192.0.2.1\nroot", "x" * 5000, None)
    eventually(lambda: bool(bench.core.told), "it was told")
    note, request = bench.core.told[0]
    assert "\n" not in note.source
    assert len(note.refused or "") <= 200
    assert request.int


def test_without_a_thread_a_refusal_is_kept_for_the_next_one() -> None:
    class NoThreads(HandClock):
        full = True

        def start(self, name: str, work: Any) -> Any:
            if self.full:
                raise RuntimeError("can't start new thread")
            return super().start(name, work)

    core, clock = Core(), NoThreads()
    refusals = Refusals(core.ask, clock, Kept(), uuid4)
    refusals.refused("api", "192.0.2.1", "the token is unknown", UUID(int=7))
    clock.full = False
    refusals.refused("api", "192.0.2.1", "the token is unknown", UUID(int=8))
    eventually(lambda: len(core.told) == 2, "both were told")
    refusals.close()
