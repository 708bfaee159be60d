"""Lines that break, servers that are silent, slow or talk nonsense: every call ends in time, and doubt is called doubt."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.vsphere.servers import VERSIONS, Line, line_to, listening, over_tls, reply, request, silent
from tests.vsphere.simulators import Certificates, Simulator
from tests.vsphere.stage import CLOCK, Stage, now, soon
from tests.vsphere.test_session import datastore, make_directory
from vmdkvol.clock import Deadline
from vmdkvol.errors import HypervisorUnreachable, NoSpace, OutcomeUnknown, TruthUnknown, VolumeError
from vmdkvol.logs import Secret
from vmdkvol_esx.vsphere.connecting import Connector, Service
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.session import Session

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_pure]

# What a call of these tests may take, and what it may take at most on a machine that has other things to do.
SHORT_S = 1.0
LONG_S = 30.0


@pytest.fixture
def line(shared: Simulator) -> Iterator[Line]:
    with line_to(shared.port) as found:
        yield found


@pytest.fixture
def session(shared: Simulator, line: Line, stage: Stage) -> Session[Service]:
    made = stage.session(line.port, Trust(ca=shared.ca), password=shared.password)
    made.read("reading the time", now, soon())
    return made


def in_time(work: Callable[[], object], within_s: float = LONG_S) -> None:
    begun = CLOCK.monotonic()
    work()
    assert CLOCK.monotonic() - begun < within_s


# --- the line breaks ---------------------------------------------------------------------------------------------


def test_a_read_over_a_line_that_broke_is_made_on_a_new_one(session: Session[Service], line: Line) -> None:
    line.cut()

    assert session.read("reading the time", now, soon())
    assert session.generation == 1


def test_a_change_over_a_line_that_broke_while_it_was_idle_is_made(
    shared: Simulator, session: Session[Service], line: Line
) -> None:
    """Found out before the first byte was sent, so nobody is in doubt."""
    folder = f"[{datastore(session)}] idle-{shared.model}"
    before = shared.calls().get("MakeDirectory", 0)
    line.cut()

    session.change("making a folder", make_directory(folder), soon())

    assert shared.calls()["MakeDirectory"] == before + 1


def test_a_change_whose_answer_is_lost_is_in_doubt_and_was_made_once(
    shared: Simulator, session: Session[Service], line: Line
) -> None:
    folder = f"[{datastore(session)}] lost-{shared.model}"
    before = shared.calls().get("MakeDirectory", 0)
    line.answers_lost = True

    with pytest.raises(OutcomeUnknown) as caught:
        session.change("making a folder", make_directory(folder), soon())

    assert shared.calls()["MakeDirectory"] == before + 1
    assert f"making a folder on localhost:{line.port}: the connection broke before the answer" in str(caught.value)
    assert str(caught.value).endswith("; it is settled by looking; try again [outcome-unknown]")


def test_a_read_whose_answer_is_lost_is_made_twice_and_no_more(
    shared: Simulator, session: Session[Service], line: Line
) -> None:
    before = shared.calls()["CurrentTime"]
    line.answers_lost = True

    with pytest.raises(HypervisorUnreachable, match="the connection broke before the answer|no connection"):
        session.read("reading the time", now, soon())

    # The second one may not have come as far as the server: its TLS handshake wants answers too.
    assert shared.calls()["CurrentTime"] - before in (1, 2)


def test_a_change_that_cannot_be_sent_is_certainly_not_made(session: Session[Service], line: Line) -> None:
    line.refusing = True
    line.cut()

    with pytest.raises(HypervisorUnreachable, match="making a folder .* no connection"):
        session.change("making a folder", make_directory("[none] x"), soon())


def test_when_the_server_is_back_so_is_the_session(session: Session[Service], line: Line) -> None:
    line.refusing = True
    line.cut()
    with pytest.raises(HypervisorUnreachable):
        session.read("reading the time", now, soon())
    line.refusing = False

    assert session.read("reading the time", now, soon())


def test_a_503_is_told_and_a_read_asks_again(shared: Simulator, session: Session[Service]) -> None:
    shared.answer_next_with(503)

    assert session.read("reading the time", now, soon())


def test_a_503_leaves_a_change_in_doubt(shared: Simulator, session: Session[Service]) -> None:
    folder = f"[{datastore(session)}] busy-{shared.model}"
    shared.answer_next_with(503)

    with pytest.raises(OutcomeUnknown, match="503"):
        session.change("making a folder", make_directory(folder), soon())


# --- the server does not answer ----------------------------------------------------------------------------------


def connector(port: int, ca: str) -> Connector:
    return Connector(Endpoint("localhost", "user", port), Trust(ca=ca), lambda: Secret("c4n4ry"))


def silent_before_tls(_: Certificates) -> Callable[[socket.socket], None]:
    return silent


def silent_after_tls(made: Certificates) -> Callable[[socket.socket], None]:
    return over_tls(made.good, silent)


def dripping(made: Certificates) -> Callable[[socket.socket], None]:
    """A byte now and then: no single read of the socket ever waits long."""

    def served(connection: socket.socket) -> None:
        request(connection)
        while True:
            connection.sendall(b"H")
            threading.Event().wait(0.1)

    return over_tls(made.good, served)


def endless(made: Certificates) -> Callable[[socket.socket], None]:
    """Headers that never end."""

    def served(connection: socket.socket) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            connection.sendall(b"X-%d: y\r\n" % number)
            threading.Event().wait(0.1)
        silent(connection)

    return over_tls(made.good, served)


@pytest.mark.parametrize("kind", [silent_before_tls, silent_after_tls, dripping, endless])
def test_a_call_ends_at_its_deadline_whatever_the_peer_does(
    made: Certificates, kind: Callable[[Certificates], Callable[[socket.socket], None]]
) -> None:
    with listening(kind(made)) as server:

        def ask() -> None:
            with pytest.raises(Failed) as caught:
                connector(server.port, made.ca).log_in(Deadline.after(CLOCK, SHORT_S))
            assert caught.value.trouble.meaning in (Meaning.LOST, Meaning.NOT_SENT)
            assert not caught.value.asked

        in_time(ask)


def test_a_request_that_cannot_wait_does_not_wait_for_a_login_in_a_black_hole(made: Certificates, stage: Stage) -> None:
    with listening(silent) as server:
        session = stage.session(server.port, Trust(ca=made.ca))

        def ask() -> None:
            with pytest.raises(HypervisorUnreachable, match="the login has not ended in this request's time"):
                session.read("reading the time", now, soon(SHORT_S))

        in_time(ask, within_s=9.0)


def test_a_port_that_is_closed_is_said_at_once(made: Certificates, stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(HypervisorUnreachable) as caught:
        stage.session(port, Trust(ca=made.ca)).read("reading the time", now, soon())

    assert str(caught.value) == (
        f"logging in on localhost:{port}: no connection ([Errno 111] Connection refused); check name, port, network and "
        "firewall, and that the server runs [hypervisor-unreachable]"
    )


def test_a_name_that_nobody_has_is_said(made: Certificates, stage: Stage) -> None:
    session = stage.session(443, Trust(ca=made.ca), host="vc1.invalid")

    with pytest.raises(HypervisorUnreachable, match=r"logging in on vc1\.invalid:443: no connection"):
        session.read("reading the time", now, soon())


def test_a_server_without_tls_is_said(made: Certificates, stage: Stage) -> None:
    def plain(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(plain) as server, pytest.raises(HypervisorUnreachable, match="no connection"):
        stage.session(server.port, Trust(ca=made.ca)).read("reading the time", now, soon())


# --- the server's answers cannot be read ---------------------------------------------------------------------------

ENVELOPE = (
    '<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
    "<soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"
)


def envelope(body: str) -> bytes:
    return reply(ENVELOPE.format(body).encode())


CONTENT = envelope(
    '<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval>'
    '<rootFolder type="Folder">group-d1</rootFolder><propertyCollector type="PropertyCollector">pc</propertyCollector>'
    "<about><name>x</name><fullName>x</fullName><vendor>x</vendor><version>7.0.3</version><build>1</build>"
    "<osType>x</osType><productLineId>vpx</productLineId><apiType>VirtualCenter</apiType><apiVersion>7.0.3.0</apiVersion>"
    '</about><sessionManager type="SessionManager">sm</sessionManager>'
    '<fileManager type="FileManager">fm</fileManager></returnval></RetrieveServiceContentResponse>'
)
SESSION = envelope(
    '<LoginResponse xmlns="urn:vim25"><returnval><key>k</key><userName>u</userName><fullName>u</fullName>'
    "<loginTime>2026-01-01T00:00:00Z</loginTime><lastActiveTime>2026-01-01T00:00:00Z</lastActiveTime>"
    "<locale>en</locale><messageLocale>en</messageLocale></returnval></LoginResponse>"
)
FAULT = (
    "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>words</faultstring>"
    '<detail><{0}Fault xmlns="urn:vim25" xsi:type="{0}"/></detail></soapenv:Fault>'
)
ANSWER = '<MakeDirectoryResponse xmlns="urn:vim25">{}</MakeDirectoryResponse>'
FAILED = "500 Internal Server Error"
NONSENSE = [
    pytest.param(reply(b""), id="empty"),
    pytest.param(reply(b"\xff\xfe\x00"), id="bytes"),
    pytest.param(reply(b"<html><body>login</body></html>"), id="a-web-page"),
    pytest.param(envelope(""), id="an-empty-envelope"),
    pytest.param(envelope('<LogoutResponse xmlns="urn:vim25"/>'), id="another-call-s-answer"),
    pytest.param(reply(ENVELOPE.format("").encode()[:60]), id="cut-xml"),
    pytest.param(envelope(ANSWER.format("<unknown/>")).replace(b"</soapenv:Env", b"</soapenv:Enw"), id="wrong-end"),
    pytest.param(reply(ENVELOPE.format(FAULT.format("FaultOfNextYear")).encode(), FAILED), id="a-newer-server-s-fault"),
    pytest.param(envelope(FAULT.format("NoDiskSpace")), id="a-fault-that-says-it-went-well"),
    pytest.param(reply(ENVELOPE.format(ANSWER.format("")).encode(), FAILED), id="an-answer-that-says-it-failed"),
    pytest.param(reply(b"", FAILED), id="nothing-but-a-status"),
    pytest.param(envelope(ANSWER.format(""))[:-10], id="shorter-than-announced"),
    pytest.param(b"nonsense\r\n\r\n", id="no-http"),
    pytest.param(reply(b"", "302 Found"), id="elsewhere"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", id="compressed-and-not-asked-for"
    ),
]


def test_what_the_nonsense_is_made_of_is_understood(made: Certificates, stage: Stage) -> None:
    full = reply(ENVELOPE.format(FAULT.format("NoDiskSpace")).encode(), FAILED)
    with listening(over_tls(made.good, half_closing(CONTENT, SESSION, envelope(ANSWER.format("")), full))) as server:
        session = stage.session(server.port, Trust(ca=made.ca))
        session.change("making a folder", lambda service: service.content.fileManager.MakeDirectory("[ds1] x"), soon())

        with pytest.raises(NoSpace, match=r"the datastore is full \(NoDiskSpace: words\)"):
            session.change("making a folder", lambda service: service.content.fileManager.MakeDirectory("[ds1] x"), soon())


def half_closing(*answers: bytes) -> Callable[[socket.socket], None]:
    """As ``answering``, but the connection ends with the last of ``answers``: what is announced and not sent never comes."""
    left = list(answers)

    def served(connection: socket.socket) -> None:
        while asked := request(connection):
            if asked.startswith(b"GET"):
                connection.sendall(reply(VERSIONS))
                continue
            last = len(left) == 1
            connection.sendall(left[0] if last else left.pop(0))
            if last and b"Login" not in asked and b"RetrieveServiceContent" not in asked:
                return

    return served


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_answer_that_cannot_be_read_leaves_a_change_in_doubt(made: Certificates, stage: Stage, nonsense: bytes) -> None:
    with listening(over_tls(made.good, half_closing(CONTENT, SESSION, nonsense))) as server:
        session = stage.session(server.port, Trust(ca=made.ca))

        with pytest.raises(OutcomeUnknown, match="making a folder on localhost"):
            session.change("making a folder", lambda service: service.content.fileManager.MakeDirectory("[ds1] x"), soon())


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_answer_that_cannot_be_read_is_no_truth(made: Certificates, stage: Stage, nonsense: bytes) -> None:
    def file(service: Service) -> object:
        return service.content.fileManager.MakeDirectory("[ds1] x")

    with listening(over_tls(made.good, half_closing(CONTENT, SESSION, nonsense))) as server:
        session = stage.session(server.port, Trust(ca=made.ca))

        with pytest.raises((TruthUnknown, HypervisorUnreachable)) as caught:
            session.read("reading", file, soon())
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) <= 300


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(reply(b""), id="empty"),
        pytest.param(reply(b"<html>"), id="a-web-page"),
        pytest.param(reply(VERSIONS, "404 Not Found"), id="not-found"),
        pytest.param(reply(b" " * (2 << 20)), id="giant"),
    ],
)
def test_a_server_that_is_no_vsphere_is_said(made: Certificates, stage: Stage, page: bytes) -> None:
    def served(connection: socket.socket) -> None:
        while request(connection):
            connection.sendall(page)

    with listening(over_tls(made.good, served)) as server, pytest.raises(VolumeError, match="cannot be read|no connection"):
        stage.session(server.port, Trust(ca=made.ca)).read("reading the time", now, soon())


# --- what is sent --------------------------------------------------------------------------------------------------


def test_our_request_s_id_stands_in_the_call_and_only_in_it(made: Certificates, stage: Stage) -> None:
    asked: list[bytes] = []
    answers = [CONTENT, SESSION, reply(b"<x/>")]

    def served(connection: socket.socket) -> None:
        while got := request(connection):
            asked.append(got)
            connection.sendall(reply(VERSIONS) if got.startswith(b"GET") else answers[min(len(asked) - 2, 2)])

    with listening(over_tls(made.good, served)) as server, ExitStack() as stack:
        session = Stage(stack).session(server.port, Trust(ca=made.ca))
        with pytest.raises(VolumeError):
            session.read("reading the time", now, soon(), operation="request-7")
        with pytest.raises(VolumeError):
            session.read("reading the time", now, soon())

    calls = [each for each in asked if b"CurrentTime" in each]
    assert [b"request-7" in each for each in calls] == [True, True, False, False]
    assert not any(b"request-7" in each for each in asked if b"Login" in each)


def test_the_password_is_sent_in_the_login_and_nowhere_else(made: Certificates, stage: Stage) -> None:
    asked: list[bytes] = []

    def served(connection: socket.socket) -> None:
        while got := request(connection):
            asked.append(got)
            if got.startswith(b"GET"):
                connection.sendall(reply(VERSIONS))
            else:
                connection.sendall(SESSION if b"Login" in got else CONTENT)

    with listening(over_tls(made.good, served)) as server:
        session = stage.session(server.port, Trust(ca=made.ca), password="c4n4ry")
        session.read("nothing", lambda service: service.version, soon())

    assert [b"Login" in each for each in asked if b"c4n4ry" in each] == [True]
