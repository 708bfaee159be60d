"""The plugin API as the engine speaks it: no Content-Type, empty repeats, errors as JSON, connections that end unanswered."""

from __future__ import annotations

import io
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import ID1, Host
from vmdkvol.errors import ServiceUnreachable
from vmdkvol.messages import CreateVolume
from vmdkvol_guest.app import MAX_BODY, create_app
from vmdkvol_guest.gate import Gate

AWAY = ServiceUnreachable("the service is away")
ROUTES = [
    "/Plugin.Activate",
    *(f"/VolumeDriver.{name}" for name in ["Create", "Remove", "Mount", "Unmount", "Path", "Get", "List", "Capabilities"]),
]


class Connection:
    """The end of the connection that gunicorn puts into the environment, with the peer's credentials."""

    def __init__(self, uid: int = 0) -> None:
        self.uid = uid
        self.ended = False

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
        return struct.pack("3i", 4711, self.uid, self.uid)

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_RDWR
        self.ended = True


class Engine:
    """Posts to the application as dockerd does."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.gate = Gate(host.clock)
        self.gate.open()
        self.activated = 0
        self.requests: list[str] = []
        app = create_app(
            host.driver,
            self.gate,
            clock=host.clock,
            limits=host.limits,
            new_id=host.parts.new_id,
            log=host.log,
            bound=self._bound,
            activated=self._activate,
        )
        app.testing = False
        app.config["PROPAGATE_EXCEPTIONS"] = False
        self.client = app.test_client()

    def _activate(self) -> None:
        self.activated += 1

    def _bound(self, **fields: str) -> AbstractContextManager[None]:
        self.requests.append(fields["request"])
        return _nothing()

    def send(self, path: str, data: bytes = b"", *, connection: Any = None, method: str = "POST") -> TestResponse:
        environ = {"gunicorn.socket": connection or Connection(), "HTTP_HOST": ""}
        return self.client.open(path, method=method, data=data, environ_overrides=environ)

    def post(self, verb: str, body: object) -> Any:
        response = self.send(f"/VolumeDriver.{verb}", json.dumps(body).encode())
        assert response.status_code == 200
        return json.loads(response.data)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@pytest.fixture
def engine() -> Iterator[Engine]:
    with SimulatedClock(0) as clock:
        host = Host(clock, SmallService(clock), loop=False)
        engine = Engine(host)
        assert engine.post("Create", {"Name": "db", "Opts": None}) == {"Err": ""}
        yield engine


# --- the good answers ------------------------------------------------------------------------------------------------


def test_activate_says_volume_driver_and_is_noted(engine: Engine) -> None:
    response = engine.send("/Plugin.Activate")

    assert json.loads(response.data) == {"Implements": ["VolumeDriver"]}
    assert engine.activated == 1


@pytest.mark.parametrize("path", [*ROUTES, "/nosuch"])
def test_the_body_is_read_before_the_answer_also_where_nobody_needs_it(engine: Engine, path: str) -> None:
    """The connection ends with the answer: who sends the body in a second piece would find it closed, and fail."""
    body = io.BytesIO(b"{}")

    engine.client.open(
        path, method="POST", input_stream=body, content_length=2, environ_overrides={"gunicorn.socket": Connection()}
    )

    assert body.tell() == 2


def test_activate_needs_nobody(engine: Engine) -> None:
    engine.host.line.down = AWAY
    engine.host.life.over = True

    assert engine.send("/Plugin.Activate").status_code == 200


def test_the_scope_is_global(engine: Engine) -> None:
    assert engine.post("Capabilities", {}) == {"Capabilities": {"Scope": "global"}}


def test_one_life_of_a_volume(engine: Engine) -> None:
    path = engine.post("Path", {"Name": "db"})["Mountpoint"]
    assert engine.post("Mount", {"Name": "db", "ID": ID1}) == {"Mountpoint": path, "Err": ""}
    assert engine.post("Unmount", {"Name": "db", "ID": ID1}) == {"Err": ""}
    assert engine.post("Remove", {"Name": "db"}) == {"Err": ""}
    assert engine.post("List", {}) == {"Volumes": [], "Err": ""}


def test_get_answers_the_name_the_path_the_time_and_the_status(engine: Engine) -> None:
    volume = engine.post("Get", {"Name": "db"})["Volume"]

    assert volume.keys() == {"Name", "Mountpoint", "CreatedAt", "Status"}
    assert volume["Name"] == "db"
    assert volume["Mountpoint"].startswith("/")
    assert volume["CreatedAt"].endswith("Z")


def test_list_carries_no_status(engine: Engine) -> None:
    (volume,) = engine.post("List", {})["Volumes"]

    assert volume.keys() == {"Name", "Mountpoint", "CreatedAt"}


@pytest.mark.parametrize("name", ["héllo", "with space", "*", "-d", "ab@ds1", "x" * 100, "日本語", "null"])
def test_a_name_comes_back_as_it_was_sent(engine: Engine, name: str) -> None:
    assert engine.post("Create", {"Name": name}) == {"Err": ""}

    assert engine.post("Get", {"Name": name})["Volume"]["Name"] == name
    assert name in [volume["Name"] for volume in engine.post("List", {})["Volumes"]]


def test_each_request_has_an_id_of_its_own_in_the_log(engine: Engine) -> None:
    engine.post("List", {})

    assert len(set(engine.requests)) == len(engine.requests) == 2


# --- empty and broken bodies (docker-facts 2.4) ------------------------------------------------------------------------

BROKEN = [b"", b"\n", b"{}", b"[]", b'"db"', b"null", b'{"Name":null}', b"{", b"\xff\xfe", b"[" * 5000]


@pytest.mark.parametrize("body", BROKEN)
@pytest.mark.parametrize("verb", ["Create", "Mount", "Unmount", "Remove", "Path"])
def test_an_empty_or_broken_body_is_an_error_without_effect(engine: Engine, verb: str, body: bytes) -> None:
    asked = len(engine.host.line.asked)

    response = engine.send(f"/VolumeDriver.{verb}", body)

    assert json.loads(response.data)["Err"].endswith("[empty-request]")
    assert len(engine.host.line.asked) == asked


@pytest.mark.parametrize("body", BROKEN)
def test_an_empty_or_broken_get_is_not_answered(engine: Engine, body: bytes) -> None:
    connection = Connection()

    engine.send("/VolumeDriver.Get", body, connection=connection)

    assert connection.ended


def test_a_get_of_the_empty_name_is_an_error_at_once(engine: Engine) -> None:
    connection = Connection()

    response = engine.send("/VolumeDriver.Get", b'{"Name":""}', connection=connection)

    assert json.loads(response.data)["Err"]
    assert not connection.ended


def test_an_empty_list_is_answered(engine: Engine) -> None:
    assert json.loads(engine.send("/VolumeDriver.List").data)["Err"] == ""


@pytest.mark.parametrize("verb", ["Mount", "Unmount"])
@pytest.mark.parametrize("mount_id", [None, "", "x" * 300, "a\nb", 7])
def test_a_mount_without_a_good_id_is_refused(engine: Engine, verb: str, mount_id: object) -> None:
    assert engine.post(verb, {"Name": "db", "ID": mount_id})["Err"]
    assert engine.host.ids() == frozenset()


@pytest.mark.parametrize("opts", [{"size": 5}, {"size": None}, {"size": True}, [], "size=1gb", 7, False])
def test_options_that_are_no_texts_are_refused_with_a_code(engine: Engine, opts: object) -> None:
    """Field case C08."""
    assert "[invalid-option]" in engine.post("Create", {"Name": "x", "Opts": opts})["Err"]
    assert engine.host.line.count(CreateVolume) == 1
    assert engine.post("Create", {"Name": "x"}) == {"Err": ""}


@pytest.mark.parametrize("name", [5, True, ["db"], {"a": 1}])
def test_a_name_that_is_no_text_is_refused(engine: Engine, name: object) -> None:
    assert "[invalid-name]" in engine.post("Remove", {"Name": name})["Err"]


@pytest.mark.parametrize("name", ["a/b", "..", "../../etc", "a\nb", "a\x00b", "x" * 101, "e\u0301", "\ud800"])
def test_a_bad_name_is_one_line_with_a_code(engine: Engine, name: str) -> None:
    error = engine.post("Create", {"Name": name})["Err"]

    assert error.endswith("[invalid-name]")
    assert error.isprintable()


# --- unknown is not absent -----------------------------------------------------------------------------------------------


def test_a_get_whose_truth_is_unknown_is_not_answered(engine: Engine) -> None:
    engine.host.line.down = AWAY
    connection = Connection()

    engine.send("/VolumeDriver.Get", b'{"Name":"other"}', connection=connection)

    assert connection.ended


def test_a_get_that_crashes_is_not_answered(engine: Engine) -> None:
    engine.host.guest.mounts.path = None  # type: ignore[assignment, method-assign]
    connection = Connection()

    engine.send("/VolumeDriver.Get", b'{"Name":"db"}', connection=connection)

    assert connection.ended
    assert engine.host.log.count("error") == 1


def test_a_get_of_an_absent_volume_is_answered(engine: Engine) -> None:
    assert "[volume-not-found]" in engine.post("Get", {"Name": "other"})["Err"]


def test_a_list_of_unknown_truth_is_an_error_since_that_purges_nothing() -> None:
    with SimulatedClock(0) as clock:
        host = Host(clock, SmallService(clock), loop=False)
        host.line.down = AWAY

        assert "[service-unreachable]" in Engine(host).post("List", {})["Err"]


# --- JSON for everything else --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_another_method_is_refused_as_json(engine: Engine, route: str) -> None:
    response = engine.send(route, method="GET")

    assert response.status_code == 405
    assert json.loads(response.data)["Err"]


@pytest.mark.parametrize("route", ["/", "/VolumeDriver.Nothing", "/VolumeDriver.Get/", "/a\x1b[31m"])
def test_an_unknown_route_is_refused_as_json(engine: Engine, route: str) -> None:
    response = engine.send(route)

    assert response.status_code == 404
    assert json.loads(response.data)["Err"].isprintable()


@pytest.mark.parametrize("verb", ["Create", "Mount", "Get", "Path"])
def test_a_giant_body_is_refused_as_json(engine: Engine, verb: str) -> None:
    response = engine.send(f"/VolumeDriver.{verb}", b'{"Name":"' + b"x" * MAX_BODY + b'"}')

    assert response.status_code == 413
    assert json.loads(response.data)["Err"]


def test_a_crash_is_json_with_a_code_and_its_trace_is_logged(engine: Engine) -> None:
    engine.host.guest.devices.find = None  # type: ignore[assignment, method-assign]

    response = engine.send("/VolumeDriver.Mount", json.dumps({"Name": "db", "ID": ID1}).encode())

    assert response.status_code == 500
    assert "[internal]" in json.loads(response.data)["Err"]
    assert "mounting.py" in str(engine.host.log.lines[-1][2]["trace"])


def test_an_error_keeps_status_200_so_that_docker_shows_it_as_it_is(engine: Engine) -> None:
    assert engine.post("Remove", {"Name": "other"})["Err"].startswith("there is no volume 'other'")


# --- who calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_but_root_is_served(engine: Engine, route: str) -> None:
    response = engine.send(route, b'{"Name":"db","ID":"x"}', connection=Connection(uid=65534))

    assert "[unknown-caller]" in json.loads(response.data)["Err"]
    assert engine.activated == 0


def test_a_connection_without_proof_is_refused(engine: Engine) -> None:
    response = engine.client.post("/VolumeDriver.Get", data=b'{"Name":"db"}')

    assert "[unknown-caller]" in json.loads(response.data)["Err"]


def test_a_real_connection_proves_its_caller(engine: Engine) -> None:
    """The numbers of SO_PEERCRED are read as the kernel writes them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        response = engine.send("/Plugin.Activate", connection=ours)

    assert response.status_code == 200


# --- the gate --------------------------------------------------------------------------------------------------------------


def test_a_closed_gate_holds_slow_calls_and_no_others(engine: Engine) -> None:
    engine.gate._opened = False
    mounting = engine.host.beside(lambda: engine.post("Mount", {"Name": "db", "ID": ID1}))
    engine.host.clock.sleep(1.0)

    assert engine.post("Get", {"Name": "db"})["Err"] == ""
    assert engine.post("List", {})["Err"] == ""
    assert engine.send("/Plugin.Activate").status_code == 200
    assert mounting == []

    engine.gate.open()
    engine.host.settle(1.0)
    assert len(mounting) == 1


def test_an_empty_repeat_takes_no_place_behind_a_closed_gate(engine: Engine) -> None:
    engine.gate._opened = False

    assert "[empty-request]" in json.loads(engine.send("/VolumeDriver.Mount").data)["Err"]


def test_a_call_behind_a_closed_gate_is_answered_in_time(engine: Engine) -> None:
    engine.gate._opened = False
    began = engine.host.clock.monotonic()

    assert "[busy]" in engine.post("Unmount", {"Name": "db", "ID": ID1})["Err"]
    assert engine.host.clock.monotonic() - began <= 51.0
