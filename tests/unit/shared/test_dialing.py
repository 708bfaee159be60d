"""One question on a connection of its own, as whoever enrols asks it: answered, refused or given up, never left open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.doubles.certificates import Authority as Signer
from tests.doubles.channel_ends import CLOCK, VM_1, Gated
from tests.doubles.far_channel import ADDRESS, FarSite
from vmdkvol import wire
from vmdkvol.channel import UnixAddress
from vmdkvol.dialing import ask_once, checked, dial
from vmdkvol.errors import BadFrame, NotEnrolled, NotPermitted, ServiceUnreachable, UnknownCaller
from vmdkvol.frames import Decoder
from vmdkvol.messages import Authority, Call, Introduce, ListAttached, Request
from vmdkvol.tls import AgentSide, StrangerSide
from vmdkvol_esx.callers import Proof


class _Strangers:
    def __init__(self) -> None:
        self.proofs: list[Proof] = []
        self.refuses = False

    def __call__(self, request: Request[Any], call: Call, proof: Proof) -> Authority:
        self.proofs.append(proof)
        if self.refuses:
            raise NotPermitted("not today")
        return Authority("pem")


@pytest.fixture
def strangers() -> _Strangers:
    return _Strangers()


@pytest.fixture
def site(tmp_path: Path, strangers: _Strangers) -> Iterator[FarSite]:
    made = FarSite(tmp_path, Gated(), strangers=strangers)
    yield made
    made.close()


def asked(site: FarSite, side: StrangerSide | AgentSide | None, request: Request[Any] | None = None) -> Any:
    return ask_once(ADDRESS, request or Introduce(), CLOCK, 5.0, side, site.far.by(5))


@pytest.mark.parametrize("knows", [False, True], ids=["anybody", "the-site"])
def test_who_has_no_certificate_may_ask_who_signs_them(site: FarSite, strangers: _Strangers, knows: bool) -> None:
    assert asked(site, StrangerSide(site.authority.pem if knows else None)) == Authority("pem")
    assert strangers.proofs == [Proof(None, None, None, 5, "vsock://5:1023")]


def test_what_the_service_refuses_is_raised(site: FarSite, strangers: _Strangers) -> None:
    strangers.refuses = True
    with pytest.raises(NotPermitted, match="not today"):
        asked(site, StrangerSide(None))


def test_what_needs_a_hello_is_refused(site: FarSite) -> None:
    with pytest.raises(BadFrame, match="Hello"):
        asked(site, AgentSide(site.authority.agent(VM_1), site.authority.path), ListAttached())


def test_to_another_site_s_service_nothing_is_said(site: FarSite, strangers: _Strangers, tmp_path: Path) -> None:
    other = Signer(tmp_path, "other")
    with pytest.raises(UnknownCaller, match="not this site's service"):
        asked(site, StrangerSide(other.pem))
    assert strangers.proofs == []


def test_what_is_no_authority_is_refused_at_once() -> None:
    with pytest.raises(UnknownCaller, match="authority cannot be read"):
        StrangerSide("no certificate")


def test_another_machine_is_not_spoken_to_in_the_clear(site: FarSite) -> None:
    with pytest.raises(NotEnrolled, match="takes certificates only"):
        asked(site, None)


def test_a_certificate_that_is_missing_leaves_no_connection(site: FarSite, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(NotEnrolled, match="no certificate"):
        dial(ADDRESS, AgentSide(tmp_path / "none.pem", site.authority.path), 5.0, lambda *_: ours)
    assert ours.fileno() == -1


def test_who_has_no_certificate_does_not_even_connect(site: FarSite, tmp_path: Path) -> None:
    side = AgentSide(tmp_path / "none.pem", site.authority.path)
    connected: list[float] = []

    def connect(_: object, timeout_s: float) -> socket.socket:
        connected.append(timeout_s)
        raise ServiceUnreachable("nobody is there")

    with pytest.raises(NotEnrolled, match="no certificate"):
        dial(ADDRESS, side, 5.0, checked(side.check, connect))
    assert connected == []


def test_a_service_that_says_nothing_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, pytest.raises(ServiceUnreachable, match="does not answer"):
        ask_once(ADDRESS, Introduce(), CLOCK, 0.1, StrangerSide(None), lambda *_: ours)
    assert ours.fileno() == -1


def test_only_the_answer_to_this_question_is_one() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def serve() -> None:
        decoder = Decoder()
        while (asked := decoder.take()) is None:
            decoder.feed(theirs.recv(4096))
        assert asked.id is not None
        theirs.sendall(wire.write_answer(uuid4(), Authority("of another")))
        theirs.sendall(wire.write_progress(asked.id, 50))
        theirs.sendall(wire.write_answer(asked.id, Authority("pem")))

    service = threading.Thread(target=serve)
    service.start()
    with theirs:
        assert ask_once(UnixAddress(Path("/s")), Introduce(), CLOCK, 20.0, None, lambda *_: ours) == Authority("pem")
        service.join()


def test_a_service_that_hangs_up_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    with pytest.raises(ServiceUnreachable, match="closed the connection"):
        ask_once(ADDRESS, Introduce(), CLOCK, 60.0, StrangerSide(None), lambda *_: ours)


def test_a_service_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnreachable, match="no such file"):
        ask_once(UnixAddress(tmp_path / "none"), Introduce(), CLOCK, 1.0)
