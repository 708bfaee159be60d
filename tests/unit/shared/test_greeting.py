"""When Hello is said, and when its answer has taken too long or is no news."""

from __future__ import annotations

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol import wire
from vmdkvol.frames import Decoder, Frame
from vmdkvol.greeting import HELLO_S, SILENCE_S, Greeting
from vmdkvol.messages import Done, Hello


@pytest.fixture
def clock() -> HandClock:
    return HandClock(monotonic=100.0)


@pytest.fixture
def greeting(clock: HandClock) -> Greeting:
    return Greeting(Hello(1, 2, "agent", "boot"), clock, SILENCE_S)


def said(greeting: Greeting, *, quiet: bool = False) -> Frame:
    decoder = Decoder()
    decoder.feed(greeting.say(quiet=quiet))
    frame = decoder.take()
    assert frame is not None
    return frame


def answer(to: Frame) -> Frame:
    assert to.id is not None
    return Frame(to.id, None, wire.ANSWER, wire.dump(Done()))


def test_a_hello_is_under_way_until_it_is_answered(greeting: Greeting) -> None:
    frame = said(greeting)
    assert greeting.under_way
    assert greeting.answered_by(answer(frame))
    assert greeting.end()
    assert not greeting.under_way


def test_another_call_s_answer_is_not_hello_s(greeting: Greeting) -> None:
    other = said(greeting)
    said(greeting)
    assert not greeting.answered_by(answer(other))


def test_an_error_that_names_no_call_is_hello_s(greeting: Greeting) -> None:
    """What the service says to a connection that it closes, before it has read whose Hello it is."""
    said(greeting)
    assert greeting.answered_by(Frame(None, None, wire.ERROR, {}))


def test_progress_is_no_answer(greeting: Greeting) -> None:
    frame = said(greeting)
    assert not greeting.answered_by(Frame(frame.id, None, wire.PROGRESS, {"percent": 1}))


def test_a_hello_is_overdue_when_its_time_is_over(greeting: Greeting, clock: HandClock) -> None:
    said(greeting)
    assert greeting.moment == clock.monotonic() + HELLO_S
    clock.pass_time(HELLO_S - 0.1)
    assert not greeting.overdue
    clock.pass_time(0.2)
    assert greeting.overdue


def test_after_a_silence_a_hello_is_wanted(greeting: Greeting, clock: HandClock) -> None:
    clock.pass_time(SILENCE_S - 1.0)
    assert not greeting.wanted
    greeting.heard()
    clock.pass_time(SILENCE_S - 1.0)
    assert not greeting.wanted
    clock.pass_time(2.0)
    assert greeting.wanted


def test_no_second_hello_is_wanted_while_one_is_under_way(greeting: Greeting, clock: HandClock) -> None:
    said(greeting)
    clock.pass_time(SILENCE_S + 1.0)
    assert not greeting.wanted


def test_the_answer_to_a_quiet_hello_is_no_news(greeting: Greeting) -> None:
    said(greeting, quiet=True)
    assert not greeting.end()


def test_where_the_kernel_tells_silence_is_nothing(clock: HandClock) -> None:
    greeting = Greeting(Hello(1, 2, "agent", "boot"), clock, None)
    clock.pass_time(1e6)
    assert (greeting.wanted, greeting.moment) == (False, None)
