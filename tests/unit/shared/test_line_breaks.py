"""A channel that breaks or talks nonsense: each call is carried over to the next connection, or ends (F31, F34)."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import CLOCK, Site, call, soon, until
from tests.doubles.fake_service import WELCOME, Desk, FakePeer, FakeService, greeted_and_deaf, greeted_then, well
from vmdkvol import frames, wire
from vmdkvol.errors import (
    BadFrame,
    Internal,
    ServiceUnreachable,
    StillWorking,
    VolumeError,
)
from vmdkvol.frames import Frame
from vmdkvol.messages import Attachments, Call, Detach, Done, ListAttached, Request, Welcome
from vmdkvol.volume import VmId, VolumeId

VOLUME = VolumeId(UUID(int=7))
ASKED = ListAttached()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_a_call_in_flight_is_sent_again_with_its_id(desk: Desk) -> None:
    service = desk.service(greeted_then(), well)
    asked = call()
    desk.line().ask(ASKED, asked)
    assert [peer.seen[1].id for peer in service.peers] == [asked.id, asked.id]


def test_a_call_that_is_sent_again_has_less_time_left(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        peer.welcome()
        peer.next()
        CLOCK.sleep(0.05)

    service = desk.service(act, well)
    desk.line().ask(ASKED, call(5.0))
    first, second = (peer.seen[1].left_ms for peer in service.peers)
    assert first is not None
    assert second is not None
    # A tenth of it is the line's own: the service answers before the caller stops waiting.
    assert second <= first - 45


def test_a_call_that_is_answered_is_not_sent_again(desk: Desk) -> None:
    service = desk.service(well)
    line = desk.line()
    line.ask(ASKED, call())
    service.peers[0].hang_up()
    line.ask(ASKED, call())
    assert len(service.peers[1].seen) == 2


def test_a_call_that_its_caller_gave_up_is_not_sent_again(desk: Desk) -> None:
    service = desk.service(greeted_and_deaf, well)
    line = desk.line()
    assert until(lambda: line.up)
    with pytest.raises(StillWorking):
        line.ask(ASKED, call(0.02))
    service.peers[0].hang_up()
    assert until(lambda: len(service.peers) == 2 and line.up)
    assert len(service.peers[1].seen) == 1


def test_a_call_whose_service_never_returns_is_unknown_at_its_deadline(desk: Desk) -> None:
    service = FakeService(desk.address, greeted_then())
    line = desk.line()
    assert until(lambda: line.up)
    threading.Timer(0.02, service.close).start()
    with pytest.raises(ServiceUnreachable):
        line.ask(ASKED, call(0.3))


def test_a_call_that_breaks_every_connection_is_given_up(desk: Desk) -> None:
    desk.service(greeted_then())
    with pytest.raises(ServiceUnreachable, match="broke 8 times"):
        desk.line().ask(ASKED, call(30.0))


def test_work_that_goes_on_is_still_working_while_the_connection_stands(desk: Desk) -> None:
    desk.service(greeted_and_deaf)
    line = desk.line()
    assert until(lambda: line.up)
    with pytest.raises(StillWorking):
        line.ask(ASKED, call(0.05))


def test_after_a_silence_the_line_asks_for_a_sign_of_life(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        peer.welcome()
        peer.next()
        peer.welcome()
        well(peer)

    heard: list[Welcome] = []
    desk.service(act)
    line = desk.line(on_up=heard.append)
    assert until(lambda: line.up)
    with pytest.raises(StillWorking):
        line.ask(ASKED, call(0.02))
    assert until(lambda: len(heard) == 2)


@pytest.mark.parametrize(
    "bytes_",
    [
        pytest.param(b"\xff\xff\xff\xff", id="answer-bomb"),
        pytest.param(struct.pack(">I", frames.MAX_FRAME + 1), id="one-byte-too-long"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(struct.pack(">I", 40000) + b"[" * 40000, id="deep"),
        pytest.param(frames.write(Frame(None, None, "Surprise", {})), id="unknown-notice"),
        pytest.param(frames.write(Frame(None, None, "Wanted", {"volume": 5})), id="broken-notice"),
        pytest.param(frames.write(Frame(None, None, "error", "what")), id="broken-error"),
    ],
)
def test_what_is_no_message_costs_the_connection_and_not_the_call(desk: Desk, bytes_: bytes) -> None:
    desk.service(greeted_then(bytes_), well)
    assert desk.line().ask(ASKED, call()) == Attachments(())


def test_a_line_survives_a_hello_of_nonsense(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        peer.send(frames.write(Frame(peer.next().id, None, wire.ANSWER, {"version": "one"})))

    desk.service(act, well)
    assert desk.line().ask(ASKED, call()) == Attachments(())


def test_a_service_that_chooses_a_version_we_do_not_speak_is_not_believed(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        frame = peer.next()
        assert frame.id is not None
        peer.send(wire.write_answer(frame.id, replace(WELCOME, version=9)))

    desk.service(act, well)
    assert desk.line().ask(ASKED, call()) == Attachments(())


def test_an_answer_of_another_kind_fails_its_call_only(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        peer.welcome()
        frame = peer.next()
        peer.send(frames.write(Frame(frame.id, None, wire.ANSWER, {"nonsense": 1})))
        well(peer)

    service = desk.service(act)
    line = desk.line()
    with pytest.raises(BadFrame):
        line.ask(ASKED, call())
    assert line.ask(ASKED, call()) == Attachments(())
    assert len(service.peers) == 1


def test_an_answer_that_nobody_waits_for_is_dropped(desk: Desk) -> None:
    stray = wire.write_answer(uuid4(), Done())

    def act(peer: FakePeer) -> None:
        peer.welcome()
        peer.send(stray)
        well(peer)

    service = desk.service(act)
    line = desk.line()
    assert line.ask(ASKED, call()) == Attachments(())
    assert len(service.peers) == 1


def test_an_answer_that_comes_twice_counts_once(desk: Desk) -> None:
    def act(peer: FakePeer) -> None:
        peer.welcome()
        while True:
            frame = peer.next()
            peer.answer(frame)
            peer.answer(frame)

    desk.service(act)
    line = desk.line()
    assert [line.ask(ASKED, call()) for _ in range(3)] == [Attachments(())] * 3


def test_progress_is_no_answer(desk: Desk) -> None:
    desk.service(greeted_then(lambda id_: wire.write_progress(id_, 50), lambda id_: wire.write_answer(id_, Attachments(()))))
    assert desk.line().ask(ASKED, call()) == Attachments(())


def test_half_an_answer_is_no_answer(desk: Desk) -> None:
    desk.service(greeted_then(lambda id_: wire.write_answer(id_, Attachments(()))[:-1]), well)
    assert desk.line().ask(ASKED, call()) == Attachments(())


def test_an_answer_right_before_the_end_of_the_connection_counts(desk: Desk) -> None:
    service = desk.service(greeted_then(lambda id_: wire.write_answer(id_, Attachments(()))))
    assert desk.line().ask(ASKED, call()) == Attachments(())
    assert len(service.peers) == 1


class Once:
    """Counts how often each call was carried out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done: dict[tuple[VmId | None, UUID], int] = {}

    def __call__(self, request: Request[Any], call: Call) -> Any:
        with self._lock:
            self.done.setdefault((call.caller, call.id), 0)
            self.done[call.caller, call.id] += 1
        return Done()


def test_no_call_is_lost_or_done_twice_while_services_drain_and_start(tmp_path: Path) -> None:
    once = Once()
    site = Site(tmp_path, once)
    line = site.line()
    stop = threading.Event()
    errors: list[VolumeError] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                line.ask(Detach(VOLUME, 1), call(10.0))
            except VolumeError as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        CLOCK.sleep(0.03)
        site.server.drain(soon(2.0))
        site.new_server()
    stop.set()
    for thread in threads:
        thread.join()
    site.close()
    assert errors == []
    assert set(once.done.values()) == {1}


def test_a_bug_of_the_service_is_internal(tmp_path: Path) -> None:
    def bug(_request: Request[Any], _call: Call) -> Any:
        raise RuntimeError("secret")

    site = Site(tmp_path, bug)
    with pytest.raises(Internal) as raised:
        site.line().ask(ASKED, call())
    site.close()
    assert "secret" not in str(raised.value)
