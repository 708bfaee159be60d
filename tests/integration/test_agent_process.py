"""The agent as a process under gunicorn: two guards, socket activation, hanging up, stopping with calls under way."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.site import Site, eventually
from vmdkvol.cli import processes

pytestmark = pytest.mark.integration
ID = "a" * 64


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root)
    yield site
    site.close()
    shutil.rmtree(root)


def agent(site: Site, *command: str, timeout_s: float = 100.0) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "vmdkvol_guest.cli", "--config", str(site.host.agent.config), *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s)


def raw(site: Site, request: bytes) -> bytes:
    """Send bytes to the plugin; return all it answers until it closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(site.host.plugin))
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def masters(site: Site) -> list[int]:
    return [process.pid for process in processes.with_config(site.host.agent.config)]


def inode(site: Site) -> int:
    return site.host.plugin.stat().st_ino


# --- two agents -------------------------------------------------------------------------------------------------


def test_a_second_agent_is_refused_at_once_and_the_first_goes_on(site: Site) -> None:
    site.start()
    before = inode(site)
    began = time.monotonic()

    second = agent(site, "serve")

    assert (second.returncode, second.stderr.count("\n")) == (5, 1)
    assert second.stderr.rstrip().endswith("[conflict]")
    # It does not wait for the first one to end, which it would do for two minutes.
    assert time.monotonic() - began < 60
    assert inode(site) == before
    assert site.host.names() == []


def test_another_plugin_s_live_socket_is_not_taken(site: Site) -> None:
    site.host.plugin.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(site.host.plugin))
        other.listen()
        before = inode(site)

        refused = agent(site, "serve")

        assert refused.returncode == 5
        assert inode(site) == before


def test_a_stale_socket_is_replaced(site: Site) -> None:
    site.host.plugin.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(site.host.plugin))

    site.start()

    assert site.host.names() == []


def test_the_socket_has_mode_0600_and_no_control_socket_is_made(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn would make one in the user's run directory, or else in the home: here a home that nothing else writes to."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    site.start()

    found = site.host.plugin.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in site.host.plugin.parent.iterdir() if path.is_socket()] == ["vsphere.sock"]


def test_directories_above_a_mount_can_be_passed_by_any_user(site: Site) -> None:
    """Field case C09."""
    site.start()

    assert stat.S_IMODE(site.host.run.stat().st_mode) == 0o711


# --- ends of processes ------------------------------------------------------------------------------------------


def test_sigterm_takes_the_socket_away_and_leaves_the_mount(site: Site) -> None:
    site.start()
    site.host.told("Create", Name="db", Opts={"size": "8mb"})
    mountpoint = site.host.told("Mount", Name="db", ID=ID)["Mountpoint"]

    assert site.host.agent.stop() == 0

    assert not site.host.plugin.exists()
    assert os.path.ismount(os.path.dirname(mountpoint))


def test_a_restarted_agent_knows_its_holders(site: Site) -> None:
    site.start()
    site.host.told("Create", Name="db", Opts={"size": "8mb"})
    before = site.host.told("Mount", Name="db", ID=ID)["Mountpoint"]
    site.host.agent.kill()
    site.host.agent.start()

    shown = site.host.told("Get", Name="db")["Volume"]["Status"]
    assert shown["holders"] == [ID]
    assert site.host.patiently("Mount", Name="db", ID="b" * 64)["Mountpoint"] == before
    site.host.told("Unmount", Name="db", ID="b" * 64)
    assert os.path.ismount(os.path.dirname(before))
    site.host.told("Unmount", Name="db", ID=ID)
    assert site.mounted() == []


def test_a_killed_worker_is_replaced_and_acts(site: Site) -> None:
    site.start()
    master, worker = masters(site)[:2]
    os.kill(worker, signal.SIGKILL)

    site.host.patiently("Create", Name="db", Opts={"size": "8mb"})

    assert masters(site)[0] == master
    assert worker not in masters(site)


def test_a_killed_master_s_worker_ends_and_a_new_agent_acts(site: Site) -> None:
    """Corrections 15 and 36."""
    site.start()
    master = masters(site)[0]
    os.kill(master, signal.SIGKILL)
    assert site.host.agent.process is not None
    site.host.agent.process.wait()

    site.host.agent.start()

    site.host.patiently("Create", Name="db", Opts={"size": "8mb"})
    eventually(lambda: len(masters(site)) == 2, "the old worker is gone")


def test_a_call_under_way_is_answered_before_the_stop(site: Site) -> None:
    site.start()
    answers: list[object] = []
    options = {"size": "600mb", "diskformat": "eagerzeroedthick"}
    call = threading.Thread(target=lambda: answers.append(site.host.call("Create", Name="db", Opts=options)))
    call.start()
    eventually(lambda: site.files() != [], "the disk is being made")

    site.host.agent.stop()
    call.join()

    assert answers == [{"Err": ""}]


def test_until_the_old_worker_is_gone_the_new_one_lists_and_the_rest_waits(site: Site) -> None:
    """Corrections 15. The test holds the instance lock in the old worker's place."""
    import fcntl

    site.service.start()
    site.host.run.mkdir(parents=True)
    with (site.host.run / "instance.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        site.host.agent.start()
        assert site.host.call("/Plugin.Activate") == {"Implements": ["VolumeDriver"]}
        assert site.host.patiently("List")["Volumes"] == []
        answers: list[object] = []
        call = threading.Thread(target=lambda: answers.append(site.host.call("Create", Name="db", Opts={"size": "8mb"})))
        call.start()
        call.join(0.1)
        assert (call.is_alive(), site.files()) == (True, [])

        fcntl.flock(held, fcntl.LOCK_UN)
        call.join(30)

    assert answers == [{"Err": ""}]
    assert site.host.names() == ["db"]


# --- HTTP as Docker speaks it -----------------------------------------------------------------------------------


def test_get_without_a_truth_ends_the_connection_without_an_answer(site: Site) -> None:
    """Any answer to Get that is no volume makes the engine forget labels and references (docker-facts 1.1)."""
    site.host.agent.start()

    assert raw(site, b'POST /VolumeDriver.Get HTTP/1.1\r\nHost: \r\nContent-Length: 13\r\n\r\n{"Name":"db"}') == b""


def test_an_empty_get_ends_the_connection_and_an_empty_create_is_refused(site: Site) -> None:
    site.start()

    assert raw(site, b"POST /VolumeDriver.Get HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n") == b""
    said = raw(site, b"POST /VolumeDriver.Create HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n")
    assert b"[empty-request]" in said
    assert site.files() == []


def test_a_connection_serves_one_call(site: Site) -> None:
    """Corrections 19: no idle connection that closes just when a request is sent."""
    site.start()

    said = raw(site, b"POST /VolumeDriver.Capabilities HTTP/1.1\r\nHost: \r\nContent-Length: 3\r\n\r\n{}\n")

    assert b"Connection: close" in said


@pytest.mark.parametrize(
    "request_line", [b"GET /VolumeDriver.List HTTP/1.1", b"POST /nothing HTTP/1.1", b"DELETE /Plugin.Activate HTTP/1.1"]
)
def test_every_answer_is_json(site: Site, request_line: bytes) -> None:
    site.host.agent.start()

    said = raw(site, request_line + b"\r\nHost: \r\nContent-Length: 0\r\n\r\n")

    assert "Err" in json.loads(said.partition(b"\r\n\r\n")[2])


def test_a_giant_body_is_refused_and_the_next_request_works(site: Site) -> None:
    site.start()
    connection = http.client.HTTPConnection("plugin", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(site.host.plugin))
    try:
        connection.request("POST", "/VolumeDriver.Create", b'{"Name":"' + b"x" * (1 << 20) + b'"}')
        assert "Err" in json.loads(connection.getresponse().read())
    except (BrokenPipeError, ConnectionResetError):
        pass  # It may close while we still send.
    finally:
        connection.close()

    assert site.host.names() == []


def test_a_client_that_says_nothing_holds_up_nobody(site: Site) -> None:
    site.start()
    silent = []
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(site.host.plugin))
        connection.sendall(b"POST /VolumeDriver.Cre")
        silent.append(connection)
    began = time.monotonic()

    assert site.host.names() == []

    # An agent that is held up is so for the 10 s that it waits for the service, or for good.
    assert time.monotonic() - began < 8
    for connection in silent:
        connection.close()


def test_list_is_answered_while_many_calls_wait(site: Site) -> None:
    """Corrections 16: slow calls never take the last threads."""
    site.host.agent.start()
    calls = [threading.Thread(target=_create, args=(site, f"v{number}")) for number in range(60)]
    for call in calls:
        call.start()
    began = time.monotonic()

    assert site.host.call("/Plugin.Activate") == {"Implements": ["VolumeDriver"]}

    # An agent that is held up is so for the 10 s that it waits for the service, or for good.
    assert time.monotonic() - began < 8
    site.service.start()
    for call in calls:
        call.join()


def _create(site: Site, name: str) -> None:
    site.host.call("Create", Name=name, Opts={"size": "2mb"})
