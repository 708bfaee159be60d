"""The agent's end of the channel: it finds the service again, carries each call over, and says what it knows (F31, F34)."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import CLOCK, VM_1, Site, call, soon, until
from vmdkvol import frames, wire
from vmdkvol.channel import Address, listen
from vmdkvol.errors import (
    BadFrame,
    BadRequest,
    Internal,
    NotEnrolled,
    ProtocolVersion,
    ServiceUnreachable,
    StillWorking,
    Unavailable,
    VolumeError,
)
from vmdkvol.frames import Decoder, Frame
from vmdkvol.line import Line
from vmdkvol.messages import Attachments, Call, Detach, Done, Hello, ListAttached, Notice, Request, Wanted, Welcome
from vmdkvol.volume import VmId, VolumeId

VOLUME = VolumeId(UUID(int=7))
WELCOME = Welcome(1, VM_1, "host-1", "fake")
ASKED = ListAttached()


class FakeService:
    """Listens at an address and does with each connection what the next of ``acts`` says; the last one is repeated."""

    def __init__(self, address: Address, *acts: Callable[[FakePeer], None]) -> None:
        self._acts = list(acts)
        self._listener = listen(address)
        self._listener.socket.setblocking(True)
        self.peers: list[FakePeer] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.socket.accept()
            except OSError:
                return
            peer = FakePeer(connection)
            self.peers.append(peer)
            act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
            threading.Thread(target=peer.play, args=(act,)).start()

    def close(self) -> None:
        self._listener.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for peer in self.peers:
            peer.hang_up()


class FakePeer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = Decoder()
        self.seen: list[Frame] = []

    def play(self, act: Callable[[FakePeer], None]) -> None:
        try:
            act(self)
        except OSError:
            pass
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._connection.close()

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def next(self) -> Frame:
        while (frame := self._decoder.take()) is None:
            piece = self._connection.recv(4096)
            if not piece:
                raise OSError("the agent hung up")
            self._decoder.feed(piece)
        self.seen.append(frame)
        return frame

    def welcome(self) -> None:
        frame = self.next()
        assert frame.type == "Hello"
        assert frame.id is not None
        self.send(wire.write_answer(frame.id, WELCOME))

    def answer(self, frame: Frame) -> None:
        assert frame.id is not None
        kind = WELCOME if frame.type == "Hello" else Attachments(())
        self.send(wire.write_answer(frame.id, kind))


def well(peer: FakePeer) -> None:
    """Answer everything."""
    while True:
        peer.answer(peer.next())


def deaf(peer: FakePeer) -> None:
    """Read everything, say nothing."""
    while True:
        peer.next()


def greeted_and_deaf(peer: FakePeer) -> None:
    peer.welcome()
    deaf(peer)


def greeted_then(*replies: bytes | Callable[[UUID], bytes]) -> Callable[[FakePeer], None]:
    """Answer Hello, wait for a request, send ``replies`` and hang up."""

    def act(peer: FakePeer) -> None:
        peer.welcome()
        frame = peer.next()
        assert frame.id is not None
        for reply in replies:
            peer.send(reply if isinstance(reply, bytes) else reply(frame.id))

    return act


class Desk:
    """Makes services and lines at one address, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.address = Address(directory / "service.sock")
        self._ends: list[Callable[[], None]] = []

    def service(self, *acts: Callable[[FakePeer], None]) -> FakeService:
        made = FakeService(self.address, *acts)
        self._ends.append(made.close)
        return made

    def line(self, **more: Any) -> Line:
        more = {"agent": "test", "boot_id": "boot", "first_pause_s": 0.002, **more}
        line = Line(self.address, CLOCK, **more).start()
        self._ends.append(line.close)
        return line

    def close(self) -> None:
        for end in reversed(self._ends):
            end()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


# --- being up --------------------------------------------------------------------------------------------------


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
    assert wire.read_request(service.peers[0].seen[0]) == Hello(1, 1, "vmdkvol 9", "b-1")


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
        started.wait(5)
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


# --- the service is away ---------------------------------------------------------------------------------------


def test_a_call_waits_for_a_service_that_comes(desk: Desk) -> None:
    line = desk.line()
    threading.Timer(0.05, lambda: desk.service(well)).start()
    assert line.ask(ASKED, call()) == Attachments(())


def test_a_call_does_not_wait_long_for_a_service_that_stays_away(desk: Desk) -> None:
    line = desk.line(patience_s=0.05)
    begin = time.monotonic()
    with pytest.raises(ServiceUnreachable, match="cannot be reached"):
        line.ask(ASKED, call(60.0))
    assert time.monotonic() - begin < 2.0


def test_a_call_does_not_wait_longer_than_its_deadline(desk: Desk) -> None:
    line = desk.line()
    begin = time.monotonic()
    with pytest.raises(ServiceUnreachable):
        line.ask(ASKED, call(0.05))
    assert time.monotonic() - begin < 1.0


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


# --- the service refuses us ------------------------------------------------------------------------------------


def refusing(error: VolumeError) -> Callable[[FakePeer], None]:
    def act(peer: FakePeer) -> None:
        peer.send(wire.write_error(peer.next().id, error))

    return act


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


# --- the connection breaks -------------------------------------------------------------------------------------


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
    assert second <= first - 50


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


# --- the service misbehaves ------------------------------------------------------------------------------------


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


# --- callers ---------------------------------------------------------------------------------------------------


def test_two_threads_with_the_same_call_share_it(desk: Desk) -> None:
    gate = threading.Event()

    def act(peer: FakePeer) -> None:
        peer.welcome()
        frame = peer.next()
        gate.wait(5)
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
        gate.wait(5)
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


# --- the whole channel under a service of ours -----------------------------------------------------------------


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
