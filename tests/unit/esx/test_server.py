"""The service's side of the channel: who calls, what is carried out once, who hears a notice, how it ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import CLOCK, VM_1, VM_2, VM_3, VM_4, Gated, RawGuest, Site, call, identify, soon, until
from vmdkvol import frames, wire
from vmdkvol.channel import Listener, Peer, listen
from vmdkvol.errors import Busy, Conflict, NotEnrolled, ServiceUnreachable, UnknownCaller
from vmdkvol.link import Patience
from vmdkvol.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    REQUESTS,
    Attach,
    Attachments,
    Call,
    Detach,
    Done,
    Hello,
    Keep,
    Lagging,
    ListAttached,
    Request,
)
from vmdkvol.notices import Grown, Notice, Wanted
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx import crew
from vmdkvol_esx.callers import Caller, Present, Proof
from vmdkvol_esx.crew import Kind
from vmdkvol_esx.server import Server

VOLUME = VolumeId(UUID(int=7))


@dataclass(frozen=True, slots=True)
class Knock(Request[Done]):
    """A request that needs no Hello."""

    word: str
    answer: ClassVar[type] = Done
    before_hello: ClassVar[bool] = True


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


def test_hello_is_answered_with_who_the_service_says_the_caller_is(site: Site) -> None:
    welcome = wire.read_answer(Hello(1, 1, "", ""), site.guest(VM_2).hello().body)
    assert (welcome.vm, welcome.vm_name, welcome.version) == (VM_2, "host-2", 1)


def test_a_guest_hears_the_service_s_time_and_one_of_an_older_version_hears_nothing_new(site: Site) -> None:
    before = time.time()
    said = site.guest().hello(1, NEWEST_VERSION).body["clock"]
    assert before <= said <= time.time()
    for version in range(1, 3):
        assert set(site.guest(VM_2).hello(1, version).body) == {"version", "vm", "vm_name", "service"}


def test_each_socket_is_its_own_callers(site: Site, handler: Gated) -> None:
    for vm in (VM_1, VM_2, VM_1):
        site.line(vm).ask(ListAttached(), call())
    assert [seen.caller for seen in handler.seen] == [VM_1, VM_2, VM_1]


def test_a_request_before_hello_is_refused(site: Site, handler: Gated) -> None:
    guest = site.guest()
    guest.send_request(ListAttached())
    assert guest.error().code == "bad-frame"
    assert guest.ended()
    assert handler.seen == []


def test_a_version_that_nobody_speaks_gets_both_ranges(site: Site) -> None:
    frame = site.guest().hello(8, 9)
    assert frame.type == wire.ERROR
    assert "8 to 9" in frame.body["text"]
    assert f"{OLDEST_VERSION} to {NEWEST_VERSION}" in frame.body["text"]


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
    assert guest.error().code == "invalid-name"
    guest.send_request(ListAttached())
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER


def test_a_hello_that_takes_long_to_check_is_not_silence(tmp_path: Path) -> None:
    def slow(proof: Proof, hello: Hello) -> Caller:
        CLOCK.sleep(0.1)
        return identify(proof, hello)

    address = Site.address_in(tmp_path)
    server = Server({address: VM_1}, Gated(), slow, CLOCK, patience=Patience(header_s=0.02)).start()
    guest = RawGuest(address)
    assert guest.hello().type == wire.ANSWER
    guest.close()
    server.drain(soon(1.0))


def test_all_slow_calls_of_an_agent_are_taken(site: Site, handler: Gated) -> None:
    line = site.line()
    threads = [threading.Thread(target=line.ask, args=(Detach(VOLUME, number), call(60.0))) for number in range(224)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(handler.seen) == crew.WORKERS[Kind.END])
    assert line.ask(ListAttached(), call(30.0)) == Attachments(())
    handler.gate.set()
    for thread in threads:
        thread.join()
    assert len(handler.seen) == 225


def test_what_ends_an_attach_does_not_wait_for_attaches(tmp_path: Path) -> None:
    gate = threading.Event()
    site = Site(tmp_path, lambda request, _: Done() if isinstance(request, Detach) or gate.wait(60) else Done())
    guest = site.guest()
    guest.hello()
    for number in range(crew.WORKERS[Kind.BEGIN] + 10):
        guest.send_request(Attach(VolumeId(UUID(int=number))))
    assert site.line().ask(Detach(VOLUME, 1), call(30.0)) == Done()
    gate.set()
    site.close()


def test_who_comes_and_what_others_wait_to_hear_stand_behind_no_query(tmp_path: Path) -> None:
    """While a vCenter does not answer, the queries of one machine wait for it as long as they may."""
    gate = threading.Event()
    site = Site(tmp_path, lambda request, _: Done() if isinstance(request, Keep | Lagging) or gate.wait(10) else Done())
    guest = site.guest()
    guest.hello()
    for _ in range(crew.WORKERS[Kind.READ] + 10):
        guest.send_request(ListAttached())
    line = site.line()
    assert line.ask(Keep(VOLUME), call(2.0)) == Done()
    assert line.ask(Lagging(()), call(2.0)) == Done()
    gate.set()
    site.close()


def test_a_call_that_comes_again_is_carried_out_once(site: Site, handler: Gated) -> None:
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


def test_a_call_that_comes_again_on_a_new_connection_is_answered_there(site: Site, handler: Gated) -> None:
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


def test_a_call_id_of_one_vm_is_no_call_of_another(site: Site, handler: Gated) -> None:
    id_ = uuid4()
    handler.gate.set()
    for vm in (VM_1, VM_2):
        site.line(vm).ask(Detach(VOLUME, 1), Call(id_, soon()))
    assert [seen.caller for seen in handler.seen] == [VM_1, VM_2]


def test_another_request_under_a_running_calls_id_is_refused(site: Site, handler: Gated) -> None:
    guest = site.guest()
    guest.hello()
    id_ = uuid4()
    guest.send(wire.write_request(Detach(VOLUME, 1), id_, 5.0) + wire.write_request(Detach(VOLUME, 2), id_, 5.0))
    assert guest.error().code == "bad-request"


def test_a_call_whose_time_is_over_is_not_begun(site: Site, handler: Gated) -> None:
    guest = site.guest()
    guest.hello()
    guest.send(wire.write_request(ListAttached(), uuid4(), 0.0))
    assert isinstance(guest.error(), Busy)
    assert handler.seen == []


def test_what_nobody_waits_for_any_more_is_not_begun(site: Site, handler: Gated) -> None:
    guest = site.guest()
    guest.hello()
    for number in range(crew.WORKERS[Kind.END] + 10):
        guest.send_request(Detach(VOLUME, number))
    assert until(lambda: len(handler.seen) == crew.WORKERS[Kind.END])
    guest.close()
    assert until(lambda: not site.server.connected(VM_1))
    handler.gate.set()
    site.line().ask(ListAttached(), call())
    assert len(handler.seen) == crew.WORKERS[Kind.END] + 1


def test_a_notice_goes_to_its_vm_only(site: Site) -> None:
    heard: dict[VmId, list[Notice]] = {VM_1: [], VM_2: []}
    for vm, notices in heard.items():
        line = site.line(vm)
        line.subscribe(notices.append)
        line.ask(ListAttached(), call())
    assert site.server.notify(VM_1, Wanted(VOLUME))
    assert until(lambda: heard == {VM_1: [Wanted(VOLUME)], VM_2: []})


def test_an_agent_of_an_older_version_is_not_told_what_it_would_not_know(site: Site) -> None:
    old, new = site.guest(), site.guest()
    old.hello(1, 3)
    new.hello(1, 4)
    assert site.server.notify(VM_1, Grown(VOLUME, 2 << 30))
    assert site.server.notify(VM_1, Wanted(VOLUME))

    first, second, told = new.receive(), new.receive(), old.receive()
    assert (first and first.type, second and second.type, told and told.type) == ("Grown", "Wanted", "Wanted")


def test_what_a_call_means_is_told_with_the_version_that_its_agent_reads(site: Site, handler: Gated) -> None:
    for version in (2, NEWEST_VERSION):
        guest = site.guest()
        guest.hello(1, version)
        guest.send_request(ListAttached())
        guest.receive()
    assert [seen.version for seen in handler.seen] == [2, NEWEST_VERSION]


def test_a_notice_to_an_absent_agent_is_known_to_be_lost(site: Site) -> None:
    assert not site.server.notify(VM_1, Wanted(VOLUME))


def test_an_agent_that_left_is_not_connected(site: Site) -> None:
    guest = site.guest()
    guest.hello()
    assert until(lambda: site.server.connected(VM_1))
    guest.close()
    assert until(lambda: not site.server.connected(VM_1))


def test_who_is_not_known_to_the_hypervisor_is_told_so(tmp_path: Path) -> None:
    site = Site(tmp_path, Gated(), (VmId(UUID(int=99)),))
    with pytest.raises(NotEnrolled):
        site.line(VmId(UUID(int=99))).ask(ListAttached(), call())
    site.close()


class _Claiming:
    """A listener whose kernel says that somebody else is at the other end."""

    def __init__(self, listener: Listener, uid: int | None) -> None:
        self._listener = listener
        self._uid = uid
        self.address, self.fileno, self.close = listener.address, listener.fileno, listener.close

    def accept(self) -> tuple[socket.socket, Peer]:
        accepted, _ = self._listener.accept()
        return accepted, Peer(self._uid, None, "somebody")


@pytest.mark.parametrize("uid", [1000, None])
def test_who_is_not_root_or_cannot_be_read_is_told_so(tmp_path: Path, uid: int | None) -> None:
    site = Site(tmp_path, Gated(), listen=lambda address: _Claiming(listen(address), uid))
    guest = site.guest()
    assert isinstance(guest.error(), UnknownCaller)
    assert guest.ended()
    site.close()


def test_who_cannot_be_identified_is_refused_without_details(tmp_path: Path) -> None:
    def broken(proof: Proof, hello: Hello) -> Caller:
        raise RuntimeError("secret")

    server = Server({Site.address_in(tmp_path): VM_1}, Gated(), broken, CLOCK).start()
    guest = RawGuest(Site.address_in(tmp_path))
    frame = guest.hello()
    assert (frame.type, "secret" in str(frame.body)) == (wire.ERROR, False)
    guest.close()
    server.drain(soon(1.0))


def test_a_failed_identification_is_not_replaced_by_the_previous_one(tmp_path: Path, handler: Gated) -> None:
    known = True

    def sometimes(proof: Proof, hello: Hello) -> Caller:
        if not known:
            raise UnknownCaller("the peer's id cannot be read")
        return identify(proof, hello)

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
        Server({site.address(VM_1): VM_1}, Gated(), identify, CLOCK).start()


def test_a_server_that_cannot_have_all_its_sockets_has_none(site: Site, tmp_path: Path) -> None:
    free = Site.address_in(tmp_path)
    with pytest.raises(Conflict):
        Server({free: VM_1, site.address(VM_2): VM_2}, Gated(), identify, CLOCK).start()
    assert not free.path.exists()


def test_draining_lets_a_running_call_finish_and_answers_it(site: Site, handler: Gated) -> None:
    guest = site.guest()
    guest.hello()
    id_ = guest.send_request(Detach(VOLUME, 1))
    assert until(lambda: len(handler.seen) == 1)
    threading.Timer(0.05, handler.gate.set).start()
    assert site.server.drain(soon(5.0))
    frame = guest.receive()
    assert frame is not None
    assert (frame.id, frame.type) == (id_, wire.ANSWER)


def test_draining_begins_nothing_new(site: Site, handler: Gated) -> None:
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


def test_draining_ends_at_its_deadline_whatever_runs(site: Site, handler: Gated) -> None:
    guest = site.guest()
    guest.hello()
    guest.send_request(Detach(VOLUME, 1))
    assert until(lambda: len(handler.seen) == 1)
    begin = time.monotonic()
    assert not site.server.drain(soon(0.1))
    assert time.monotonic() - begin < 30.0


def test_a_drained_server_leaves_no_socket_and_no_thread(site: Site, handler: Gated) -> None:
    site.line().ask(ListAttached(), call())
    site.server.drain(soon(2.0))
    assert list((site.directory / "run").glob("*.sock")) == []
    assert until(lambda: not any(thread.name.startswith(("reception", "call-")) for thread in threading.enumerate()))


def test_draining_twice_is_draining_once(site: Site) -> None:
    assert site.server.drain(soon(30.0))
    assert site.server.drain(soon(30.0))


def test_an_agent_asks_the_next_service_for_what_the_last_one_did_not_begin(site: Site, handler: Gated) -> None:
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


def test_a_line_to_a_service_that_is_gone_says_so(site: Site) -> None:
    line = site.line(patience_s=0.1)
    line.ask(ListAttached(), call())
    site.server.drain(soon(1.0))
    with pytest.raises(ServiceUnreachable):
        line.ask(ListAttached(), call(1.0))


class _Strangers:
    """Answers what needs no Hello, and keeps who asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, VmId | None, Proof]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, request: Request[Any], call: Call, proof: Proof) -> Done:
        assert isinstance(request, Knock)
        self.seen.append((request.word, call.caller, proof))
        assert self.gate.wait(60)
        return Done()


@pytest.fixture
def strangers() -> _Strangers:
    return _Strangers()


@pytest.fixture
def gated_site(tmp_path: Path, handler: Gated, strangers: _Strangers) -> Iterator[Site]:
    made = Site(tmp_path, handler, (VM_1,), strangers=strangers, requests=(*REQUESTS, Knock), patience=Patience(header_s=0.3))
    yield made
    strangers.gate.set()
    made.close()


def test_what_needs_no_hello_is_answered_with_the_proof_and_without_a_caller(gated_site: Site, strangers: _Strangers) -> None:
    guest = gated_site.guest()
    guest.send_request(Knock("who is there"))
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER
    [(word, caller, proof)] = strangers.seen
    assert (word, caller, proof.vm, proof.uid) == ("who is there", None, VM_1, 0)


def test_after_what_needs_no_hello_the_peer_may_say_it(gated_site: Site) -> None:
    guest = gated_site.guest()
    guest.send_request(Knock("a"))
    guest.receive()
    assert guest.hello().type == wire.ANSWER


def test_after_an_answer_without_hello_the_peer_may_not_be_silent(gated_site: Site) -> None:
    guest = gated_site.guest()
    guest.send_request(Knock("a"))
    guest.receive()
    assert guest.error().code == "bad-frame"
    assert guest.ended()


def test_a_hello_that_the_service_had_no_time_for_is_followed_by_another_or_by_the_end(gated_site: Site) -> None:
    guest = gated_site.guest()
    guest.send_request(Hello(1, 1, "raw", "boot"), 0.0)
    assert isinstance(guest.error(), Busy)
    assert guest.error().code == "bad-frame"
    assert guest.ended()


def test_who_said_no_hello_asks_one_thing_at_a_time(gated_site: Site, strangers: _Strangers) -> None:
    strangers.gate.clear()
    guest = gated_site.guest()
    guest.send_request(Knock("a"))
    assert until(lambda: len(strangers.seen) == 1)
    guest.send_request(Knock("b"))
    assert guest.error().code == "bad-frame"
    assert guest.ended()
    assert [word for word, *_ in strangers.seen] == ["a"]


def test_who_never_says_hello_is_not_answered_for_ever(gated_site: Site, strangers: _Strangers) -> None:
    guest = gated_site.guest()
    for number in range(8):
        guest.send_request(Knock(str(number)))
        frame = guest.receive()
        assert frame is not None
        assert frame.type == wire.ANSWER
    guest.send_request(Knock("once more"))
    assert guest.error().code == "bad-frame"
    assert len(strangers.seen) == 8


def test_a_service_that_takes_no_strangers_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path, Gated(), requests=(*REQUESTS, Knock))
    guest = site.guest()
    guest.send_request(Knock("a"))
    assert isinstance(guest.error(), UnknownCaller)
    site.close()


def test_who_is_not_admitted_beside_another_is_told_so_and_not_there(tmp_path: Path) -> None:
    there: list[tuple[str, ...]] = []

    def one_boot(newcomer: Present, others: tuple[Present, ...]) -> None:
        there.append(tuple(other.boot_id for other in others))
        if any(other.boot_id != newcomer.boot_id for other in others):
            raise Busy("another agent of this machine is there")

    site = Site(tmp_path, Gated(), admit=one_boot)
    first = site.line()
    first.ask(ListAttached(), call())
    second = site.guest()
    second.send_request(Hello(1, 2, "raw", "another boot"))
    assert isinstance(second.error(), Busy)
    assert second.ended()
    site.guest().hello()
    assert there == [(), ("boot",), ("boot",)]
    site.close()


def test_who_is_expelled_hears_why_and_the_others_stay(tmp_path: Path) -> None:
    site = Site(tmp_path, Gated(), (VM_1, VM_2))
    kept, other, expelled = site.guest(), site.guest(VM_2), site.guest()
    kept.hello()
    other.hello()
    expelled.send_request(Hello(1, 2, "raw", "expired"))
    expelled.receive()
    site.server.expel(VM_1, lambda present: present.boot_id == "expired", NotEnrolled("its certificate has expired"))
    assert isinstance(expelled.error(), NotEnrolled)
    assert expelled.ended()
    for guest in (kept, other):
        guest.send_request(ListAttached())
        frame = guest.receive()
        assert frame is not None
        assert frame.type == wire.ANSWER
    site.close()
