"""Rounds run at the start, now and then, and take a glimpse at a hint; what one of them raises ends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.doubles.hurried_clock import HurriedClock
from tests.unit.esx.site import Kept
from vmdkvol.clock import Deadline
from vmdkvol_esx.rounds import Rounds


class Bench:
    def __init__(self) -> None:
        self.clock = HurriedClock(50.0)
        self.log = Kept()
        self.done: list[str] = []
        self.raises: Exception | None = None
        self.round_takes_s = 0.0
        self.begun = 0
        self.rounds = self.with_pause(1e9)

    def with_pause(self, every_s: float) -> Rounds:
        self.rounds = Rounds(self.clock, self.log, self._does("round"), self._does("glimpse"), every_s=every_s)
        return self.rounds

    def _does(self, what: str) -> Callable[[], None]:
        def do() -> None:
            self.begun += 1
            until = Deadline.after(self.clock, self.round_takes_s)
            while what == "round" and self.round_takes_s and not until.passed:
                self.clock.sleep(0.5)
            self.done.append(what)
            if self.raises is not None:
                raise self.raises

        return do

    def until(self, there: Callable[[], bool]) -> None:
        give_up = Deadline.after(self.clock, 1000.0)
        while not there():
            assert not give_up.passed
            self.clock.sleep(0.05)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.rounds.stop(Deadline.after(bench.clock, 1000.0))


def test_the_first_round_is_at_once(bench: Bench) -> None:
    bench.rounds.start()
    bench.until(lambda: bench.done == ["round"])


def test_rounds_are_repeated(bench: Bench) -> None:
    bench.with_pause(1.0).start()
    bench.until(lambda: bench.done.count("round") >= 3)


def test_a_hint_is_a_glimpse_and_no_round(bench: Bench) -> None:
    bench.rounds.start()
    bench.until(lambda: bench.done == ["round"])
    bench.rounds.hint()
    bench.until(lambda: bench.done == ["round", "glimpse"])


def test_a_hint_before_the_first_round_is_not_lost(bench: Bench) -> None:
    bench.rounds.hint()
    bench.rounds.start()
    bench.until(lambda: sorted(bench.done) == ["glimpse", "round"])


def test_a_hint_does_not_wait_for_a_round_that_takes_long(bench: Bench) -> None:
    """A machine that was switched off is destroyed within seconds; the first scan of a large site takes minutes."""
    bench.round_takes_s = 2000.0
    bench.rounds.start()
    bench.until(lambda: bench.begun == 1)
    bench.rounds.hint()
    bench.until(lambda: bench.done == ["glimpse"])
    bench.round_takes_s = 0.0
    bench.until(lambda: bench.done == ["glimpse", "round"])


def test_what_a_round_raises_is_logged_and_the_next_one_comes(bench: Bench) -> None:
    bench.raises = ZeroDivisionError("seven")
    bench.with_pause(1.0).start()
    bench.until(lambda: bench.done.count("round") >= 2)
    assert "scan failed" in bench.log.events("error")


def test_what_a_glimpse_raises_ends_nothing(bench: Bench) -> None:
    bench.raises = ZeroDivisionError("seven")
    bench.rounds.start()
    bench.rounds.hint()
    bench.until(lambda: bench.done == ["round", "glimpse"])
    bench.rounds.hint()
    bench.until(lambda: bench.done.count("glimpse") == 2)


def test_nothing_runs_after_the_stop(bench: Bench) -> None:
    bench.rounds.start()
    bench.until(lambda: bench.done == ["round"])
    assert bench.rounds.stop(Deadline.after(bench.clock, 1000.0))
    bench.rounds.hint()
    bench.clock.sleep(5.0)
    assert bench.done == ["round"]


def test_a_stop_that_was_never_started_is_fine(bench: Bench) -> None:
    assert bench.rounds.stop(Deadline.after(bench.clock, 0.0))
