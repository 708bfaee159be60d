"""Files on a datastore: on the simulator, and on small servers that answer as proxies and broken servers do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest

from tests.vsphere.lines import Lines
from tests.vsphere.servers import Serve, line_to, listening, over_tls, request
from tests.vsphere.simulators import Certificates, Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    HypervisorUnreachable,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    TruthUnknown,
    VolumeError,
    VolumeLost,
)
from vmdkvol.names import DatastoreName
from vmdkvol_esx.vsphere import framed
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.connections import PinnedContext
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.files import Files
from vmdkvol_esx.vsphere.folders import Folders
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.stub import Stub
from vmdkvol_esx.vsphere.tasks import Waiter

pytestmark = [pytest.mark.integration]
DS = DatastoreName("LocalDS_0")
CONTENT = framed.frame(b'{"generation": 7}\n')
OTHER = framed.frame(b'{"generation": 8}\n')
PLACE = Place("ds-1", "50% [ü]", "dc-1", "F 1/DC", UUID(int=1), "browser-1", "VMFS", 1 << 40, 1 << 40, writable=True)
PATH = "vmdkvol/g/db.vmdkvol.label"


# --- on the simulator ----------------------------------------------------------------------------------------------


@dataclass
class World:
    files: Files
    place: Place
    # Each test has a folder of its own.
    folder: str

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"


@pytest.fixture
def world(shared: Simulator, stage: Stage) -> World:
    session = stage.session(shared.port, Trust(ca=shared.ca), password=shared.password)
    place, folder = Places(session, [DS], {}, CLOCK).place(DS), f"files-{uuid4().hex[:8]}"
    Folders(session, CLOCK).make(place, f"{folder}/g", soon())
    return World(Files(session, Waiter(session, CLOCK, stage.log)), place, folder)


@pytest.mark.vcsim_pure
class TestOnTheSimulator:
    @pytest.mark.parametrize("name", ["a.label", "ü [1] 50%.label", "a b#c?d&e=f+g;h.label", "%41.label"])
    def test_a_file_is_read_as_it_was_written(self, world: World, name: str) -> None:
        path = world.path(name)
        assert world.files.get(world.place, path, soon()) is None

        world.files.put(world.place, path, CONTENT, soon())
        assert world.files.get(world.place, path, soon()) == CONTENT

        world.files.put(world.place, path, OTHER, soon())
        assert world.files.get(world.place, path, soon()) == OTHER
        listed = world.files.listing(world.place, world.folder, soon())
        assert listed is not None
        assert {path: each.size_bytes for path, each in listed.items()} == {path: len(OTHER)}

    def test_a_moved_file_takes_the_place_of_another(self, world: World) -> None:
        old, new = world.path("x"), world.path("x.new")
        world.files.put(world.place, old, OTHER, soon())
        world.files.put(world.place, new, CONTENT, soon())

        world.files.move(world.place, new, old, soon())

        assert (world.files.get(world.place, old, soon()), world.files.get(world.place, new, soon())) == (CONTENT, None)

    def test_what_is_not_there_is_not_moved(self, world: World) -> None:
        with pytest.raises(VolumeLost):
            world.files.move(world.place, world.path("x"), world.path("y"), soon())

    def test_a_deleted_file_is_gone_and_deleting_it_again_is_fine(self, world: World) -> None:
        world.files.put(world.place, world.path("x"), CONTENT, soon())

        for _ in range(2):
            world.files.delete(world.place, world.path("x"), soon())

        assert world.files.get(world.place, world.path("x"), soon()) is None

    def test_a_listing_goes_below_if_asked_and_names_no_folders(self, world: World) -> None:
        world.files.put(world.place, world.path("g/x"), CONTENT, soon())
        world.files.put(world.place, world.path("y"), CONTENT, soon())

        below = world.files.listing(world.place, world.folder, soon())
        beside = world.files.listing(world.place, world.folder, soon(), below=False)

        assert set(below or ()) == {world.path("g/x"), world.path("y")}
        assert set(beside or ()) == {world.path("y")}

    def test_a_folder_that_is_not_there_has_no_listing(self, world: World) -> None:
        assert world.files.listing(world.place, world.path("nowhere"), soon()) is None

    def test_a_datastore_of_another_name_has_no_listing_that_is_empty(self, world: World) -> None:
        with pytest.raises(TruthUnknown):
            world.files.listing(replace(world.place, name="renamed"), world.folder, soon())

    def test_a_file_of_a_megabyte_is_the_largest(self, world: World) -> None:
        largest = framed.frame(bytes(framed.MAX_BYTES))
        world.files.put(world.place, world.path("x"), largest, soon())

        assert world.files.get(world.place, world.path("x"), soon()) == largest
        with pytest.raises(OutcomeUnknown):
            world.files.put(world.place, world.path("x"), bytes(framed.MAX_BYTES + 1000), soon())

    def test_a_write_whose_answer_is_lost_is_in_doubt_and_is_not_made_again(self, shared: Simulator, stage: Stage) -> None:
        with line_to(shared.port) as line:
            session = stage.session(line.port, Trust(ca=shared.ca), password=shared.password)
            files = Files(session, Waiter(session, CLOCK, stage.log))
            place = Places(session, [DS], {}, CLOCK).place(DS)
            path = f"lost-{uuid4().hex[:8]}"
            before = shared.calls().get("PUT /folder", 0)
            line.answers_lost = True

            with pytest.raises(OutcomeUnknown):
                files.put(place, path, CONTENT, soon())

            line.answers_lost = False
            assert files.get(place, path, soon()) in (CONTENT, None)
            assert shared.calls().get("PUT /folder", 0) <= before + 1


# --- on servers that answer as the test says -------------------------------------------------------------------------


def answer(body: bytes = b"", status: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


PAGE = answer(b"<html>log in here</html>", "200 OK", "Content-Type: text/html")


@dataclass
class Script:
    """Answers each request with the next answer, the last one for ever; keeps what was asked."""

    answers: list[bytes]
    asked: list[bytes] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        while asked := request(connection):
            self.asked.append(asked)
            connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    @property
    def verbs(self) -> list[str]:
        return [each.split(b" ", 1)[0].decode() for each in self.asked]


@dataclass
class Logins:
    """What a session logs in with: a stub on the test's server, with a new cookie each time."""

    port: int
    ca: str
    count: int = 0

    def __str__(self) -> str:
        return f"localhost:{self.port}"

    def log_in(self, deadline: Deadline) -> Service:
        self.count += 1
        stub = Stub(Endpoint("localhost", "user", self.port), PinnedContext.of(Trust(ca=self.ca)), "vim.version.v7_0_3_0", 4)
        stub.cookie = f'vmware_soap_session="login-{self.count}"; Path=/; HttpOnly; Secure'
        return Service(None, stub, "vim.version.v7_0_3_0")

    def log_out(self, service: Service, deadline: Deadline) -> None:
        service.stub.DropConnections()


@contextmanager
def files_on(made: Certificates, serve: Serve) -> Iterator[Files]:
    with listening(over_tls(made.good, serve)) as server:
        session: Session[Service] = Session(Logins(server.port, made.ca), CLOCK, Lines())
        try:
            yield Files(session, Waiter(session, CLOCK, Lines()))
        finally:
            session.close(soon(5.0))


@pytest.fixture
def scripted(made: Certificates) -> Iterator[Callable[..., tuple[Files, Script]]]:
    with ExitStack() as stack:

        def start(*answers: bytes) -> tuple[Files, Script]:
            script = Script(list(answers))
            return stack.enter_context(files_on(made, script.serve)), script

        yield start


Scripted = Callable[..., tuple[Files, Script]]


@pytest.mark.vcsim_injected
class TestOnOtherServers:
    def test_a_request_names_file_datacenter_and_datastore_and_carries_the_session(self, scripted: Scripted) -> None:
        files, script = scripted(answer(CONTENT))

        assert files.get(PLACE, "vmdkvol/ü #1.json", soon()) == CONTENT

        head = script.asked[0].split(b"\r\n")
        assert head[0] == b"GET /folder/vmdkvol/%C3%BC%20%231.json?dcPath=F%201%2FDC&dsName=50%25%20%5B%C3%BC%5D HTTP/1.1"
        assert b'Cookie: vmware_soap_session="login-1"' in head
        assert b"Accept-Encoding: identity" in head

    def test_a_write_sends_the_bytes_and_the_request_s_id(self, scripted: Scripted) -> None:
        files, script = scripted(answer(b"", "201 Created"), answer(CONTENT))
        operation = uuid4()

        files.put(PLACE, PATH, CONTENT, soon(), operation)

        assert script.verbs == ["PUT", "GET"]
        assert script.asked[0].endswith(b"\r\n\r\n" + CONTENT)
        assert f"X-Operation-Id: {operation}".encode() in script.asked[0].split(b"\r\n")

    def test_no_file_is_none(self, scripted: Scripted) -> None:
        files, _ = scripted(answer(b"<html>not found</html>", "404 Not Found", "Content-Type: text/html"))

        assert files.get(PLACE, PATH, soon()) is None

    @pytest.mark.parametrize(
        "page",
        [
            PAGE,
            answer(b"<html>", "200 OK"),
            answer(b"", "302 Found", "Location: /folder/else"),
            answer(b"", "307 Temporary Redirect", "Location: https://localhost/x"),
            answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"),
            answer(b"", "400 Bad Request"),
            answer(CONTENT[:20], "206 Partial Content"),
            b"garbage\r\n\r\n",
        ],
        ids=["login", "html", "redirect", "redirect-away", "compressed", "bad-request", "part", "garbage"],
    )
    def test_what_is_no_answer_of_a_datastore_is_neither_a_file_nor_no_file(self, scripted: Scripted, page: bytes) -> None:
        files, script = scripted(page)

        with pytest.raises((TruthUnknown, HypervisorUnreachable)):
            files.get(PLACE, PATH, soon())

        assert len(script.asked) <= 2
        assert all(b"/folder/vmdkvol" in each.split(b"\r\n")[0] for each in script.asked)

    def test_an_ended_session_is_renewed_once_for_a_read_and_for_a_write(self, scripted: Scripted) -> None:
        refused = answer(b"", "401 Unauthorized")
        files, script = scripted(refused, answer(CONTENT), refused, answer(b""), answer(CONTENT))

        assert files.get(PLACE, PATH, soon()) == CONTENT
        files.put(PLACE, PATH, CONTENT, soon())

        assert script.verbs == ["GET", "GET", "PUT", "PUT", "GET"]
        assert b"login-2" in script.asked[1]
        assert b"login-3" in script.asked[3]

    def test_a_server_that_knows_no_session_is_not_asked_for_ever(self, scripted: Scripted) -> None:
        files, script = scripted(answer(b"", "401 Unauthorized"))

        with pytest.raises(HypervisorUnreachable):
            files.get(PLACE, PATH, soon())

        assert len(script.asked) == 2

    def test_a_missing_privilege_is_named(self, scripted: Scripted) -> None:
        files, script = scripted(answer(b"", "403 Forbidden"))

        with pytest.raises(NotPermitted, match=r"Datastore\.FileManagement"):
            files.put(PLACE, PATH, CONTENT, soon())

        assert script.verbs == ["PUT"]

    def test_a_server_that_is_overloaded_is_read_from_again_and_not_written_to_again(self, scripted: Scripted) -> None:
        busy = answer(b"", "503 Service Unavailable")
        files, script = scripted(busy, answer(CONTENT), busy, answer(OTHER))

        assert files.get(PLACE, PATH, soon()) == CONTENT
        with pytest.raises(OutcomeUnknown, match="503"):
            files.put(PLACE, PATH, CONTENT, soon())

        assert script.verbs == ["GET", "GET", "PUT", "GET"]

    def test_a_write_that_was_made_all_the_same_is_seen(self, scripted: Scripted) -> None:
        files, script = scripted(answer(b"", "500 Internal Server Error"), answer(CONTENT))

        files.put(PLACE, PATH, CONTENT, soon())

        assert script.verbs == ["PUT", "GET"]

    def test_a_full_datastore_is_told_though_its_server_does_not_say_it(self, scripted: Scripted) -> None:
        files, _ = scripted(answer(b"", "500 Internal Server Error"), answer(b"", "404 Not Found"))

        with pytest.raises(NoSpace):
            files.put(replace(PLACE, free_bytes=0), PATH, CONTENT, soon())

    def test_a_write_that_a_proxy_answered_is_not_believed(self, scripted: Scripted) -> None:
        files, _ = scripted(PAGE, answer(b"", "404 Not Found"))

        with pytest.raises(OutcomeUnknown, match="read back otherwise"):
            files.put(PLACE, PATH, CONTENT, soon())

    @pytest.mark.parametrize(("free", "error"), [(0, NoSpace), (1 << 40, OutcomeUnknown)])
    def test_a_file_of_which_a_part_arrived_was_not_written(
        self, scripted: Scripted, free: int, error: type[VolumeError]
    ) -> None:
        files, _ = scripted(answer(b""), answer(CONTENT[:10]))

        with pytest.raises(error):
            files.put(replace(PLACE, free_bytes=free), PATH, CONTENT, soon())

    def test_a_full_datastore_and_a_missing_folder_are_told_by_their_status(self, scripted: Scripted) -> None:
        files, _ = scripted(answer(b"", "507 Insufficient Storage"), answer(b"", "404 Not Found"))

        with pytest.raises(NoSpace):
            files.put(PLACE, PATH, CONTENT, soon())
        with pytest.raises(VolumeLost):
            files.put(PLACE, PATH, CONTENT, soon())

    def test_an_answer_that_breaks_off_is_asked_for_again(self, made: Certificates) -> None:
        parts = [answer(CONTENT)[:-5], answer(CONTENT)]

        def serve(connection: socket.socket) -> None:
            if request(connection):
                connection.sendall(parts.pop(0))

        with files_on(made, serve) as files:
            assert files.get(PLACE, PATH, soon()) == CONTENT

        assert parts == []

    def test_an_answer_that_drips_ends_at_the_deadline(self, made: Certificates) -> None:
        dripped = 0

        def serve(connection: socket.socket) -> None:
            nonlocal dripped
            if request(connection):
                for each in answer(bytes(100_000)):
                    connection.sendall(bytes([each]))
                    dripped += 1
                    CLOCK.sleep(0.02)

        with files_on(made, serve) as files:
            begun = CLOCK.monotonic()
            with pytest.raises(HypervisorUnreachable):
                files.get(PLACE, PATH, soon(1.0))
            assert CLOCK.monotonic() - begun < 30.0
            assert dripped > 0

    @pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
    def test_no_more_is_read_of_an_answer_than_a_file_may_have(self, made: Certificates, told: bool) -> None:
        size, sent = 64 << 20, 0

        def serve(connection: socket.socket) -> None:
            nonlocal sent
            if request(connection):
                length = f"Content-Length: {size}\r\n" if told else ""
                connection.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
                for _ in range(size >> 16):
                    connection.sendall(bytes(1 << 16))
                    sent += 1 << 16

        with files_on(made, serve) as files, pytest.raises(TruthUnknown, match="more than"):
            files.get(PLACE, PATH, soon())

        # It is asked for twice; what the network's buffers hold comes on top.
        assert sent < 2 * (framed.MAX_BYTES + (12 << 20))

    def test_a_connection_is_used_again_and_one_in_the_middle_of_an_answer_is_not(self, made: Certificates) -> None:
        script = Script([answer(CONTENT), answer(CONTENT), answer(bytes(3 << 20)), answer(bytes(3 << 20)), answer(OTHER)])
        with listening(over_tls(made.good, script.serve)) as server:
            session: Session[Service] = Session(Logins(server.port, made.ca), CLOCK, Lines())
            files = Files(session, Waiter(session, CLOCK, Lines()))

            for _ in range(2):
                assert files.get(PLACE, PATH, soon()) == CONTENT
            assert server.accepted == 1
            with pytest.raises(TruthUnknown):
                files.get(PLACE, PATH, soon())
            assert files.get(PLACE, PATH, soon()) == OTHER
            assert server.accepted == 3
            session.close(soon(5.0))
