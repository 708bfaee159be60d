"""A read that many share: begun after each of them asked, and nobody hears another's failure."""

from __future__ import annotations

import threading

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import HypervisorUnreachable, TruthUnknown
from vmdkvol_esx.vsphere.shared import Shared

CLOCK = SystemClock()
PATIENCE_S = 30.0


def soon(seconds: float = PATIENCE_S) -> Deadline:
    return Deadline.after(CLOCK, seconds)


class Reads:
    """Counts itself. The first read ends with ``go``, and fails if it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self._fails = fails

    def __call__(self, _: Deadline) -> int:
        self.count += 1
        number = self.count
        if number == 1:
            self.begun.set()
            assert self.go.wait(PATIENCE_S)
            if self._fails:
                raise TruthUnknown("not read")
        return number


class Asking:
    def __init__(self, shared: Shared[int], reads: Reads, within_s: float | None = None) -> None:
        self.got: int | Exception | None = None
        self._thread = threading.Thread(target=self._ask, args=(shared, reads, within_s), daemon=True)
        self._thread.start()

    def _ask(self, shared: Shared[int], reads: Reads, within_s: float | None) -> None:
        try:
            self.got = shared.get(reads, soon(), within_s)
        except TruthUnknown as error:
            self.got = error

    def end(self) -> int | Exception | None:
        # Roused by the end of a read, not by its own deadline.
        self._thread.join(PATIENCE_S / 2)
        assert not self._thread.is_alive()
        return self.got


def test_who_asks_during_a_read_shares_the_next_one() -> None:
    shared, reads = Shared[int](CLOCK, "reading"), Reads()
    first = Asking(shared, reads)
    assert reads.begun.wait(PATIENCE_S)
    others = [Asking(shared, reads) for _ in range(20)]
    # Those that have not asked yet have the third read, which is as true.
    CLOCK.sleep(0.2)
    reads.go.set()

    assert first.end() == 1
    assert all(got is not None and got != 1 for got in [each.end() for each in others])
    assert reads.count < 10


def test_who_asks_after_a_read_has_its_own() -> None:
    shared, reads = Shared[int](CLOCK, "reading"), Reads()
    reads.go.set()

    assert [shared.get(reads, soon()) for _ in range(3)] == [1, 2, 3]


def test_a_read_that_fails_is_made_again_for_the_others() -> None:
    shared, reads = Shared[int](CLOCK, "reading"), Reads(fails=True)
    first = Asking(shared, reads)
    assert reads.begun.wait(PATIENCE_S)
    second = Asking(shared, reads)
    reads.go.set()

    assert isinstance(first.end(), TruthUnknown)
    assert second.end() == 2


def test_who_has_no_time_to_wait_for_the_next_read_goes() -> None:
    shared, reads = Shared[int](CLOCK, "reading"), Reads()
    first = Asking(shared, reads)
    assert reads.begun.wait(PATIENCE_S)

    with pytest.raises(HypervisorUnreachable, match="reading: no answer"):
        shared.get(reads, soon(0.05))

    reads.go.set()
    assert first.end() == 1


def test_what_was_read_last_is_told_as_long_as_it_is_young() -> None:
    clock = HandClock()
    shared = Shared[int](clock, "reading")
    assert shared.last() is None

    def slow(_: Deadline) -> int:
        clock.pass_time(3.0)
        return 5

    shared.get(slow, Deadline.after(clock, 10.0))
    clock.pass_time(1.0)

    # From its beginning on.
    assert (shared.last(4.0), shared.last(3.9), shared.last()) == (5, None, 5)


@pytest.mark.parametrize(("age", "got"), [(4.0, 1), (4.1, 2)])
def test_who_is_content_with_a_young_answer_has_the_last_one(age: float, got: int) -> None:
    clock = HandClock()
    shared, reads = Shared[int](clock, "reading"), Reads()
    reads.go.set()
    shared.get(reads, soon())
    clock.pass_time(age)

    assert shared.get(reads, soon(), within_s=4.0) == got


def test_who_is_content_with_a_young_answer_has_that_of_a_read_under_way() -> None:
    shared, reads = Shared[int](CLOCK, "reading"), Reads()
    first = Asking(shared, reads)
    assert reads.begun.wait(PATIENCE_S)
    others = [Asking(shared, reads, within_s=PATIENCE_S) for _ in range(8)]
    CLOCK.sleep(0.2)
    reads.go.set()

    assert [each.end() for each in (first, *others)] == [1] * 9
