"""Whoever watches an agent: figures by what came of each request, on a socket of their own that no peer can hold up."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept
from vmdkvol.addresses import UnixAddress
from vmdkvol.channel import Listener, listen
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import BadRequest, Conflict
from vmdkvol_guest.figures import Figures
from vmdkvol_guest.scraping import METRICS, TEXT, Scraping
from vmdkvol_guest.settings import AgentSettings

NAMES = {
    "vmdkvol_build_info": {"version", "protocol", "component"},
    "vmdkvol_operation_duration_seconds": {"op", "result", "backend"},
    "vmdkvol_operations_in_flight": {"op"},
    "vmdkvol_lock_wait_seconds": {"lock"},
    "vmdkvol_channel_up": set(),
    "vmdkvol_channel_reconnects": set(),
}
CLOCK = SystemClock()


def figures(*, up: bool = True) -> Figures:
    return Figures(HandClock(), version="1", protocol=4, up=lambda: up)


def ask(made: Figures, path: str, result: str | None = None) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if result is not None:
            environ["vmdkvol.result"] = result
        return [b"{}"]

    made.around(app)({"PATH_INFO": path}, None)


def told(made: Figures, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(made.render())
        for sample in family.samples
        if sample.name == name
    }


# --- figures -----------------------------------------------------------------------------------------------------


def test_the_names_and_labels_are_those_that_were_promised() -> None:
    made = figures()
    ask(made, "/VolumeDriver.Mount")
    made.waited("volume", 0.1)
    families = text_string_to_metric_families(made.render())
    found = {each.name: {label for sample in each.samples for label in sample.labels} - {"le"} for each in families}
    assert found == NAMES


@pytest.mark.integration
def test_promtool_has_nothing_to_say() -> None:
    made = figures()
    ask(made, "/VolumeDriver.Mount")
    done = subprocess.run(["promtool", "check", "metrics"], input=made.render(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("path", "result", "labels"),
    [
        ("/VolumeDriver.Mount", None, ("docker", "mount", "ok")),
        ("/VolumeDriver.Mount", "volume-in-use", ("docker", "mount", "volume-in-use")),
        ("/VolumeDriver.Get", "hung-up", ("docker", "get", "hung-up")),
        ("/VolumeDriver.Nothing", None, ("docker", "other", "ok")),
        ("/x" * 5000, None, ("docker", "other", "ok")),
        ('/VolumeDriver."\n', None, ("docker", "other", "ok")),
        ("/VolumeDriver.List", "something new", ("docker", "list", "internal")),
    ],
)
def test_labels_are_of_closed_sets_whatever_is_asked(path: str, result: str | None, labels: tuple[str, ...]) -> None:
    made = figures()
    ask(made, path, result)
    assert told(made, "vmdkvol_operation_duration_seconds_count") == {labels: 1.0}


def test_a_bug_is_counted_and_nothing_stays_in_flight() -> None:
    made = figures()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError):
        made.around(app)({"PATH_INFO": "/VolumeDriver.Mount"}, None)
    assert told(made, "vmdkvol_operation_duration_seconds_count") == {("docker", "mount", "internal"): 1.0}
    assert told(made, "vmdkvol_operations_in_flight") == {("mount",): 0.0}


@pytest.mark.parametrize("up", [True, False])
def test_whether_the_service_answers_is_told(up: bool) -> None:
    assert told(figures(up=up), "vmdkvol_channel_up") == {(): float(up)}


def test_a_service_that_is_reached_again_is_counted_and_the_first_time_is_not() -> None:
    made = figures()
    for _ in range(3):
        made.connected()
    assert told(made, "vmdkvol_channel_reconnects_total") == {(): 2.0}


def test_how_long_work_waited_for_its_turn_is_told() -> None:
    made = figures()
    made.waited("volume", 3.0)
    assert told(made, "vmdkvol_lock_wait_seconds_sum") == {("volume",): 3.0}


# --- where they are told -----------------------------------------------------------------------------------------


def bug() -> tuple[int, str]:
    raise RuntimeError("a\nbug")


@pytest.fixture
def log() -> Kept:
    return Kept()


@pytest.fixture
def path(tmp_path: Path, log: Kept) -> Iterator[Path]:
    place = tmp_path / "metrics.sock"
    pages: dict[str, tuple[str, Callable[[], tuple[int, str]]]] = {
        "/metrics": (METRICS, lambda: (200, "a 1\n")),
        "/readyz": (TEXT, lambda: (503, "the service is away\n")),
        "/bug": (TEXT, bug),
    }
    made = Scraping(UnixAddress(place), pages, CLOCK, log)
    made.start()
    yield place
    made.stop(Deadline.after(CLOCK, 10.0))
    assert not place.exists()


def connected(path: Path) -> socket.socket:
    give_up = Deadline.after(CLOCK, 20.0)
    while True:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(20.0)
        try:
            peer.connect(str(path))
            return peer
        except OSError:
            peer.close()
            assert not give_up.passed
            CLOCK.sleep(0.01)


def answer(path: Path, request: bytes) -> bytes:
    with connected(path) as peer:
        peer.sendall(request)
        found = b""
        while more := peer.recv(65536):
            found += more
    return found


@pytest.mark.integration
@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /metrics HTTP/1.1", b"200", b"a 1\n"),
        (b"GET /metrics?x=1 HTTP/1.1", b"200", b"a 1\n"),
        (b"GET /readyz HTTP/1.1", b"503", b"the service is away\n"),
        (b"GET / HTTP/1.1", b"404", b"there are: /bug, /metrics, /readyz\n"),
        (b"GET /../../etc/shadow HTTP/1.1", b"404", b"there are: /bug, /metrics, /readyz\n"),
        (b"GET /\xff HTTP/1.1", b"404", b"there are: /bug, /metrics, /readyz\n"),
        (b"POST /metrics HTTP/1.1", b"400", b"only GET is answered here\n"),
        (b"nonsense", b"400", b"only GET is answered here\n"),
        (b"GET /bug HTTP/1.1", b"500", b"see the agent's log\n"),
    ],
)
def test_a_request_gets_its_page_or_why_not(path: Path, request_line: bytes, status: bytes, body: bytes) -> None:
    found = answer(path, request_line + b"\r\nHost: x\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 " + status)
    assert found.endswith(b"\r\n\r\n" + body)


@pytest.mark.integration
def test_a_peer_that_says_nothing_and_one_that_says_too_much_hold_up_nobody_for_long(path: Path) -> None:
    with connected(path), connected(path) as talker:
        try:
            talker.sendall(b"x" * (1 << 20))
        except OSError:
            pass
        assert answer(path, b"GET /metrics HTTP/1.1\r\n\r\n").endswith(b"a 1\n")


@pytest.mark.integration
def test_the_socket_is_for_its_owner_only(path: Path) -> None:
    connected(path).close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.integration
def test_a_place_that_another_worker_still_has_is_taken_when_it_is_free(tmp_path: Path, log: Kept) -> None:
    place, tries = UnixAddress(tmp_path / "m.sock"), []

    def busy_twice(address: Any) -> Listener:
        tries.append(address)
        if len(tries) < 3:
            raise Conflict("another process serves it")
        return listen(address)

    made = Scraping(place, {"/metrics": (METRICS, lambda: (200, "a 1\n"))}, CLOCK, log, busy_twice)
    made.start()
    assert answer(place.path, b"GET /metrics HTTP/1.1\r\n\r\n").endswith(b"a 1\n")
    made.stop(Deadline.after(CLOCK, 10.0))
    assert log.events("warning") == ["figures are not told yet"]


@pytest.mark.integration
def test_an_agent_that_is_not_watched_does_not_load_the_library() -> None:
    code = "import sys, vmdkvol_guest.worker, vmdkvol_guest.daemon; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("text", ["vsock://2:1019", "http://x", "/run/x.sock", "", "unix:///run/docker/plugins/vsphere.sock"])
def test_a_place_that_cannot_be_is_refused_with_the_setting(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        AgentSettings(metrics=text)
    assert caught.value.fields["setting"] == "metrics"
