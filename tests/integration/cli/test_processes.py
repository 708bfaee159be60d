"""A process counts as ours by pid, start time and command line together; nothing else is ever ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmdkvol.cli import processes
from vmdkvol.cli.processes import Process

pytestmark = pytest.mark.integration
IGNORES_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "x.toml"


@pytest.fixture
def sleeper(tmp_path: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = processes.start([sys.executable, "-c", "import time; time.sleep(60)", "--config", str(config)], tmp_path / "log")
    # The kernel shows the command line only a moment after the process has begun.
    while not processes.arguments(process.pid)[0]:
        assert process.poll() is None
    yield process
    process.kill()
    process.wait()


def test_a_recorded_process_is_found_again(tmp_path: Path, config: Path, sleeper: subprocess.Popen[bytes]) -> None:
    processes.write_pid_file(tmp_path / "pid", sleeper.pid)

    found = processes.from_pid_file(tmp_path / "pid", config)
    assert found is not None
    assert found.pid == sleeper.pid


def test_a_pid_that_another_process_got_is_not_ours(tmp_path: Path, config: Path, sleeper: subprocess.Popen[bytes]) -> None:
    processes.write_pid_file(tmp_path / "pid", sleeper.pid)
    recorded = json.loads((tmp_path / "pid").read_text())
    (tmp_path / "pid").write_text(json.dumps({**recorded, "started": recorded["started"] - 1}))

    assert processes.from_pid_file(tmp_path / "pid", config) is None


def test_a_process_with_another_command_line_is_not_ours(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    processes.write_pid_file(tmp_path / "pid", sleeper.pid)

    assert processes.from_pid_file(tmp_path / "pid", Path("/another/x.toml")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "12"])
def test_a_damaged_pid_file_names_nobody(tmp_path: Path, config: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)

    assert processes.from_pid_file(tmp_path / "pid", config) is None


def test_a_process_without_a_pid_file_is_found_by_its_argument(config: Path, sleeper: subprocess.Popen[bytes]) -> None:
    assert [process.pid for process in processes.with_config(config)] == [sleeper.pid]


def test_a_longer_name_is_another_file(config: Path, sleeper: subprocess.Popen[bytes]) -> None:
    assert processes.with_config(config.with_suffix(".tom")) == []


def test_an_editor_that_has_the_file_open_is_not_ours(tmp_path: Path, config: Path) -> None:
    editor = processes.start([sys.executable, "-c", "import time; time.sleep(60)", str(config)], tmp_path / "log")

    assert processes.with_config(config) == []
    editor.kill()
    editor.wait()


def test_a_zombie_does_not_run(tmp_path: Path, config: Path) -> None:
    process = processes.start([sys.executable, "-c", "pass", "--config", str(config)], tmp_path / "log")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    processes.write_pid_file(tmp_path / "pid", process.pid)

    assert not (tmp_path / "pid").exists()
    process.wait()


def test_what_ignores_the_request_to_end_is_killed(tmp_path: Path, config: Path) -> None:
    process = processes.start([sys.executable, "-c", IGNORES_TERM, "--config", str(config)], tmp_path / "log")
    while "ready" not in (tmp_path / "log").read_text():
        pass

    processes.stop(processes.with_config(config), 0.1)

    assert processes.with_config(config) == []
    process.wait()


def test_stopping_a_process_that_is_gone_is_fine() -> None:
    processes.stop([Process(2**22 - 1, 1)], 0.1)
