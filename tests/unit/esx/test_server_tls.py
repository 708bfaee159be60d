"""Guests on other machines: who calls is what the certificate proves, and who proves nothing harms nobody (T6, T7)."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.certificates import Authority, der
from tests.doubles.channel_ends import CLOCK, VM_1, VM_2, VM_3, Gated, call, ended, until
from tests.doubles.cutting_proxy import CuttingProxy
from tests.doubles.far_channel import ADDRESS, FarSite, InTls, identify
from vmdkvol import frames, unix_socket, wire
from vmdkvol.errors import BadRequest, Busy, MetadataDamaged, NotEnrolled, UnknownCaller
from vmdkvol.link import Patience
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, Attachments, Hello, ListAttached
from vmdkvol.tls import AgentSide, ServiceSide, StrangerSide
from vmdkvol.volume import VmId
from vmdkvol_esx import entrance
from vmdkvol_esx.callers import Caller, Proof
from vmdkvol_esx.server import Server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FarSite]:
    made = FarSite(tmp_path, Gated())
    yield made
    made.close()


def test_the_caller_is_the_certificate_s_machine(site: FarSite) -> None:
    for vm in (VM_1, VM_2):
        line = site.line(vm)
        assert line.ask(ListAttached(), call()) == Attachments(())
        assert line.welcome is not None
        assert line.welcome.vm == vm


def test_the_proof_has_the_certificate_and_what_the_kernel_says(tmp_path: Path) -> None:
    seen: list[Proof] = []

    def noted(proof: Proof, hello: Hello) -> Caller:
        seen.append(proof)
        return identify(proof, hello)

    site = FarSite(tmp_path, Gated(), identify=noted)
    own = site.authority.agent(VM_1)
    site.line(cid=17, secure=AgentSide(own, site.authority.path)).ask(ListAttached(), call())
    assert seen == [Proof(None, None, der(own), 17, "vsock://17:1023")]
    site.close()


def test_without_certificates_nobody_listens_for_other_machines(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="needs certificates"):
        Server({ADDRESS: None}, Gated(), identify, CLOCK).start()


def test_a_caller_without_certificate_is_nobody(site: FarSite) -> None:
    with pytest.raises(UnknownCaller):
        site.line(secure=StrangerSide(site.authority.pem)).ask(ListAttached(), call())


def test_a_machine_that_the_service_does_not_know_is_not_enrolled(site: FarSite) -> None:
    with pytest.raises(NotEnrolled):
        site.line(VmId(UUID(int=99))).ask(ListAttached(), call())


def test_a_foreign_authority_s_certificate_is_refused_with_the_cause(site: FarSite, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "foreign")
    with pytest.raises(NotEnrolled, match="unknown ca"):
        site.line(secure=AgentSide(foreign.agent(VM_1), site.authority.path)).ask(ListAttached(), call())


def test_an_authority_of_the_same_name_is_not_the_same(site: FarSite, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    namesake = Authority(tmp_path / "other")
    with pytest.raises(NotEnrolled):
        site.line(secure=AgentSide(namesake.agent(VM_1), site.authority.path)).ask(ListAttached(), call())


@pytest.mark.parametrize(("starts", "ends"), [(-90.0, -0.01), (0.01, 90.0)], ids=["expired", "not-yet-valid"])
def test_a_certificate_outside_its_time_is_refused(site: FarSite, starts: float, ends: float) -> None:
    with pytest.raises(NotEnrolled, match="clocks.*enrol this machine again"):
        site.line(secure=site.authority.agent_side(VM_1, starts=starts, ends=ends)).ask(ListAttached(), call())


def test_the_service_s_own_certificate_is_no_caller_s(site: FarSite) -> None:
    with pytest.raises(NotEnrolled):
        site.line(secure=AgentSide(site.authority.service(), site.authority.path)).ask(ListAttached(), call())


def test_a_certificate_without_its_key_is_refused_before_anything_is_sent(site: FarSite, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.pem"
    own, other = site.authority.agent(VM_1).read_text(), site.authority.agent(VM_2).read_text()
    mixed.write_text(own[: own.index("-----BEGIN CERT")] + other[other.index("-----BEGIN CERT") :])
    with pytest.raises(NotEnrolled, match="(?i)mismatch"):
        site.line(secure=AgentSide(mixed, site.authority.path)).ask(ListAttached(), call())


@pytest.mark.parametrize("presented", ["of-a-foreign-authority", "an-agent-s", "for-another-name"])
def test_what_is_not_the_site_s_service_hears_nothing(tmp_path: Path, presented: str) -> None:
    authority, heard = Authority(tmp_path), Gated()
    shown = {
        "of-a-foreign-authority": lambda: Authority(tmp_path, "foreign").service_side(),
        "an-agent-s": lambda: ServiceSide(authority.agent(VM_2), authority.path),
        "for-another-name": lambda: authority.service_side("vmdkvol-agent"),
    }[presented]()
    site = FarSite(tmp_path, heard, authority, secure=shown)
    with pytest.raises(UnknownCaller, match="not this site's service"):
        site.line().ask(ListAttached(), call())
    assert heard.seen == []
    site.close()


def test_a_service_whose_certificate_is_over_hears_nothing_and_both_ends_name_the_clocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority, heard = Authority(tmp_path), Gated()
    site = FarSite(tmp_path, heard, authority, secure=authority.service_side(ends=-0.01))
    with pytest.raises(UnknownCaller, match="certificate has expired; check the clocks"):
        site.line().ask(ListAttached(), call())
    said: list[str] = []

    def complained() -> bool:
        said.append(capsys.readouterr().err)
        return bool(re.search("does not take the service's certificate: .*expired; check the clocks", "".join(said)))

    # The agent's alert is on its way when its own error is here, and a service that is closed reads it no more.
    assert until(complained)
    site.close()
    assert heard.seen == []


def test_an_agent_takes_its_certificate_when_it_comes(site: FarSite, tmp_path: Path) -> None:
    own = tmp_path / "agent.pem"
    line = site.line(secure=AgentSide(own, site.authority.path))
    with pytest.raises(NotEnrolled, match=f"no {own}"):
        line.ask(ListAttached(), call())
    site.authority.agent(VM_3).rename(own)
    assert until(lambda: line.up)
    assert line.welcome is not None
    assert line.welcome.vm == VM_3


def test_a_service_shows_its_new_certificate_and_keeps_the_connections_made_with_the_old_one(tmp_path: Path) -> None:
    authority, served = Authority(tmp_path), tmp_path / "service.pem"
    authority.service().rename(served)
    side = ServiceSide(served, authority.path)
    site = FarSite(tmp_path, Gated(), authority, secure=side)
    before = site.line()
    before.ask(ListAttached(), call())
    authority.service().rename(served)
    side.renew()
    in_tls = InTls(site.connect(), authority.agent_side(VM_2))
    in_tls.shake()
    assert in_tls.stream.certificate == der(served)
    assert before.ask(ListAttached(), call()) == Attachments(())
    site.close()


def test_a_service_whose_new_certificate_is_no_use_says_so_and_keeps_the_old_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = authority.service()
    side = ServiceSide(served, authority.path)
    served.write_text("not a certificate")
    with pytest.raises(MetadataDamaged):
        side.renew()
    site = FarSite(tmp_path, Gated(), authority, secure=side)
    assert site.line().ask(ListAttached(), call()) == Attachments(())
    site.close()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[FarSite]:
    """A site whose service gives slow peers a tenth of a second."""
    made = FarSite(tmp_path, Gated(), patience=Patience(header_s=0.1, body_s=0.1, reading_s=0.1))
    yield made
    made.close()


@pytest.mark.parametrize(
    "sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00", b"\xef\xbe"], ids=["nothing", "a-byte", "a-head", "half-vdvs"]
)
def test_a_handshake_that_does_not_end_is_given_up(hasty: FarSite, sent: bytes) -> None:
    connection = hasty.connect()
    connection.sendall(sent)
    assert ended(connection)


def test_half_a_handshake_is_given_up(hasty: FarSite) -> None:
    connection = hasty.connect()
    StrangerSide(None)(connection)
    assert connection.recv(1 << 16)
    assert ended(connection)


def test_who_is_silent_after_the_handshake_is_given_up(hasty: FarSite) -> None:
    guest = hasty.guest()
    assert guest.error().code == "bad-frame"
    assert guest.ended()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(b"\xff" * 64, id="giant"),
        pytest.param(b"\0" * 64, id="zeros"),
        pytest.param(wire.write_request(Hello(1, 1, "x", "y"), UUID(int=1), 5.0), id="an-agent-s-frame-in-the-clear"),
        pytest.param(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", id="a-giant-client-hello"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", id="an-alert"),
        pytest.param(b"\x17\x03\x03\x00\x05hello", id="data-before-the-handshake"),
        pytest.param(b"\xef\xbe\xad\x0b\x33\0\0\0", id="a-guest-of-vdvs"),
    ],
)
def test_what_is_no_tls_ends_its_connection_at_once(site: FarSite, garbage: bytes) -> None:
    connection = site.connect()
    connection.sendall(garbage)
    assert ended(connection)
    assert site.line(VM_2).ask(ListAttached(), call(5.0)) == Attachments(())


def test_a_guest_of_vdvs_is_named_in_one_line_of_the_log(site: FarSite, capsys: pytest.CaptureFixture[str]) -> None:
    connection = site.connect(cid=77)
    for byte in (b"\xef", b"\xbe", b"\xad\x0b\x33\0"):
        connection.sendall(byte)
        CLOCK.sleep(0.01)
    assert ended(connection)
    [line] = capsys.readouterr().err.splitlines()
    assert "vsock://77:1023" in line
    assert "vDVS" in line
    assert "install vmdkvol's agent in that VM" in line


def test_a_first_message_with_any_byte_changed_harms_nobody(site: FarSite, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        StrangerSide(site.authority.pem)(ours)
        first = theirs.recv(1 << 16)
    for offset in range(len(first)):
        connection = site.connect(cid=1000 + offset)
        connection.sendall(first[:offset] + bytes([first[offset] ^ 0x55]) + first[offset + 1 :])
        connection.close()
    assert site.line(VM_2).ask(ListAttached(), call(5.0)) == Attachments(())
    assert "Traceback" not in capsys.readouterr().err


def test_an_older_tls_is_refused(site: FarSite) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="(?i)protocol version"):
        context.wrap_socket(site.connect())


def test_silent_strangers_of_one_source_make_room_for_their_like_only(site: FarSite) -> None:
    silent = [site.connect(cid=9) for _ in range(entrance.SHAKING_EACH + 1)]
    assert ended(silent[0])
    other = site.line(VM_2, cid=10)
    assert other.ask(ListAttached(), call()) == Attachments(())


def test_peers_without_a_certificate_make_room_for_their_like(site: FarSite) -> None:
    strangers = [site.guest(None, cid=9) for _ in range(entrance.STRANGERS_EACH + 1)]
    for stranger in strangers:
        stranger.send(b"")
    assert isinstance(strangers[0].error(), Busy)
    assert strangers[0].ended()


def test_a_source_that_connects_without_end_is_refused_and_others_are_not(tmp_path: Path) -> None:
    site = FarSite(tmp_path, Gated(), patience=Patience(header_s=60.0))
    for _ in range(3 * int(entrance.BURST)):
        site.connect(cid=9).close()
    assert ended(site.connect(cid=9))
    assert site.line(VM_2, cid=10).ask(ListAttached(), call()) == Attachments(())
    site.close()


def test_too_many_connections_with_one_certificate_are_refused(site: FarSite) -> None:
    side = site.authority.agent_side(VM_1)
    for cid in range(entrance.MAX_CONNECTIONS):
        site.guest(cid=cid, secure=side).hello()
    assert isinstance(site.guest(cid=99, secure=side).error(), Busy)
    assert site.guest(VM_2).hello().type == wire.ANSWER


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\xff" * 64, id="giant"),
        pytest.param(b"\0\0\0\0", id="empty-frame"),
        pytest.param(struct.pack(">I", 40000) + b"[" * 40000, id="deep"),
        pytest.param(struct.pack(">I", frames.MAX_REQUEST + 1), id="one-byte-too-long"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(b"\xef\xbe\xad\x0b\x33\0\0\0", id="a-guest-of-vdvs"),
    ],
)
@pytest.mark.parametrize("enrolled", [True, False], ids=["enrolled", "stranger"])
def test_a_wrong_frame_inside_tls_gets_one_error_and_ends_the_connection(site: FarSite, bad: bytes, enrolled: bool) -> None:
    guest = site.guest(VM_1 if enrolled else None)
    guest.send(bad)
    assert guest.error().exit_code == 6
    assert guest.ended()
    assert site.line(VM_2).ask(ListAttached(), call(5.0)) == Attachments(())


def test_half_a_frame_inside_tls_is_given_up(hasty: FarSite) -> None:
    guest = hasty.guest()
    guest.hello()
    guest.send(wire.write_request(ListAttached(), UUID(int=1), 1.0)[:-1])
    assert guest.error().code == "bad-frame"
    assert guest.ended()


def test_a_guest_that_reads_no_answers_is_given_up_inside_tls_too(hasty: FarSite) -> None:
    guest = hasty.guest()
    guest.hello()
    hello = wire.write_request(Hello(1, 1, "x", "y"), UUID(int=1), 5.0)
    # More answers than the kernel keeps, and far fewer than the service does: it is the time that ends it.
    for _ in range(50):
        guest.try_to_send(hello * 100)
    assert until(lambda: not guest.try_to_send(hello), 10.0)


def test_a_guest_from_which_nothing_is_heard_is_given_up(tmp_path: Path) -> None:
    site = FarSite(tmp_path, Gated(), patience=Patience(alone_s=0.3))
    guest = site.guest()
    guest.hello()
    assert guest.error().code == "bad-frame"
    assert until(lambda: not site.server.connected(VM_1))
    site.close()


def test_an_agent_that_has_nothing_to_say_is_heard_all_the_same(tmp_path: Path) -> None:
    site = FarSite(tmp_path, Gated(), patience=Patience(alone_s=2.0))
    ups: list[object] = []
    line = site.line(silence_s=0.05, on_up=ups.append)
    line.ask(ListAttached(), call())
    CLOCK.sleep(3.0)
    assert site.server.connected(VM_1)
    # Not one broken and made anew, and that the service is there is no news.
    assert len(ups) == 1
    site.close()


def test_a_service_that_is_gone_without_a_word_is_found_out(site: FarSite, tmp_path: Path) -> None:
    path, gone = tmp_path / "proxy.sock", threading.Event()
    proxy = CuttingProxy(path, site.far.path)
    proxy.change_next(lambda _, data: (b"", b"") if gone.is_set() else (data, b""))
    line = site.line(connect=lambda _, timeout_s: unix_socket.connect(path, timeout_s), silence_s=0.05)
    line.ask(ListAttached(), call())
    gone.set()
    # Silence, then a Hello that nobody answers.
    assert until(lambda: not line.up, 30.0)
    line.close()
    proxy.close()


@pytest.mark.parametrize(("oldest", "newest", "spoken"), [(1, 1, 1), (1, 2, 2), (2, 3, 3), (3, 4, 4), (5, 5, 5), (4, 9, 7)])
def test_each_version_is_spoken_over_tls(site: FarSite, oldest: int, newest: int, spoken: int) -> None:
    guest = site.guest()
    welcome = wire.read_answer(Hello(1, 1, "", ""), guest.hello(oldest, newest).body)
    assert welcome.version == spoken
    guest.send_request(ListAttached())
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER


def test_a_version_that_nobody_speaks_gets_both_ranges_over_tls(site: FarSite) -> None:
    frame = site.guest().hello(8, 9)
    assert frame.type == wire.ERROR
    assert "8 to 9" in frame.body["text"]
    assert f"{OLDEST_VERSION} to {NEWEST_VERSION}" in frame.body["text"]
