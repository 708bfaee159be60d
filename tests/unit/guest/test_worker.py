"""The worker before and after it is alone on the host. No service listens: nothing here needs one."""

from __future__ import annotations

import gc
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vmdkvol.points import pass_by
from vmdkvol_guest.daemon import Application
from vmdkvol_guest.guards import is_alone, open_instance
from vmdkvol_guest.settings import AgentSettings
from vmdkvol_guest.worker import Worker


def settings(directory: Path) -> AgentSettings:
    return AgentSettings(
        socket=str(directory / "vsphere.sock"),
        service=f"unix://{directory}/service.sock",
        run_dir=str(directory / "run" / "vmdkvol" / "vsphere"),
        state_dir=str(directory / "lib" / "vmdkvol" / "vsphere"),
        slow_limit_s=3.0,
        get_limit_s=0.4,
    )


@pytest.fixture
def docker() -> Iterator[socket.socket]:
    """The agent's end of a connection that root made."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


@pytest.fixture
def other(tmp_path: Path) -> Iterator[int]:
    """What another worker holds that has not ended yet."""
    run_dir = Path(settings(tmp_path).run_dir)
    run_dir.mkdir(parents=True)
    lock = open_instance(run_dir / "instance.lock")
    assert is_alone(lock)
    yield lock
    try:
        os.close(lock)
    except OSError:
        pass


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(settings(tmp_path), pass_by)
    yield made
    made.stop()


def call(worker: Worker, docker: socket.socket, endpoint: str, **body: Any) -> dict[str, Any]:
    data = json.dumps(body).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": endpoint,
        "SERVER_NAME": "plugin",
        "SERVER_PORT": "0",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(data),
        "gunicorn.socket": docker,
    }
    answer: dict[str, Any] = json.loads(b"".join(worker(environ, lambda *_: None)))
    return answer


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_mount_that_cannot_wait_for_the_other_worker_is_answered_within_its_limit(
    other: int, worker: Worker, docker: socket.socket
) -> None:
    began = time.monotonic()

    answer = call(worker, docker, "/VolumeDriver.Mount", Name="db", ID="1" * 64)

    assert "another agent still runs on this host" in answer["Err"]
    # Without the limit of these settings it would be nearly two minutes.
    assert time.monotonic() - began < 30.0


def test_what_changes_nothing_is_answered_beside_another_worker(other: int, worker: Worker, docker: socket.socket) -> None:
    assert call(worker, docker, "/VolumeDriver.Capabilities") == {"Capabilities": {"Scope": "global"}}


def test_one_agent_alone_has_the_notebook_once_it_acts(worker: Worker) -> None:
    eventually(lambda: worker._acting is not None and worker._early is None)


def test_an_activate_that_came_early_is_told_to_the_agent_that_acts(other: int, worker: Worker, docker: socket.socket) -> None:
    call(worker, docker, "/Plugin.Activate")
    os.close(other)

    eventually(lambda: worker._acting is not None and worker._acting.reconcile._activated_at is not None)


def test_a_stop_does_not_wait_for_a_service_that_is_away(tmp_path: Path) -> None:
    worker = Worker(settings(tmp_path), pass_by)
    eventually(lambda: worker._acting is not None)
    began = time.monotonic()

    worker.stop()

    # A question to the service has 10 s and more.
    assert time.monotonic() - began < 5.0


def test_whatever_the_umask_every_uid_passes_to_the_mounts(tmp_path: Path) -> None:
    before = os.umask(0o177)
    try:
        Worker(settings(tmp_path), pass_by).stop()
    finally:
        os.umask(before)

    run_dir = Path(settings(tmp_path).run_dir)
    assert [path.stat().st_mode & 0o777 for path in (run_dir, run_dir.parent, run_dir.parent.parent)] == [0o711] * 3


def test_garbage_that_a_start_leaves_alone_is_looked_for_once_the_worker_serves(tmp_path: Path) -> None:
    gc.disable()
    try:
        loaded = Application(settings(tmp_path), pass_by, -1).load()
        loaded.stop()

        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
