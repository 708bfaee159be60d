"""Guests that are silent, slow, many or hostile harm their own connection, never the service or another VM (T6, T7, L1, L2)."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import CLOCK, VM_1, VM_2, VM_3, VM_4, Gated, RawGuest, Site, call, soon, until
from vmdkvol import frames, wire
from vmdkvol.channel import UnixAddress
from vmdkvol.errors import Busy
from vmdkvol.link import Patience
from vmdkvol.messages import Attachments, Detach, Done, Hello, ListAttached, ListVolumes
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx import crew, entrance, reception, turns

VOLUME = VolumeId(UUID(int=7))


@pytest.fixture
def handler() -> Iterator[Gated]:
    made = Gated()
    yield made
    made.gate.set()


@pytest.fixture
def site(tmp_path: Path, handler: Gated) -> Iterator[Site]:
    made = Site(tmp_path, handler, (VM_1, VM_2, VM_3, VM_4))
    yield made
    handler.gate.set()
    made.close()


@pytest.fixture
def hasty(tmp_path: Path, handler: Gated) -> Iterator[Site]:
    """A site whose service gives slow peers a tenth of a second."""
    made = Site(tmp_path, handler, (VM_1,), patience=Patience(header_s=0.1, body_s=0.1, reading_s=0.1))
    yield made
    handler.gate.set()
    made.close()


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
    assert guest.error().exit_code == 6
    assert guest.ended()


def test_garbage_of_one_connection_leaves_the_others(site: Site) -> None:
    line = site.line()
    line.ask(ListAttached(), call())
    guest = site.guest()
    guest.send(b"\xff" * 100)
    assert guest.ended()
    assert line.ask(ListAttached(), call(30.0)) == Attachments(())


def test_after_a_thousand_garbage_frames_the_service_is_alive(site: Site) -> None:
    for number in range(1000):
        guest = RawGuest(site.address(VM_1))
        guest.try_to_send(struct.pack(">I", 16) + number.to_bytes(16, "big"))
        guest.close()
    assert site.line(VM_2).ask(ListAttached(), call(30.0)) == Attachments(())
    # The sixteen connections of the first VM are free again too.
    assert until(lambda: _answers(site, VM_1))


def _answers(site: Site, vm: VmId) -> bool:
    guest = RawGuest(site.address(vm))
    try:
        return guest.hello().type == wire.ANSWER
    except OSError:
        return False
    finally:
        guest.close()


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0\0"], ids=["nothing", "one-byte", "three-bytes"])
def test_a_silent_client_is_given_up(hasty: Site, sent: bytes) -> None:
    guest = hasty.guest()
    guest.send(sent)
    assert guest.error().code == "bad-frame"
    assert guest.ended()


def test_half_a_body_is_given_up(hasty: Site) -> None:
    guest = hasty.guest()
    guest.hello()
    guest.send(wire.write_request(ListAttached(), uuid4(), 1.0)[:-1])
    assert guest.error().code == "bad-frame"
    assert guest.ended()


def test_dripping_bytes_do_not_prolong_the_time_for_a_body(hasty: Site) -> None:
    guest = hasty.guest()
    guest.hello()
    begin = time.monotonic()
    for byte in wire.write_request(ListAttached(), uuid4(), 1.0):
        if not guest.try_to_send(bytes([byte])):
            break
        CLOCK.sleep(0.01)
    # Had each byte prolonged it, all of them would have come, and an answer.
    assert guest.ended()
    assert time.monotonic() - begin < 30.0


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
    # More answers than the kernel keeps, and far fewer than the service does: it is the time that ends it.
    for _ in range(50):
        guest.try_to_send(hello * 100)
    assert until(lambda: not guest.try_to_send(hello), 10.0)


def test_too_many_connections_of_a_vm_are_refused(site: Site) -> None:
    for _ in range(entrance.MAX_CONNECTIONS):
        site.guest().hello()
    assert isinstance(site.guest().error(), Busy)


def test_a_connection_that_ends_makes_room_for_another(site: Site) -> None:
    guests = [site.guest() for _ in range(entrance.MAX_CONNECTIONS)]
    for guest in guests:
        guest.hello()
    guests[0].close()
    assert until(lambda: _answers(site, VM_1))


def test_the_connections_of_one_vm_take_no_room_from_another(site: Site) -> None:
    for _ in range(entrance.MAX_CONNECTIONS):
        site.guest(VM_1).hello()
    assert site.guest(VM_2).hello().type == wire.ANSWER


def test_a_flood_of_calls_is_refused_call_by_call(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    for number in range(crew.MAX_CALLS + 1):
        guest.send_request(Detach(VOLUME, number))
    assert isinstance(guest.error(), Busy)


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
    try:
        # Who is starved is answered only when they have ended, which is after all of these.
        for _ in range(20):
            for line in lines:
                assert line.ask(ListAttached(), call(30.0)) == Attachments(())
    finally:
        over.set()
        for attacker in attackers:
            attacker.join()


def test_a_pile_of_requests_is_taken_a_few_at_a_time(tmp_path: Path) -> None:
    """All of it is taken, also with nothing more to read; and who asks one thing does not wait for the whole pile."""
    arrived: list[VmId | None] = []
    addresses = (Site.address_in(tmp_path), UnixAddress(tmp_path / "other.sock"))
    front = reception.Reception(
        dict(zip(addresses, (VM_1, VM_2), strict=True)),
        CLOCK,
        lambda connection, frame: arrived.append(connection.vm),
        lambda connection: None,
    )
    front.open()
    flooding, other = (RawGuest(address) for address in addresses)
    request = wire.write_request(ListVolumes(), uuid4(), 5.0)
    for guest in (flooding, other):
        guest.send(request)
    assert until(lambda: len(arrived) == 2)
    sent = threading.Event()
    front.post(lambda: None if sent.wait(5.0) else None)
    flooding.send(request * 40)
    other.send(request)
    sent.set()

    assert until(lambda: len(arrived) == 43)
    assert arrived[2:].index(VM_2) <= 8
    front.close(0.1)
    flooding.close()
    other.close()


def test_a_flood_of_changes_is_held_back_beside_another_machine_s(site: Site, handler: Gated) -> None:
    """T7: sixty changes of one machine under way made one of another take a hundred times as long."""
    handler.gate.set()
    other, over = site.line(VM_2), threading.Event()

    def ask_now_and_then() -> None:
        while not over.wait(0.2):
            other.ask(Detach(VOLUME, 0), call(30.0))

    asking = threading.Thread(target=ask_now_and_then)
    other.ask(Detach(VOLUME, 0), call(30.0))
    asking.start()
    flooding, too_many = site.guest(VM_1), 40
    flooding.hello()
    begin = time.monotonic()
    for number in range(turns.BURST + too_many):
        flooding.send_request(Detach(VOLUME, number), 60.0)
    answers = [flooding.receive() for _ in range(turns.BURST + too_many)]
    took = time.monotonic() - begin
    over.set()
    asking.join()

    assert all(frame is not None and frame.type == wire.ANSWER for frame in answers)
    assert took > (too_many - 2) / turns.RATE


def test_a_flood_of_changes_of_a_machine_that_is_alone_is_all_answered(site: Site, handler: Gated) -> None:
    handler.gate.set()
    flooding = site.guest(VM_1)
    flooding.hello()
    for number in range(turns.BURST + 200):
        flooding.send_request(Detach(VOLUME, number), 60.0)
    assert all(flooding.receive() is not None for _ in range(turns.BURST + 200))


def test_silent_slow_and_blocked_connections_of_a_vm_delay_nobody(site: Site, handler: Gated) -> None:
    for sent in (b"", b"\0", b"\0\0\x10\0", b"\0\0\x10\0{"):
        site.guest(VM_1).send(sent)
    blocked = site.guest(VM_1)
    blocked.hello()
    for number in range(crew.MAX_CALLS):
        blocked.send_request(Detach(VOLUME, number))
    # Until the gate is opened, which nobody does here, none of the others ends.
    for vm in (VM_2, VM_3, VM_4):
        assert site.line(vm).ask(ListAttached(), call(30.0)) == Attachments(())


def test_a_flood_does_not_hold_up_the_draining(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    request = wire.write_request(ListAttached(), uuid4(), 5.0)
    flood = threading.Thread(target=_flood, args=(guest, request, lambda: False))
    flood.start()
    begin = time.monotonic()
    site.server.drain(soon(2.0))
    flood.join()
    assert time.monotonic() - begin < 30.0


def test_a_machine_that_is_left_waiting_is_answered_all_the_same(site: Site) -> None:
    # More than a burst, beside another machine: see ``shares``.
    flooding, other, count = site.guest(VM_1), site.line(VM_2), 2000
    flooding.hello()
    other.ask(ListAttached(), call())
    answered, over = threading.Event(), threading.Event()

    def receive_all() -> None:
        if all(flooding.receive() is not None for _ in range(count)):
            answered.set()

    def ask_now_and_then() -> None:
        while not over.wait(0.2):
            other.ask(ListAttached(), call(30.0))

    threads = [threading.Thread(target=receive_all), threading.Thread(target=ask_now_and_then)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        flooding.send_request(ListAttached(), 600.0)
    threads[0].join()
    over.set()
    threads[1].join()
    assert answered.is_set()


def test_a_machine_that_left_in_the_middle_of_its_pile_is_gone_at_once(site: Site, handler: Gated) -> None:
    other, over = site.line(VM_2), threading.Event()
    other.ask(ListAttached(), call())

    def ask_now_and_then() -> None:
        while not over.wait(0.2):
            other.ask(ListAttached(), call(30.0))

    asking = threading.Thread(target=ask_now_and_then)
    asking.start()
    flooding = site.guest(VM_1)
    flooding.hello()
    # Read a few at a time, with rests, it would take a minute.
    pile = b"".join(wire.write_request(Detach(VOLUME, number), uuid4(), 5.0) for number in range(1000))
    sending = threading.Thread(target=lambda: [flooding.try_to_send(pile) for _ in range(20)])
    sending.start()
    assert until(lambda: len(handler.seen) > 10)
    flooding.shut_down()
    assert until(lambda: not site.server.connected(VM_1), 20.0)
    over.set()
    asking.join()
    flooding.close()
    sending.join()
