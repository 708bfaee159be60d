"""`vmdkvol volume wait`: until the volume is ready or gone, with a service that may restart meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.cli.waiting import ASK_EVERY_S, AWAY_S, Lines, going_on, look_at_task, look_at_volume, screen, unanswered, wait
from vmdkvol.clock import Deadline
from vmdkvol.errors import Conflict, ServiceUnreachable, StillWorking, VolumeError, VolumeNotFound
from vmdkvol.volume import Doing, Work

AWAY = ServiceUnreachable("the service is away")
GONE = VolumeNotFound("there is no volume big")


def creating(percent: int) -> Work:
    return Work(Doing.CREATE, percent, 0.0)


@dataclass
class Looked:
    """Says what is next; the last stays."""

    says: list[Work | None | VolumeError]
    times: int = 0

    def __call__(self) -> Work | None:
        self.times += 1
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, VolumeError):
            raise said
        return said


@dataclass
class Shown:
    percents: list[int] = field(default_factory=list)

    def show(self, name: str, work: Work) -> None:
        self.percents.append(work.percent)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_what_has_ended_is_not_waited_for(clock: HandClock) -> None:
    look, shown = Looked([None]), Shown()
    wait(look, "big", clock, shown, Deadline.after(clock, 10.0))
    assert (look.times, shown.percents, clock.monotonic()) == (1, [], 0.0)


def test_it_is_shown_as_it_goes_until_it_has_ended(clock: HandClock) -> None:
    look, shown = Looked([creating(10), creating(40), creating(99), None]), Shown()
    wait(look, "big", clock, shown, Deadline.after(clock, 60.0))
    assert shown.percents == [10, 40, 99]
    assert clock.monotonic() == 3 * ASK_EVERY_S


def test_a_service_that_restarts_is_a_pause(clock: HandClock) -> None:
    look = Looked([creating(10), AWAY, AWAY, creating(40), None])
    wait(look, "big", clock, Shown(), Deadline.after(clock, 60.0))
    assert look.times == 5


def test_a_service_that_is_away_from_the_first_is_told(clock: HandClock) -> None:
    with pytest.raises(ServiceUnreachable):
        wait(Looked([AWAY]), "big", clock, Shown(), Deadline.after(clock, 60.0))


def test_a_service_that_stays_away_is_told_after_a_minute(clock: HandClock) -> None:
    with pytest.raises(ServiceUnreachable):
        wait(Looked([creating(10), AWAY]), "big", clock, Shown(), Deadline.after(clock, 3600.0))
    assert AWAY_S <= clock.monotonic() <= AWAY_S + 2 * ASK_EVERY_S


def test_at_its_time_limit_it_says_how_far_the_work_is(clock: HandClock) -> None:
    with pytest.raises(StillWorking, match="volume big: still being created, 10 % done") as caught:
        wait(Looked([creating(10)]), "big", clock, Shown(), Deadline.after(clock, 5.0))
    assert clock.monotonic() == 5.0
    assert caught.value.exit_code == 6


@dataclass
class Api:
    """The API's answers to looks at one volume or task."""

    says: list[Any]

    def get(self, path: str, query: object = None) -> Any:
        said = self.says.pop(0)
        if isinstance(said, VolumeError):
            raise said
        return said


def looking(*rows: Any) -> Any:
    api = Api([row if isinstance(row, VolumeError) else {"row": row} for row in rows])
    return look_at_volume(api, "/v1/x", {}, "big", [])  # type: ignore[arg-type]


PREPARING = {"state": "preparing", "doing": None, "percent": None, "created_at": 5.0}
READY = {**PREPARING, "state": "ready"}


def test_a_volume_says_what_is_done_to_it() -> None:
    look = looking({**READY, "doing": "grow", "percent": 30, "left_s": 7}, READY)
    assert look() == Work(Doing.GROW, 30, 0.0, 7)
    assert look() is None


def test_one_that_is_preparing_is_being_made_also_when_nobody_says_how_far() -> None:
    assert looking(PREPARING)() == Work(Doing.CREATE, 0, 5.0)


def test_a_creation_that_failed_is_told_as_such() -> None:
    look = looking(PREPARING, GONE)
    look()
    with pytest.raises(VolumeNotFound, match="is gone: it could not be made, or it was removed") as caught:
        look()
    assert caught.value.exit_code == 4


def test_a_volume_that_never_was_is_not_said_to_be_gone() -> None:
    with pytest.raises(VolumeNotFound, match="there is no volume big"):
        looking(GONE)()


def task(state: str, percent: int | None = None) -> dict[str, Any]:
    info = {"id": "t", "volume": "v", "volume_name": "big", "doing": "create", "state": state, "since": 1.0}
    return {**info, "percent": percent, "left_s": None}


def test_a_task_is_looked_at_until_it_is_done() -> None:
    look = look_at_task(Api([task("running", 40), task("done")]), "t")  # type: ignore[arg-type]
    assert look() == Work(Doing.CREATE, 40, 1.0)
    assert look() is None


def test_a_task_that_was_undone_is_no_success() -> None:
    told = look_at_task(Api([task("undone")]), "t")()  # type: ignore[arg-type]
    assert isinstance(told, Conflict)
    assert "create of volume 'big' was undone" in told.text


@pytest.mark.parametrize("code", ["hypervisor-unreachable", "truth-unknown", "no-space"])
def test_what_the_work_failed_with_is_told_at_once_and_is_not_taken_for_a_service_that_is_away(
    clock: HandClock, code: str
) -> None:
    failure = {"code": code, "text": "no host reaches the datastore", "remedy": "look at the hosts"}
    look = look_at_task(Api([task("running", 40), {**task("undone"), "failure": failure}]), "t")  # type: ignore[arg-type]
    with pytest.raises(VolumeError, match=f"no host reaches the datastore; look at the hosts .{code}.") as caught:
        wait(look, "big", clock, Shown(), Deadline.after(clock, 3600.0))
    assert (caught.value.code, clock.monotonic()) == (code, ASK_EVERY_S)


def test_who_breaks_it_off_is_told_where_the_work_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), going_on({"big\x1b": "7"}):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "\nthe work on big\\x1b goes on: vmdkvol task wait 7\n"


@pytest.mark.parametrize("state", ["done", "undone"])
def test_the_end_of_a_task_is_told_to_who_keeps_what_goes_on(state: str) -> None:
    going = {"one": "1", "two": "2"}
    with contextlib.suppress(Conflict):
        look_at_task(Api([task(state)]), "1", lambda: going.pop("one"))()  # type: ignore[arg-type]
    assert going == {"two": "2"}


def test_an_order_that_was_broken_off_says_where_its_work_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), unanswered("big\x1b"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "\nwhat was asked for big\\x1b may go on: vmdkvol task ls --all\n"


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for percent in range(1, 31):
        lines.show("big", Work(Doing.CREATE, percent, 0.0))
    assert capsys.readouterr().err.splitlines() == [
        "volume big: being created, 1 % done",
        "volume big: being created, 10 % done",
        "volume big: being created, 20 % done",
        "volume big: being created, 30 % done",
    ]


def all_of(terminal: int) -> str:
    """Return what was written to the other end, which is closed; one read gives a piece of it. Closes the terminal."""
    said = b""
    try:
        while piece := os.read(terminal, 65536):
            said += piece
    except OSError as error:
        # What a terminal says in the place of an end (pty(7)).
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(terminal)
    return said.decode()


def test_on_a_terminal_there_is_a_bar_and_a_name_is_shown_as_it_is() -> None:
    mine, theirs = os.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal, screen(terminal) as shown:
        shown.show("[red]", Work(Doing.CREATE, 43, 0.0, 240))
    said = all_of(mine)
    assert "volume [red]" in said
    assert "43 % done" in said
