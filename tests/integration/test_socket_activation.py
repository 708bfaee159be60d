"""The agent on a socket that systemd holds (corrections 36): it binds nothing, unlinks nothing, and answers at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.engine.machine import Machine, wait_until
from tests.integration.test_capabilities import SOCKET, ask

pytestmark = pytest.mark.integration


@pytest.fixture
def machine() -> Iterator[Machine]:
    with TemporaryDirectory(prefix="vmdkvol-sd-") as root, Machine(Path(root)) as machine:
        yield machine


def activated(machine: Machine) -> int:
    """Listen as systemd does; the agent is started by the first connection. Return its process id."""
    config = machine.root / "agent.toml"
    config.write_text(f'state_dir = "{machine.root}/state"\n', encoding="utf-8")
    machine.run("mkdir", "-p", str(Path(SOCKET).parent))
    agent = str(Path(sys.executable).with_name("vmdkvol-agent"))
    command = ["systemd-socket-activate", "-l", SOCKET, agent, "--config", str(config), "serve"]
    pid = machine.spawn(command, machine.root / "log")
    wait_until(lambda: machine.listens(SOCKET), "systemd-socket-activate listens")
    return pid


def inode(machine: Machine) -> int:
    return machine.path(SOCKET).lstat().st_ino


def test_the_first_call_starts_the_agent_and_is_answered(machine: Machine) -> None:
    activated(machine)

    assert ask(machine, "Capabilities") == {"Capabilities": {"Scope": "global"}}


def test_the_socket_is_systemds_before_and_after(machine: Machine) -> None:
    pid = activated(machine)
    before = inode(machine)
    ask(machine, "Capabilities")
    assert inode(machine) == before

    machine.run("kill", str(pid))
    wait_until(lambda: not machine.path(f"/proc/{pid}").exists(), "the agent ends", timeout_s=40)

    assert inode(machine) == before
