"""The service's side of the channel: what it refuses, whom it keeps apart, how it ends (T6, T7, L1, L2, F34)."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import CLOCK, VM_1, VM_2, VM_3, VM_4, RawGuest, Site, call, identify, soon, until
from vmdkvol import frames, wire
from vmdkvol.errors import Busy, Conflict, NotEnrolled, ServiceUnreachable, UnknownCaller, VolumeError
from vmdkvol.link import Patience
from vmdkvol.messages import Attachments, Call, Detach, Done, Hello, ListAttached, ListVolumes, Notice, Request, Wanted
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx import crew, reception
from vmdkvol_esx.callers import Caller
from vmdkvol_esx.server import Server

VOLUME = VolumeId(UUID(int=7))


class Handler:
    """Detach waits at the gate; everything else is answered at once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.seen: list[Call] = []

    def __call__(self, request: Request[Any], call: Call) -> Any:
        self.seen.append(call)
        if isinstance(request, Detach):
            assert self.gate.wait(10)
            return Done()
        return Attachments(())


@pytest.fixture
def handler() -> Iterator[Handler]:
    made = Handler()
    yield made
    made.gate.set()


@pytest.fixture
def hasty(tmp_path: Path, handler: Handler) -> Iterator[Site]:
    """A site whose service gives slow peers a tenth of a second."""
    made = Site(tmp_path, handler, (VM_1,), patience=Patience(header_s=0.1, body_s=0.1, reading_s=0.1))
    yield made
    handler.gate.set()
    made.close()


@pytest.fixture
def site(tmp_path: Path, handler: Handler) -> Iterator[Site]:
    made = Site(tmp_path, handler, (VM_1, VM_2, VM_3, VM_4))
    yield made
    handler.gate.set()
    made.close()


def error_of(guest: RawGuest) -> VolumeError:
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ERROR
    return wire.read_error(frame.body)


def test_hello_is_answered_with_who_the_service_says_the_caller_is(site: Site) -> None:
    welcome = wire.read_answer(Hello(1, 1, "", ""), site.guest(VM_2).hello().body)
    assert (welcome.vm, welcome.vm_name, welcome.version) == (VM_2, "host-2", 1)


def test_each_socket_is_its_own_callers(site: Site, handler: Handler) -> None:
    for vm in (VM_1, VM_2, VM_1):
        site.line(vm).ask(ListAttached(), call())
    assert [seen.caller for seen in handler.seen] == [VM_1, VM_2, VM_1]


def test_a_request_before_hello_is_refused(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.send_request(ListAttached())
    assert error_of(guest).code == "bad-frame"
    assert guest.ended()
    assert handler.seen == []


def test_a_version_that_nobody_speaks_gets_both_ranges(site: Site) -> None:
    frame = site.guest().hello(7, 9)
    assert frame.type == wire.ERROR
    assert "7 to 9" in frame.body["text"]
    assert "1 to 1" in frame.body["text"]


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="tls"),
        pytest.param(b"\xff" * 64, id="giant"),
        pytest.param(b"\0\0\0\0", id="empty-frame"),
        pytest.param(struct.pack(">I", 7) + b"garbage", id="not-json"),
        pytest.param(struct.pack(">I", 40000) + b"[" * 40000, id="deep"),
        pytest.param(struct.pack(">I", frames.MAX_REQUEST + 1), id="one-byte-too-long"),
        pytest.param(wire.write_answer(uuid4(), Done()), id="an-answer"),
        pytest.param(b"\xef\xbe\xad\x0b\x33\0\0\0", id="a-guest-of-vdvs"),
    ],
)
def test_the_first_wrong_thing_gets_one_error_and_ends_the_connection(site: Site, garbage: bytes) -> None:
    guest = site.guest()
    guest.hello()
    guest.send(garbage)
    assert error_of(guest).exit_code == 6
    assert guest.ended()


def test_a_request_that_is_wrong_gets_its_error_by_its_id(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    id_ = uuid4()
    guest.send(frames.write(frames.Frame(id_, 100, "Explode", {})))
    frame = guest.receive()
    assert frame is not None
    assert frame.id == id_


def test_a_name_that_is_wrong_is_the_requests_error_and_not_the_connections(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    guest.send(frames.write(frames.Frame(uuid4(), 100, "GetVolume", {"ref": "a/b"})))
    assert error_of(guest).code == "invalid-name"
    guest.send_request(ListAttached())
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER


def test_garbage_of_one_connection_leaves_the_others(site: Site) -> None:
    line = site.line()
    line.ask(ListAttached(), call())
    guest = site.guest()
    guest.send(b"\xff" * 100)
    assert guest.ended()
    assert line.ask(ListAttached(), call(1.0)) == Attachments(())


def test_after_a_thousand_garbage_frames_the_service_is_alive(site: Site) -> None:
    for number in range(1000):
        guest = RawGuest(site.address(VM_1))
        guest.try_to_send(struct.pack(">I", 16) + number.to_bytes(16, "big"))
        guest.close()
    assert site.line(VM_2).ask(ListAttached(), call(2.0)) == Attachments(())
    # The sixteen connections of the first VM are free again too.
    assert until(lambda: _answers(site, VM_1))


def _answers(site: Site, vm: VmId) -> bool:
    guest = RawGuest(site.address(vm))
    try:
        return guest.hello().type == wire.ANSWER
    finally:
        guest.close()


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0\0"], ids=["nothing", "one-byte", "three-bytes"])
def test_a_silent_client_is_given_up(hasty: Site, sent: bytes) -> None:
    guest = hasty.guest()
    guest.send(sent)
    assert error_of(guest).code == "bad-frame"
    assert guest.ended()


def test_half_a_body_is_given_up(hasty: Site) -> None:
    guest = hasty.guest()
    guest.hello()
    guest.send(wire.write_request(ListAttached(), uuid4(), 1.0)[:-1])
    assert error_of(guest).code == "bad-frame"
    assert guest.ended()


def test_dripping_bytes_do_not_prolong_the_time_for_a_body(hasty: Site) -> None:
    guest = hasty.guest()
    guest.hello()
    begin = time.monotonic()
    for byte in wire.write_request(ListAttached(), uuid4(), 1.0):
        if not guest.try_to_send(bytes([byte])):
            break
        CLOCK.sleep(0.01)
    assert guest.ended()
    assert time.monotonic() - begin < 1.0


def test_a_guest_that_said_hello_may_be_silent(hasty: Site) -> None:
    guest = hasty.guest()
    guest.hello()
    CLOCK.sleep(0.15)
    guest.send_request(ListAttached())
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER


def test_a_guest_that_reads_no_answers_is_given_up(hasty: Site) -> None:
    guest = hasty.guest()
    guest.hello()
    hello = wire.write_request(Hello(1, 1, "x", "y"), uuid4(), 5.0)
    assert until(lambda: not guest.try_to_send(hello * 100))


def test_too_many_connections_of_a_vm_are_refused(site: Site) -> None:
    for _ in range(reception.MAX_CONNECTIONS):
        site.guest().hello()
    assert isinstance(error_of(site.guest()), Busy)


def test_a_connection_that_ends_makes_room_for_another(site: Site) -> None:
    guests = [site.guest() for _ in range(reception.MAX_CONNECTIONS)]
    for guest in guests:
        guest.hello()
    guests[0].close()
    assert until(lambda: _answers(site, VM_1))


def test_the_connections_of_one_vm_take_no_room_from_another(site: Site) -> None:
    for _ in range(reception.MAX_CONNECTIONS):
        site.guest(VM_1).hello()
    assert site.guest(VM_2).hello().type == wire.ANSWER


def test_a_flood_of_calls_is_refused_call_by_call(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    for number in range(crew.MAX_CALLS + 1):
        guest.send_request(Detach(VOLUME, number))
    assert isinstance(error_of(guest), Busy)


def test_all_slow_calls_of_an_agent_are_taken(site: Site, handler: Handler) -> None:
    line = site.line()
    threads = [threading.Thread(target=line.ask, args=(Detach(VOLUME, number), call(10.0))) for number in range(224)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(handler.seen) == crew.CHANGING_WORKERS)
    assert line.ask(ListAttached(), call(1.0)) == Attachments(())
    handler.gate.set()
    for thread in threads:
        thread.join()
    assert len(handler.seen) == 225


def test_a_call_that_comes_again_is_carried_out_once(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    id_ = uuid4()
    for _ in range(5):
        guest.send(wire.write_request(Detach(VOLUME, 1), id_, 5.0))
    assert until(lambda: len(handler.seen) == 1)
    CLOCK.sleep(0.02)
    handler.gate.set()
    frame = guest.receive()
    assert frame is not None
    assert frame.id == id_
    assert len(handler.seen) == 1


def test_a_call_that_comes_again_on_a_new_connection_is_answered_there(site: Site, handler: Handler) -> None:
    id_ = uuid4()
    first = site.guest()
    first.hello()
    first.send(wire.write_request(Detach(VOLUME, 1), id_, 5.0))
    assert until(lambda: len(handler.seen) == 1)
    first.close()
    second = site.guest()
    second.hello()
    second.send(wire.write_request(Detach(VOLUME, 1), id_, 5.0))
    CLOCK.sleep(0.02)
    handler.gate.set()
    frame = second.receive()
    assert frame is not None
    assert (frame.id, frame.type, len(handler.seen)) == (id_, wire.ANSWER, 1)


def test_a_call_id_of_one_vm_is_no_call_of_another(site: Site, handler: Handler) -> None:
    id_ = uuid4()
    handler.gate.set()
    for vm in (VM_1, VM_2):
        site.line(vm).ask(Detach(VOLUME, 1), Call(id_, soon()))
    assert [seen.caller for seen in handler.seen] == [VM_1, VM_2]


def test_another_request_under_a_running_calls_id_is_refused(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    id_ = uuid4()
    guest.send(wire.write_request(Detach(VOLUME, 1), id_, 5.0) + wire.write_request(Detach(VOLUME, 2), id_, 5.0))
    assert error_of(guest).code == "bad-request"


def test_a_call_whose_time_is_over_is_not_begun(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    guest.send(wire.write_request(ListAttached(), uuid4(), 0.0))
    assert isinstance(error_of(guest), Busy)
    assert handler.seen == []


def test_what_nobody_waits_for_any_more_is_not_begun(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    for number in range(crew.CHANGING_WORKERS + 10):
        guest.send_request(Detach(VOLUME, number))
    assert until(lambda: len(handler.seen) == crew.CHANGING_WORKERS)
    guest.close()
    assert until(lambda: not site.server.connected(VM_1))
    handler.gate.set()
    site.line().ask(ListAttached(), call())
    assert len(handler.seen) == crew.CHANGING_WORKERS + 1


def test_a_notice_goes_to_its_vm_only(site: Site) -> None:
    heard: dict[VmId, list[Notice]] = {VM_1: [], VM_2: []}
    for vm, notices in heard.items():
        line = site.line(vm)
        line.subscribe(notices.append)
        line.ask(ListAttached(), call())
    assert site.server.notify(VM_1, Wanted(VOLUME))
    assert until(lambda: heard == {VM_1: [Wanted(VOLUME)], VM_2: []})


def test_a_notice_to_an_absent_agent_is_known_to_be_lost(site: Site) -> None:
    assert not site.server.notify(VM_1, Wanted(VOLUME))


def test_an_agent_that_left_is_not_connected(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    assert until(lambda: site.server.connected(VM_1))
    guest.close()
    assert until(lambda: not site.server.connected(VM_1))


def test_who_is_not_known_to_the_hypervisor_is_told_so(tmp_path: Path) -> None:
    site = Site(tmp_path, Handler(), (VmId(UUID(int=99)),))
    with pytest.raises(NotEnrolled):
        site.line(VmId(UUID(int=99))).ask(ListAttached(), call())
    site.close()


def test_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    site = Site(tmp_path, Handler(), prove=lambda _: 1000)
    assert isinstance(error_of(site.guest()), UnknownCaller)
    site.close()


def test_whose_uid_cannot_be_read_is_refused(tmp_path: Path) -> None:
    def unreadable(connection: socket.socket) -> int:
        raise OSError("no credentials")

    site = Site(tmp_path, Handler(), prove=unreadable)
    assert site.guest().ended()
    site.close()


def test_who_cannot_be_identified_is_refused_without_details(tmp_path: Path) -> None:
    def broken(uid: int, vm: VmId) -> Caller:
        raise RuntimeError("secret")

    server = Server({Site.address_in(tmp_path): VM_1}, Handler(), broken, CLOCK).start()
    guest = RawGuest(Site.address_in(tmp_path))
    frame = guest.hello()
    assert (frame.type, "secret" in str(frame.body)) == (wire.ERROR, False)
    guest.close()
    server.drain(soon(1.0))


def test_a_failed_identification_is_not_replaced_by_the_previous_one(tmp_path: Path, handler: Handler) -> None:
    known = True

    def sometimes(uid: int, vm: VmId) -> Caller:
        if not known:
            raise UnknownCaller("the peer's id cannot be read")
        return identify(uid, vm)

    address = Site.address_in(tmp_path)
    server = Server({address: VM_1}, handler, sometimes, CLOCK).start()
    guests = [RawGuest(address), RawGuest(address)]
    guests[0].hello()
    known = False
    assert guests[1].hello().type == wire.ERROR
    for guest in guests:
        guest.close()
    server.drain(soon(1.0))


def test_a_second_server_on_the_same_socket_is_refused(site: Site) -> None:
    with pytest.raises(Conflict):
        Server({site.address(VM_1): VM_1}, Handler(), identify, CLOCK).start()


def test_a_server_that_cannot_have_all_its_sockets_has_none(site: Site, tmp_path: Path) -> None:
    free = Site.address_in(tmp_path)
    with pytest.raises(Conflict):
        Server({free: VM_1, site.address(VM_2): VM_2}, Handler(), identify, CLOCK).start()
    assert not free.path.exists()


# --- draining --------------------------------------------------------------------------------------------------


def test_draining_lets_a_running_call_finish_and_answers_it(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    id_ = guest.send_request(Detach(VOLUME, 1))
    assert until(lambda: len(handler.seen) == 1)
    threading.Timer(0.05, handler.gate.set).start()
    assert site.server.drain(soon(5.0))
    frame = guest.receive()
    assert frame is not None
    assert (frame.id, frame.type) == (id_, wire.ANSWER)


def test_draining_begins_nothing_new(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    guest.send_request(Detach(VOLUME, 1))
    assert until(lambda: len(handler.seen) == 1)
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(site.server.drain(soon(5.0))))
    thread.start()
    assert until(lambda: not site.address(VM_1).path.exists())
    guest.send_request(ListAttached())
    CLOCK.sleep(0.02)
    handler.gate.set()
    thread.join()
    assert (drained, len(handler.seen)) == ([True], 1)


def test_draining_ends_at_its_deadline_whatever_runs(site: Site, handler: Handler) -> None:
    guest = site.guest()
    guest.hello()
    guest.send_request(Detach(VOLUME, 1))
    assert until(lambda: len(handler.seen) == 1)
    begin = time.monotonic()
    assert not site.server.drain(soon(0.1))
    assert time.monotonic() - begin < 2.0


def test_a_drained_server_leaves_no_socket_and_no_thread(site: Site, handler: Handler) -> None:
    site.line().ask(ListAttached(), call())
    site.server.drain(soon(2.0))
    assert list((site.directory / "run").glob("*.sock")) == []
    assert until(lambda: not any(thread.name.startswith(("reception", "call-")) for thread in threading.enumerate()))


def test_draining_twice_is_draining_once(site: Site) -> None:
    assert site.server.drain(soon(1.0))
    assert site.server.drain(soon(1.0))


def test_a_flood_does_not_hold_up_the_draining(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    request = wire.write_request(ListAttached(), uuid4(), 5.0)
    flood = threading.Thread(target=_flood, args=(guest, request, lambda: False))
    flood.start()
    begin = time.monotonic()
    site.server.drain(soon(2.0))
    flood.join()
    assert time.monotonic() - begin < 4.0


def test_an_agent_asks_the_next_service_for_what_the_last_one_did_not_begin(site: Site, handler: Handler) -> None:
    line = site.line()
    line.ask(ListAttached(), call())
    site.server.drain(soon(1.0))
    answers: list[Done] = []
    thread = threading.Thread(target=lambda: answers.append(line.ask(Detach(VOLUME, 1), call())))
    thread.start()
    handler.gate.set()
    site.new_server()
    thread.join()
    assert answers == [Done()]


# --- one hostile VM of four ------------------------------------------------------------------------------------


def _flood(guest: RawGuest, data: bytes, stop: Callable[[], bool]) -> None:
    while not stop() and guest.try_to_send(data):
        pass


def _hostile(site: Site, kind: str, stop: Callable[[], bool]) -> None:
    while not stop():
        try:
            guest = RawGuest(site.address(VM_1))
        except OSError:
            continue
        if kind == "garbage":
            guest.try_to_send(b"\xff" * 4096)
        elif kind == "deep":
            guest.try_to_send(struct.pack(">I", 40000) + b'{"":' * 10000)
        elif kind == "valid" and guest.try_to_send(wire.write_request(Hello(1, 1, "", ""), uuid4(), 5.0)):
            _flood(guest, wire.write_request(ListVolumes(), uuid4(), 5.0), stop)
        guest.close()


@pytest.mark.parametrize("kind", ["connections", "garbage", "deep", "valid"])
def test_a_hostile_vm_does_not_starve_the_others(site: Site, kind: str) -> None:
    lines = [site.line(vm) for vm in (VM_2, VM_3, VM_4)]
    for line in lines:
        line.ask(ListAttached(), call())
    over = threading.Event()
    attackers = [threading.Thread(target=_hostile, args=(site, kind, over.is_set)) for _ in range(4)]
    for attacker in attackers:
        attacker.start()
    slowest = 0.0
    for _ in range(20):
        for line in lines:
            begin = time.monotonic()
            line.ask(ListAttached(), call())
            slowest = max(slowest, time.monotonic() - begin)
    over.set()
    for attacker in attackers:
        attacker.join()
    assert slowest < 1.0


def test_silent_slow_and_blocked_connections_of_a_vm_delay_nobody(site: Site, handler: Handler) -> None:
    for sent in (b"", b"\0", b"\0\0\x10\0", b"\0\0\x10\0{"):
        site.guest(VM_1).send(sent)
    blocked = site.guest(VM_1)
    blocked.hello()
    for number in range(crew.MAX_CALLS):
        blocked.send_request(Detach(VOLUME, number))
    begin = time.monotonic()
    for vm in (VM_2, VM_3, VM_4):
        site.line(vm).ask(ListAttached(), call())
    assert time.monotonic() - begin < 1.0


def test_a_line_to_a_service_that_is_gone_says_so(site: Site) -> None:
    line = site.line(patience_s=0.1)
    line.ask(ListAttached(), call())
    site.server.drain(soon(1.0))
    with pytest.raises(ServiceUnreachable):
        line.ask(ListAttached(), call(1.0))
