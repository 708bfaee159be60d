"""What a test may touch, and what it must leave as it was. A pytest plugin; ``tests/conftest.py`` loads it.

An unmarked test runs no command, opens no network connection and touches no loop device or mount: Python's audit events
tell, so that no name has to be patched. A test marked ``integration`` (or ``engine``) may, and leaves no loop device,
mount or child process behind. A skip needs a line in ``SKIPS``, or the run fails in CI. There, with nobody else on the
machine, the whole run is also held to leave every loop device, mount and plugin socket as it was; of several runs beside each
other each looks at its own mounts, and ``tests.groups``, which starts them, at the rest.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

# Tests that may be skipped, with the reason. Empty: on a Debian 12 machine everything runs.
SKIPS: Mapping[str, str] = {}

# Set for a pytest that is not alone on the machine, in a mount namespace of its own: what it leaves elsewhere cannot be told
# from what the others have.
BESIDE = "VMDKVOL_TESTS_BESIDE"

_COMMANDS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"})
_MOUNT_CALLS = frozenset({"mount", "umount", "umount2", "fsmount", "move_mount", "unshare", "setns"})
_EVENTS = _COMMANDS | {"socket.connect", "socket.sendto", "open", "fcntl.ioctl", "ctypes.dlsym"}
# linux/loop.h: LOOP_SET_FD to LOOP_CONFIGURE, and LOOP_CTL_ADD to LOOP_CTL_GET_FREE.
_LOOP_IOCTLS = range(0x4C00, 0x4C83)
# A loop device is released a moment after its last user is gone, a child is reaped a moment after its end: on a busy machine,
# seconds.
_SETTLE_S = 10.0


class Breach(AssertionError):
    """A test without a mark did what only a marked one may do."""


def forbidden(event: str, args: tuple[Any, ...]) -> str | None:
    """Return what an audit event means if an unmarked test must not do it, else None."""
    if event in _COMMANDS:
        return f"ran a command: {event} {args[0] if args else ''!s:.80}"
    if event in ("socket.connect", "socket.sendto") and args[0].family in (socket.AF_INET, socket.AF_INET6, socket.AF_VSOCK):
        return f"opened a network connection to {args[1]}"
    if event == "open" and str(args[0]).startswith("/dev/loop"):
        return f"opened {args[0]}"
    if event == "fcntl.ioctl" and args[1] in _LOOP_IOCTLS:
        return "changed a loop device"
    if event == "ctypes.dlsym" and args[1] in _MOUNT_CALLS:
        return f"called {args[1]}(2)"
    return None


class Guard:
    """The audit hook: Python cannot remove one again, so it is armed and disarmed instead."""

    def __init__(self) -> None:
        self.armed = False
        self.breaches: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed or event not in _EVENTS:
            return
        breach = forbidden(event, args)
        if breach is not None:
            # Kept as well as raised: the code under test may well have a handler for every error.
            self.breaches.append(breach)
            raise Breach(breach)


_GUARD = pytest.StashKey[Guard]()
_MACHINE = pytest.StashKey[frozenset[str]]()
_LEFT = pytest.StashKey[frozenset[str]]()


def pytest_configure(config: pytest.Config) -> None:
    guard = Guard()
    config.stash[_GUARD] = guard
    sys.addaudithook(guard)


@pytest.fixture(autouse=True)
def _within_bounds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail an unmarked test that reaches outside, and a marked one that leaves something behind."""
    if request.node.get_closest_marker("integration") or request.node.get_closest_marker("engine"):
        base = str(tmp_path_factory.getbasetemp())
        # The guests of a file outlive a test, also those that it starts; tests/system/conftest.py looks when all have ended.
        look = partial(leftovers, base, children=not request.node.get_closest_marker("system"))
        before = look()
        yield
        left = settled(look, before)
        if left:
            pytest.fail(f"the test left behind: {', '.join(sorted(left))}", pytrace=False)
        return
    guard = request.config.stash[_GUARD]
    guard.breaches.clear()
    guard.armed = True
    yield
    guard.armed = False
    if guard.breaches:
        pytest.fail(f"without the integration mark the test {'; '.join(guard.breaches)}", pytrace=False)


def leftovers(base: str, *, children: bool = True) -> frozenset[str]:
    """Return the mounts and loop devices under ``base``, and the child processes if they are asked for, that there are now."""
    return frozenset({*_mounts(base), *_loops(base), *(_children(os.getpid()) if children else ())})


def settled(look: Callable[[], frozenset[str]], before: frozenset[str]) -> frozenset[str]:
    """Return what there is beyond ``before`` and does not go away within seconds."""
    until = time.monotonic() + _SETTLE_S
    while (left := look() - before) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def machine() -> frozenset[str]:
    """Return every mount, loop device and plugin socket of this machine, whoever made it; with ``BESIDE`` the mounts."""
    if os.environ.get(BESIDE):
        return frozenset(_mounts(""))
    sockets = (f"socket {path}" for path in Path("/run/docker/plugins").glob("*"))
    return frozenset({*_mounts(""), *_loops(""), *sockets})


def _mounts(base: str) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        target = line.split(" ")[4]
        if target == base or target.startswith(base + "/"):
            yield f"mount {target}"


def _loops(base: str) -> Iterator[str]:
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = entry.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            # It was detached between the listing and the reading.
            continue
        if backing.startswith(base + "/"):
            yield f"{entry.parts[3]} on {backing}"


def _children(parent: int) -> Iterator[str]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:
            continue
        for pid in pids:
            yield f"process {pid} ({_command(pid)})"


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:80]
    except OSError:
        return "gone"


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_MACHINE] = machine()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not os.environ.get("CI"):
        return
    session.config.stash[_LEFT] = settled(machine, session.config.stash[_MACHINE])
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    unlisted = reporter is not None and bool(_unlisted(reporter))
    if (session.config.stash[_LEFT] or unlisted) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for title, names in (
        ("skipped without a line in tests/guards.py SKIPS", _unlisted(terminalreporter)),
        ("left on the machine by the whole run", sorted(config.stash.get(_LEFT, ()))),
    ):
        if names:
            terminalreporter.section(title)
        for name in names:
            terminalreporter.line(name)


def _unlisted(reporter: Any) -> list[str]:
    reports = [*reporter.stats.get("skipped", ()), *reporter.stats.get("xfailed", ())]
    return sorted({report.nodeid for report in reports} - SKIPS.keys())
