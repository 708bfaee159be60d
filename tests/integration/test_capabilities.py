"""The units leave agent and service a few capabilities (corrections 43): they are enough, and none is there for nothing.

The whole sandbox runs under the bounding set, in a namespace of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.integration.engine.machine import Machine, wait_until
from tests.test_units import values

pytestmark = pytest.mark.integration


def kept(unit: str) -> list[str]:
    return [capability.removeprefix("CAP_").lower() for capability in values(unit, "CapabilityBoundingSet")]


KEPT = kept("vmdkvol-agent.service")
# What needs the fifth one, SYS_RESOURCE, is a mounted ext4 that grows: tests/system/test_guest_side.py.
NEEDED = ("sys_admin", "chown", "fowner", "dac_override")
SOCKET = "/run/docker/plugins/vsphere.sock"
ASK = """
import http.client, json, socket, sys
connection = http.client.HTTPConnection("plugin")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("POST", "/VolumeDriver." + sys.argv[2], sys.argv[3])
print(connection.getresponse().read().decode())
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Short: the paths of sockets below it have at most 107 bytes.
    with TemporaryDirectory(prefix="vmdkvol-caps-") as root, Machine(Path(root)) as machine:
        yield machine
        machine.run(program("vmdkvol"), "sandbox", "down", "--purge", "--dir", f"{root}/sandbox")


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def bounded(capabilities: list[str]) -> list[str]:
    bounds = "-all," + ",".join(f"+{capability}" for capability in capabilities)
    return ["setpriv", "--bounding-set", bounds, "--inh-caps=-all", "--no-new-privs"]


def start(machine: Machine, capabilities: list[str]) -> None:
    machine.run(*bounded(capabilities), program("vmdkvol"), "sandbox", "up", "--dir", f"{machine.root}/sandbox")


def restart_service(machine: Machine, capabilities: list[str]) -> None:
    status = machine.run(program("vmdkvol"), "sandbox", "status", "--dir", f"{machine.root}/sandbox", "-o", "json")
    (pid,) = (row["pid"] for row in json.loads(status.stdout)["processes"] if row["role"] == "service")
    machine.run("kill", str(pid))
    wait_until(lambda: not machine.path(f"/proc/{pid}").exists(), "the service ends")
    serve = [program("vmdkvol-esxd"), "--config", f"{machine.root}/sandbox/etc/service.toml", "serve"]
    machine.spawn([*bounded(capabilities), *serve], machine.root / "service.log")
    wait_until(lambda: machine.listens(machine.root / "sandbox/run/vsphere.sock"), "the service listens")


def ask(machine: Machine, call: str, **body: Any) -> dict[str, Any]:
    done = machine.run(sys.executable, "-c", ASK, SOCKET, call, json.dumps(body))
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def first_mount(machine: Machine) -> dict[str, Any]:
    """Create a volume that is another user's alone, and mount it: what needs the most rights."""
    made = ask(machine, "Create", Name="db", Opts={"size": "10mb", "uid": "999", "gid": "999", "mode": "0700"})
    assert made["Err"] == ""
    return ask(machine, "Mount", Name="db", ID="first")


def test_the_units_capabilities_are_enough_from_create_to_remove(machine: Machine) -> None:
    start(machine, KEPT)

    answers = [first_mount(machine), ask(machine, "Unmount", Name="db", ID="first")]
    answers += [ask(machine, "Mount", Name="db", ID="second"), ask(machine, "Unmount", Name="db", ID="second")]
    answers += [ask(machine, "Remove", Name="db")]

    assert [answer["Err"] for answer in answers] == [""] * 5


def test_the_services_own_capabilities_are_enough_for_it(machine: Machine) -> None:
    start(machine, KEPT)
    restart_service(machine, kept("vmdkvol-esxd.service"))

    answers = [first_mount(machine), ask(machine, "Unmount", Name="db", ID="first"), ask(machine, "Remove", Name="db")]

    assert [answer["Err"] for answer in answers] == [""] * 3


@pytest.mark.parametrize("missing", NEEDED)
def test_without_one_of_them_the_first_mount_is_refused_and_leaves_nothing(machine: Machine, missing: str) -> None:
    start(machine, [capability for capability in KEPT if capability != missing])

    assert first_mount(machine)["Err"].endswith("]")
    assert ask(machine, "Remove", Name="db")["Err"] == ""


MAKE_NODE = "import sys; from vmdkvol_guest.linux.block import make_node; make_node(sys.argv[1], (7, 0))"


def test_a_disk_s_node_can_be_made_where_nothing_else_makes_it(machine: Machine) -> None:
    node = machine.root / "node"
    make = [sys.executable, "-c", MAKE_NODE, str(node)]

    refused = machine.run(*bounded([capability for capability in KEPT if capability != "mknod"]), *make, check=False)
    machine.run(*bounded(KEPT), *make)

    assert "PermissionError" in refused.stderr
    assert node.is_block_device()
