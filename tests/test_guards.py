"""The guard itself: what an unmarked test must not do, and what a marked one must not leave."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.guards import forbidden, leftovers


class Socket:
    def __init__(self, family: int) -> None:
        self.family = family


@pytest.mark.parametrize(
    ("event", "args"),
    [
        pytest.param("subprocess.Popen", ("mount", ["mount"], None, None), id="a-command"),
        pytest.param("os.system", ("true",), id="a-shell"),
        pytest.param("os.fork", (), id="a-fork"),
        pytest.param("socket.connect", (Socket(socket.AF_INET), ("192.0.2.1", 80)), id="tcp"),
        pytest.param("socket.connect", (Socket(socket.AF_INET6), ("::1", 80)), id="tcp-on-v6"),
        pytest.param("open", ("/dev/loop-control", "r", 0), id="loop-control"),
        pytest.param("open", ("/dev/loop100000", "r", 0), id="a-loop-device"),
        pytest.param("fcntl.ioctl", (3, 0x4C0A, b""), id="loop-configure"),
        pytest.param("ctypes.dlsym", (None, "umount2"), id="umount"),
    ],
)
def test_an_unmarked_test_must_not_reach_outside(event: str, args: tuple[Any, ...]) -> None:
    assert forbidden(event, args) is not None


@pytest.mark.parametrize(
    ("event", "args"),
    [
        pytest.param("socket.connect", (Socket(socket.AF_UNIX), "/tmp/x"), id="a-unix-socket-is-no-network"),
        pytest.param("open", ("/tmp/x", "r", 0), id="a-file"),
        pytest.param("fcntl.ioctl", (3, 0x5401, b""), id="another-ioctl"),
        pytest.param("ctypes.dlsym", (None, "getpid"), id="another-call"),
        pytest.param("import", ("subprocess",), id="an-import"),
    ],
)
def test_an_unmarked_test_may_use_files_and_unix_sockets(event: str, args: tuple[Any, ...]) -> None:
    assert forbidden(event, args) is None


BAD = """
import contextlib, subprocess, pytest

def test_that_hides_its_command():
    with contextlib.suppress(BaseException):
        subprocess.run(["true"])

@pytest.mark.integration
def test_that_may():
    subprocess.run(["true"], check=True)

@pytest.mark.integration
def test_that_leaves_a_process():
    subprocess.Popen(["sleep", "30"])

@pytest.mark.integration
def test_that_mounts(tmp_path_factory):
    subprocess.run(["mount", "-t", "tmpfs", "none", PLACE], check=True)

@pytest.mark.skip(reason="no reason that counts")
def test_skipped():
    pass
"""


def run_pytest(path: Path, *arguments: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
    place = path / "place"
    place.mkdir()
    (path / "test_bad.py").write_text(BAD.replace("PLACE", repr(str(place))))
    (path / "pytest.ini").write_text("[pytest]\nmarkers =\n  integration: x\n  engine: y\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.guards", "-p", "no:cacheprovider", *arguments, str(path)]
    root = Path(__file__).parents[1]
    return subprocess.run(
        command,
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", **({"CI": "1"} if ci else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.integration
def test_a_hidden_command_fails_its_test_and_the_marked_one_passes(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-k", "command or may")

    assert "2 passed, 3 deselected, 1 error" in done.stdout
    assert "without the integration mark the test ran a command" in done.stdout


@pytest.mark.integration
def test_a_process_left_behind_is_named(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-k", "leaves")

    assert "left behind: process" in done.stdout
    assert "sleep 30" in done.stdout


@pytest.mark.integration
def test_a_skip_that_is_not_listed_fails_the_run_in_ci(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-k", "skipped", ci=True)

    assert (done.returncode, "test_skipped" in done.stdout) == (1, True)


@pytest.mark.integration
def test_a_mount_left_anywhere_fails_the_run_in_ci(tmp_path: Path) -> None:
    try:
        done = run_pytest(tmp_path, "-k", "mounts", ci=True)
    finally:
        subprocess.run(["umount", str(tmp_path / "place")], check=True)

    assert (done.returncode, f"mount {tmp_path / 'place'}" in done.stdout) == (1, True)


def test_nothing_of_another_run_counts_as_left_behind(tmp_path: Path) -> None:
    assert not {left for left in leftovers(str(tmp_path)) if not left.startswith("process")}
