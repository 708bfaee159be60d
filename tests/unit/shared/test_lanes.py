"""Lanes: one piece of work at a time for each key, equal work joined, a deadline that ends the waiting and not the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.doubles.hand_clock import HandClock
from tests.doubles.simulated_clock import SimulatedClock, SimulatedWorker
from vmdkvol.clock import Deadline, Worker
from vmdkvol.errors import Busy, NoSpace, StillWorking
from vmdkvol.lanes import Lanes

SEEDS = range(40)


class Site:
    """Lanes on a simulated clock, and what the work on them did."""

    def __init__(self, seed: int) -> None:
        self.clock = SimulatedClock(seed)
        self.lanes = Lanes(self.clock, "lane")
        self.done: list[str] = []
        self.answers: dict[str, object] = {}
        self.running: dict[str, int] = {}

    def work(self, key: str, equal: str, takes_s: float = 1.0) -> Callable[[], str]:
        """Return work that takes time, notes its end, and notices if it is not alone on its lane."""

        def run() -> str:
            assert self.running.get(key, 0) == 0, f"two pieces of work on lane {key}"
            self.running[key] = 1
            self.clock.sleep(takes_s)
            self.running[key] = 0
            self.done.append(equal)
            return f"{equal} of {key}, number {self.done.count(equal)}"

        return run

    def ask(self, who: str, key: str, equal: str, work: Callable[[], object], limit_s: float = 100.0) -> SimulatedWorker:
        """Ask for the work beside; the answer, or the error, is noted under ``who``."""

        def call() -> None:
            try:
                self.answers[who] = self.lanes.run(key, equal, work, Deadline.after(self.clock, limit_s), f"{equal} {key}")
            except Exception as error:  # noqa: BLE001 - the error is this caller's answer
                self.answers[who] = error

        return self.clock.start(who, call)


@pytest.fixture(params=SEEDS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(request.param)
    with site.clock:
        yield site


def test_work_gives_its_result(site: Site) -> None:
    assert site.lanes.run("db", "mount", site.work("db", "mount"), Deadline.after(site.clock, 10.0), "mounting db") == (
        "mount of db, number 1"
    )


def test_equal_work_is_joined(site: Site) -> None:
    callers = [site.ask(f"caller {n}", "db", "mount", site.work("db", "mount")) for n in range(4)]
    for caller in callers:
        caller.join()
    assert site.done == ["mount"]
    assert set(site.answers.values()) == {"mount of db, number 1"}


def test_house_2_a_mount_after_a_queued_unmount_is_new_work(site: Site) -> None:
    callers = []
    for number, equal in enumerate(["mount", "unmount", "mount"]):
        callers.append(site.ask(f"{number} {equal}", "db", equal, site.work("db", equal, 5.0)))
        # Each is in the lane before the next one asks.
        site.clock.sleep(0.1)
    for caller in callers:
        caller.join()
    assert site.done == ["mount", "unmount", "mount"]
    assert site.answers["0 mount"] == "mount of db, number 1"
    assert site.answers["2 mount"] == "mount of db, number 2"


def test_work_after_the_end_of_equal_work_is_new_work(site: Site) -> None:
    for number in (1, 2):
        site.ask(f"call {number}", "db", "mount", site.work("db", "mount")).join()
    assert site.answers["call 2"] == "mount of db, number 2"


def test_work_on_one_lane_is_done_in_the_order_of_asking(site: Site) -> None:
    callers = []
    for number in range(5):
        callers.append(site.ask(f"caller {number}", "db", f"work {number}", site.work("db", f"work {number}", 3.0)))
        site.clock.sleep(0.1)
    for caller in callers:
        caller.join()
    assert site.done == [f"work {number}" for number in range(5)]


def test_other_lanes_go_on_beside(site: Site) -> None:
    slow = site.ask("slow", "slow", "mount", site.work("slow", "slow mount", 60.0))
    site.clock.sleep(0.1)
    quick = site.ask("quick", "quick", "mount", site.work("quick", "quick mount", 1.0))
    quick.join()
    assert site.clock.monotonic() < 2.0
    slow.join()
    assert site.done == ["quick mount", "slow mount"]


def test_at_the_deadline_the_caller_is_told_and_the_work_goes_on(site: Site) -> None:
    site.ask("docker", "db", "mount", site.work("db", "mount", 180.0), limit_s=110.0).join()
    assert isinstance(site.answers["docker"], StillWorking)
    assert "mount db" in str(site.answers["docker"])
    assert site.clock.monotonic() == pytest.approx(110.0)
    assert site.done == []
    assert site.lanes.drain(Deadline.after(site.clock, 100.0))
    assert site.done == ["mount"]


def test_the_repeat_after_a_deadline_joins_the_same_work(site: Site) -> None:
    site.ask("docker", "db", "mount", site.work("db", "mount", 180.0), limit_s=110.0).join()
    site.ask("repeat", "db", "mount", site.work("db", "mount", 180.0), limit_s=110.0).join()
    assert site.answers["repeat"] == "mount of db, number 1"
    assert site.done == ["mount"]
    assert site.clock.monotonic() == pytest.approx(180.0)


def test_a_caller_who_waits_behind_other_work_keeps_the_own_deadline(site: Site) -> None:
    site.ask("first", "db", "mount", site.work("db", "mount", 60.0))
    site.clock.sleep(1.0)
    site.ask("second", "db", "unmount", site.work("db", "unmount"), limit_s=5.0).join()
    assert isinstance(site.answers["second"], StillWorking)
    assert site.clock.monotonic() == pytest.approx(6.0)
    assert site.lanes.drain(Deadline.after(site.clock, 100.0))
    assert site.done == ["mount", "unmount"]


@pytest.mark.parametrize("error", [NoSpace("the datastore is full"), ValueError("a bug"), SystemExit(3)])
def test_an_error_reaches_every_waiter(error: BaseException) -> None:
    for seed in SEEDS:
        site = Site(seed)
        with site.clock:

            def fails(site: Site = site) -> None:
                site.clock.sleep(1.0)
                raise error

            told: list[BaseException] = []

            def call(site: Site = site, work: Callable[[], None] = fails, told: list[BaseException] = told) -> None:
                try:
                    site.lanes.run("db", "mount", work, Deadline.after(site.clock, 10.0), "mounting db")
                except BaseException as reached:  # noqa: BLE001 - what reached this waiter is what is tested
                    told.append(reached)

            for caller in [site.clock.start(f"caller {number}", call) for number in range(3)]:
                caller.join()
            assert told == [error] * 3


def test_after_an_error_the_lane_goes_on(site: Site) -> None:
    def fails() -> None:
        site.clock.sleep(1.0)
        raise NoSpace("the datastore is full")

    first = site.ask("first", "db", "create", fails)
    site.clock.sleep(0.1)
    second = site.ask("second", "db", "mount", site.work("db", "mount"))
    first.join()
    second.join()
    assert isinstance(site.answers["first"], NoSpace)
    assert site.answers["second"] == "mount of db, number 1"


def test_the_callers_of_a_failed_piece_of_work_get_new_work_when_they_repeat(site: Site) -> None:
    def fails() -> None:
        raise NoSpace("the datastore is full")

    site.ask("first", "db", "create", fails).join()
    site.ask("repeat", "db", "create", site.work("db", "create")).join()
    assert site.answers["repeat"] == "create of db, number 1"


def test_a_lane_is_busy_while_it_has_work(site: Site) -> None:
    caller = site.ask("caller", "db", "mount", site.work("db", "mount", 5.0))
    site.clock.sleep(1.0)
    assert site.lanes.busy("db")
    assert not site.lanes.busy("other")
    caller.join()
    assert site.lanes.drain(Deadline.after(site.clock, 1.0))
    assert not site.lanes.busy("db")


def test_a_drain_ends_at_its_deadline(site: Site) -> None:
    site.ask("caller", "db", "mount", site.work("db", "mount", 60.0))
    site.clock.sleep(0.1)
    assert not site.lanes.drain(Deadline.after(site.clock, 10.0))
    assert site.clock.monotonic() == pytest.approx(10.1)


def test_idle_lanes_keep_no_thread(site: Site) -> None:
    for key in "abc":
        site.ask(f"caller {key}", key, "mount", site.work(key, "mount")).join()
    assert site.lanes.drain(Deadline.after(site.clock, 1.0))
    site.clock.sleep(0.1)
    assert [thread.name for thread in site.clock._threads if not thread.done] == ["main"]


def test_work_that_never_ends_lets_its_caller_go(site: Site) -> None:
    def hangs() -> None:
        site.clock.sleep(1e6)

    site.ask("caller", "db", "mount", hangs, limit_s=110.0).join()
    assert isinstance(site.answers["caller"], StillWorking)


class ClockWithoutThreads(HandClock):
    """A process at its limit of threads, until ``full`` is taken away."""

    full = True

    def start(self, name: str, work: Callable[[], None]) -> Worker:
        if self.full:
            raise RuntimeError("can't start new thread")
        return super().start(name, work)


def test_f60_a_lane_without_a_thread_is_refused_and_does_not_block_the_next_call() -> None:
    clock = ClockWithoutThreads()
    lanes = Lanes(clock, "lane")
    with pytest.raises(Busy, match="new thread"):
        lanes.run("db", "mount", lambda: "first", Deadline.after(clock, 5.0), "mounting db")
    assert not lanes.busy("db")
    clock.full = False
    assert lanes.run("db", "mount", lambda: "second", Deadline.after(clock, 5.0), "mounting db") == "second"
