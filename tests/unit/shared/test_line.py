"""The agent's end of the channel: it finds its service, tells who waits for it, and serves many callers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.doubles.channel_ends import CLOCK, Site, call, until
from tests.doubles.fake_service import (
    WELCOME,
    Desk,
    FakePeer,
    FakeService,
    deaf,
    greeted_and_deaf,
    greeted_then,
    refusing,
    well,
)
from vmdkvol import wire
from vmdkvol.errors import (
    BadRequest,
    NotEnrolled,
    ProtocolVersion,
    ServiceUnreachable,
    StillWorking,
    Unavailable,
    VolumeError,
)
from vmdkvol.line import Line
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, Attachments, Detach, Hello, ListAttached, Request, Welcome
from vmdkvol.notices import Notice, Wanted
from vmdkvol.volume import VolumeId

VOLUME = VolumeId(UUID(int=7))
ASKED = ListAttached()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_a_line_is_up_once_hello_was_answered(desk: Desk) -> None:
    desk.service(well)
    line = desk.line()
    assert until(lambda: line.welcome == WELCOME)


def test_a_line_without_a_service_is_not_up(desk: Desk) -> None:
    line = desk.line()
    CLOCK.sleep(0.02)
    assert not line.up


def test_a_line_whose_hello_is_not_answered_is_not_up(desk: Desk) -> None:
    service = desk.service(deaf)
    line = desk.line()
    assert until(lambda: bool(service.peers and service.peers[0].seen))
    assert not line.up


def test_hello_tells_versions_agent_and_boot(desk: Desk) -> None:
    service = desk.service(well)
    line = desk.line(agent="vmdkvol 9", boot_id="b-1")
    assert until(lambda: line.up)
    assert wire.read_request(service.peers[0].seen[0]) == Hello(OLDEST_VERSION, NEWEST_VERSION, "vmdkvol 9", "b-1")


def test_who_waits_for_the_line_hears_that_it_is_up(desk: Desk) -> None:
    heard: list[Welcome] = []
    desk.line(on_up=heard.append)
    desk.service(well)
    assert until(lambda: heard == [WELCOME])


def test_who_waits_for_the_line_hears_of_each_return(desk: Desk) -> None:
    heard: list[str] = []
    service = desk.service(well)
    desk.line(on_up=lambda _: heard.append("up"), on_down=lambda _: heard.append("down"))
    assert until(lambda: heard == ["up"])
    service.peers[0].hang_up()
    assert until(lambda: heard == ["up", "down", "up"])


def test_a_hook_that_fails_does_not_end_the_line(desk: Desk) -> None:
    def hook(_: Welcome) -> None:
        raise RuntimeError("a bug in the agent")

    desk.service(well)
    assert desk.line(on_up=hook).ask(ASKED, call()) == Attachments(())


def test_a_hook_may_ask(desk: Desk) -> None:
    answers: list[Attachments] = []
    desk.service(well)
    lines: list[Line] = []
    started = threading.Event()

    def hook(_: Welcome) -> None:
        started.wait(60)
        answers.append(lines[0].ask(ASKED, call()))

    lines.append(desk.line(on_up=hook))
    started.set()
    assert until(lambda: answers == [Attachments(())])


def test_the_agent_outlives_any_number_of_its_services(desk: Desk) -> None:
    line = desk.line()
    for _ in range(5):
        service = FakeService(desk.address, well)
        assert line.ask(ASKED, call()) == Attachments(())
        service.close()


def test_a_call_waits_for_a_service_that_comes(desk: Desk) -> None:
    line = desk.line()
    threading.Timer(0.05, lambda: desk.service(well)).start()
    assert line.ask(ASKED, call()) == Attachments(())


def test_a_call_does_not_wait_long_for_a_service_that_stays_away(desk: Desk) -> None:
    line = desk.line(patience_s=0.05)
    begin = time.monotonic()
    with pytest.raises(ServiceUnreachable, match="cannot be reached"):
        line.ask(ASKED, call(60.0))
    assert time.monotonic() - begin < 30.0


def test_a_call_that_was_sent_does_not_wait_long_either_for_a_service_that_went_away(desk: Desk) -> None:
    service = FakeService(desk.address, greeted_and_deaf)
    line = desk.line(patience_s=0.2)
    errors: list[VolumeError] = []

    def ask() -> None:
        with pytest.raises(ServiceUnreachable) as raised:
            line.ask(Detach(VOLUME, 1), call(60.0))
        errors.append(raised.value)

    asking = threading.Thread(target=ask)
    asking.start()
    assert until(lambda: bool(service.peers) and len(service.peers[0].seen) == 2)
    service.close()
    asking.join(20)

    assert len(errors) == 1


def test_a_call_does_not_wait_longer_than_its_deadline(desk: Desk) -> None:
    line = desk.line(patience_s=60.0)
    begin = time.monotonic()
    with pytest.raises(ServiceUnreachable):
        line.ask(ASKED, call(0.05))
    assert time.monotonic() - begin < 30.0


def test_a_service_that_accepts_and_says_nothing_is_unreachable(desk: Desk) -> None:
    desk.service(deaf)
    with pytest.raises(ServiceUnreachable):
        desk.line(patience_s=0.05).ask(ASKED, call())


def test_the_tries_to_connect_become_rarer(desk: Desk) -> None:
    service = desk.service(lambda peer: peer.hang_up())
    desk.line(first_pause_s=0.02)
    CLOCK.sleep(0.1)
    CLOCK.sleep(0.1)
    CLOCK.sleep(0.1)
    assert 2 <= len(service.peers) <= 6


@pytest.mark.parametrize("error", [NotEnrolled("not known"), ProtocolVersion("1 to 1, 7 to 9")])
def test_a_refusal_is_raised_at_once_and_as_it_is(desk: Desk, error: VolumeError) -> None:
    desk.service(refusing(error))
    line = desk.line()
    with pytest.raises(type(error), match=error.text):
        line.ask(ASKED, call(30.0))


def test_after_a_refusal_the_next_call_need_not_wait(desk: Desk) -> None:
    desk.service(refusing(NotEnrolled("not known")))
    line = desk.line()
    assert until(lambda: isinstance(line.trouble, NotEnrolled))
    with pytest.raises(NotEnrolled):
        line.ask(ASKED, call(30.0))


def test_a_refusal_is_not_for_ever(desk: Desk) -> None:
    desk.service(refusing(NotEnrolled("not known")), well)
    line = desk.line()
    assert until(lambda: line.up)
    assert line.ask(ASKED, call()) == Attachments(())


def test_a_call_that_the_service_had_before_it_refused_us_is_unknown_not_refused(desk: Desk) -> None:
    desk.service(greeted_then(), refusing(NotEnrolled("not known")))
    with pytest.raises(ServiceUnreachable, match="not known"):
        desk.line().ask(Detach(VOLUME, 1), call())


def test_a_service_that_is_full_is_asked_again(desk: Desk) -> None:
    full = wire.write_error(None, Unavailable("16 connections are open"))
    desk.service(lambda peer: peer.send(full), well)
    assert desk.line().ask(ASKED, call()) == Attachments(())


def test_two_threads_with_the_same_call_share_it(desk: Desk) -> None:
    gate = threading.Event()

    def act(peer: FakePeer) -> None:
        peer.welcome()
        frame = peer.next()
        gate.wait(60)
        peer.answer(frame)
        well(peer)

    service = desk.service(act)
    line = desk.line()
    asked = call()
    answers: list[Attachments] = []
    threads = [threading.Thread(target=lambda: answers.append(line.ask(ASKED, asked))) for _ in range(3)]
    for thread in threads:
        thread.start()
    CLOCK.sleep(0.03)
    gate.set()
    for thread in threads:
        thread.join()
    assert answers == [Attachments(())] * 3
    assert len(service.peers[0].seen) == 2


def test_another_request_under_a_call_id_in_flight_is_refused(desk: Desk) -> None:
    desk.service(greeted_and_deaf)
    line = desk.line()
    asked = call(0.5)
    errors: list[type[BaseException]] = []

    def first() -> None:
        try:
            line.ask(Detach(VOLUME, 1), asked)
        except VolumeError as error:
            errors.append(type(error))

    thread = threading.Thread(target=first)
    thread.start()
    CLOCK.sleep(0.03)
    with pytest.raises(BadRequest):
        line.ask(Detach(VOLUME, 2), asked)
    thread.join()
    assert errors == [StillWorking]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ListAttached(), "has not answered this ListAttached within the time limit; try again; if it stays so, "),
        (Detach(VOLUME, 1), "takes longer than the time limit with this Detach; it goes on in the background; "),
    ],
    ids=["a-question", "a-change"],
)
def test_of_what_is_only_read_it_is_not_said_that_it_goes_on(desk: Desk, request_: Request[Any], says: str) -> None:
    desk.service(greeted_and_deaf)
    with pytest.raises(StillWorking) as told:
        desk.line().ask(request_, call(0.3))
    assert says in str(told.value)


def test_closing_wakes_whoever_waits(desk: Desk) -> None:
    desk.service(deaf)
    line = desk.line()
    errors: list[str] = []

    def ask() -> None:
        try:
            line.ask(ASKED, call(30.0))
        except ServiceUnreachable as error:
            errors.append(error.text)

    thread = threading.Thread(target=ask)
    thread.start()
    CLOCK.sleep(0.02)
    line.close()
    thread.join()
    assert errors == ["the connection to the service is closed"]


def test_a_closed_line_refuses(desk: Desk) -> None:
    desk.service(well)
    line = desk.line()
    line.close()
    with pytest.raises(ServiceUnreachable, match="closed"):
        line.ask(ASKED, call())


def test_closing_twice_is_closing_once(desk: Desk) -> None:
    line = desk.line()
    line.close()
    line.close()


def test_a_closed_line_leaves_no_thread(desk: Desk) -> None:
    before = set(threading.enumerate())
    line = desk.line()
    line.close()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("line")} <= before


def test_two_hundred_calls_share_one_connection(tmp_path: Path) -> None:
    site = Site(tmp_path, lambda _request, _call: Attachments(()))
    line = site.line()
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(20):
            answer = line.ask(ASKED, call(20.0))
            if answer != Attachments(()):
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.close()
    assert wrong == []


def test_a_notice_that_comes_before_anybody_listens_is_only_lost(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        peer.welcome()
        peer.send(wire.write_notice(Wanted(VOLUME)))
        well(peer)

    desk.service(act)
    heard: list[Notice] = []
    line = desk.line()
    line.ask(ASKED, call())
    line.subscribe(heard.append)
    assert line.ask(ASKED, call()) == Attachments(())


def test_a_listener_that_cannot_follow_loses_the_oldest_notices(desk: Desk) -> None:
    notices = [Wanted(VolumeId(UUID(int=number))) for number in range(1000)]
    gate = threading.Event()
    heard: list[Notice] = []

    def listen_slowly(notice: Notice) -> None:
        gate.wait(60)
        heard.append(notice)

    def act(peer: FakePeer) -> None:
        peer.welcome()
        frame = peer.next()
        for notice in notices:
            peer.send(wire.write_notice(notice))
        peer.answer(frame)
        well(peer)

    desk.service(act)
    line = desk.line()
    line.subscribe(listen_slowly)
    line.ask(ASKED, call())
    gate.set()
    assert until(lambda: bool(heard) and heard[-1] == notices[-1])
    assert len(heard) < len(notices)
