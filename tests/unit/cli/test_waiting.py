"""`vmdkvol volume wait`: until the volume is ready or gone, with a service that may restart meanwhile."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.shared.test_wire_values import INFO
from vmdkvol.cli.volume import row_of
from vmdkvol.cli.waiting import ASK_EVERY_S, AWAY_S, Lines, screen, wait
from vmdkvol.clock import Deadline
from vmdkvol.errors import ServiceUnreachable, StillWorking, VolumeError, VolumeNotFound
from vmdkvol.messages import A, Request
from vmdkvol.names import VolumeRef
from vmdkvol.volume import Doing, State, VolumeInfo, Work

REF = VolumeRef.parse("big")
READY = replace(INFO, name="big", state=State.READY, work=None)
AWAY = ServiceUnreachable("the service is away")
GONE = VolumeNotFound("there is no volume big")


def preparing(percent: int) -> VolumeInfo:
    return replace(READY, state=State.PREPARING, work=Work(Doing.CREATE, percent, 0.0))


@dataclass
class Service:
    """Answers with what is next; the last answer stays."""

    answers: list[VolumeInfo | VolumeError]
    asked: int = 0

    def ask(self, request: Request[A], answer_s: float = 15.0) -> A:
        self.asked += 1
        answer: Any = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, VolumeError):
            raise answer
        found: A = answer
        return found


@dataclass
class Shown:
    percents: list[int] = field(default_factory=list)

    def show(self, name: str, work: Work) -> None:
        self.percents.append(work.percent)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_a_volume_that_is_ready_is_not_waited_for(clock: HandClock) -> None:
    service, shown = Service([READY]), Shown()
    assert wait(service, REF, clock, shown, Deadline.after(clock, 10.0)) == READY
    assert (service.asked, shown.percents, clock.monotonic()) == (1, [], 0.0)


def test_it_is_shown_as_it_goes_until_it_is_ready(clock: HandClock) -> None:
    service, shown = Service([preparing(10), preparing(40), preparing(99), READY]), Shown()
    assert wait(service, REF, clock, shown, Deadline.after(clock, 60.0)) == READY
    assert shown.percents == [10, 40, 99]
    assert clock.monotonic() == 3 * ASK_EVERY_S


def test_an_older_service_says_only_that_it_is_preparing(clock: HandClock) -> None:
    service, shown = Service([replace(READY, state=State.PREPARING), READY]), Shown()
    wait(service, REF, clock, shown, Deadline.after(clock, 60.0))
    assert shown.percents == [0]


def test_a_service_that_restarts_is_a_pause(clock: HandClock) -> None:
    service, shown = Service([preparing(10), AWAY, AWAY, preparing(40), READY]), Shown()
    assert wait(service, REF, clock, shown, Deadline.after(clock, 60.0)) == READY


def test_a_service_that_is_away_from_the_first_is_told(clock: HandClock) -> None:
    with pytest.raises(ServiceUnreachable):
        wait(Service([AWAY]), REF, clock, Shown(), Deadline.after(clock, 60.0))


def test_a_service_that_stays_away_is_told_after_a_minute(clock: HandClock) -> None:
    with pytest.raises(ServiceUnreachable):
        wait(Service([preparing(10), AWAY]), REF, clock, Shown(), Deadline.after(clock, 3600.0))
    assert AWAY_S <= clock.monotonic() <= AWAY_S + 2 * ASK_EVERY_S


def test_a_creation_that_failed_is_told_as_such(clock: HandClock) -> None:
    with pytest.raises(VolumeNotFound, match="is gone: it could not be made, or it was removed") as caught:
        wait(Service([preparing(10), GONE]), REF, clock, Shown(), Deadline.after(clock, 60.0))
    assert caught.value.exit_code == 4


def test_a_volume_that_never_was_is_not_said_to_be_gone(clock: HandClock) -> None:
    with pytest.raises(VolumeNotFound, match="there is no volume big"):
        wait(Service([GONE]), REF, clock, Shown(), Deadline.after(clock, 60.0))


def test_at_its_time_limit_it_says_how_far_the_work_is(clock: HandClock) -> None:
    with pytest.raises(StillWorking, match="volume big: still being created, 10 % done") as caught:
        wait(Service([preparing(10)]), REF, clock, Shown(), Deadline.after(clock, 5.0))
    assert clock.monotonic() == 5.0
    assert caught.value.exit_code == 6


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


def test_a_row_says_what_is_done_in_words_and_for_programs() -> None:
    row = row_of(replace(preparing(43), work=Work(Doing.CREATE, 43, 0.0, 240)))
    assert (row["state"], row["progress"]) == ("preparing", "being created, 43 % done, about 4 minutes left")
    assert (row["percent"], row["seconds_left"]) == (43, 240)


def test_a_row_of_a_volume_that_rests_has_no_progress() -> None:
    row = row_of(READY)
    assert (row["progress"], row["percent"], row["seconds_left"]) == (None, None, None)
