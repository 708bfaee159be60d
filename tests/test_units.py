"""The systemd units: accepted by systemd itself, and free of what would hide the agent's mounts from the engine."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from vmdkvol.addresses import DEFAULT_PORT
from vmdkvol_esx.cli import cli as service
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_guest.cli import cli as agent
from vmdkvol_guest.daemon import GRACEFUL_S
from vmdkvol_guest.settings import AgentSettings

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "packaging" / "systemd"
FILES = sorted(path.name for path in UNITS.iterdir())
PROGRAMS = ("vmdkvol-agent", "vmdkvol-esxd", "docker")


def options(unit: str) -> Iterator[tuple[str, str, str]]:
    """Yield (section, key, value) of a unit without continued lines, in which a key may come twice."""
    section = ""
    for line in (UNITS / unit).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield section, key, value


def values(unit: str, key: str) -> list[str]:
    return [word for _, name, value in options(unit) if name == key for word in value.split()]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root directory with the distribution's units, ours, and programs that do nothing."""
    shutil.copytree("/lib/systemd/system", tmp_path / "lib/systemd/system", symlinks=True)
    shutil.copytree(UNITS, tmp_path / "etc/systemd/system")
    programs = tmp_path / "usr/bin"
    programs.mkdir(parents=True)
    for program in PROGRAMS:
        (programs / program).write_text("#!/bin/sh\n")
        (programs / program).chmod(0o755)
    return tmp_path


def verify(machine: Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", f"--root={machine}", "--man=no", "--recursive-errors=no", *FILES]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.integration
def test_systemd_accepts_every_unit_without_a_word(machine: Path) -> None:
    done = verify(machine)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        pytest.param("KillMode=mixed", "KillMode=mixt", "kill mode", id="a-wrong-value"),
        pytest.param("Restart=always", "Restrat=always", "Unknown key", id="a-wrong-key"),
        pytest.param("/usr/bin/vmdkvol-agent", "/usr/bin/vmdkvol-agnet", "not executable", id="a-wrong-program"),
    ],
)
def test_the_check_finds_a_mistake(machine: Path, good: str, bad: str, says: str) -> None:
    unit = machine / "etc/systemd/system/vmdkvol-agent.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace(good, bad), encoding="utf-8")

    assert says in verify(machine).stderr


@pytest.mark.integration
@pytest.mark.parametrize("part", ["network.conf", "credential.conf"])
def test_systemd_accepts_the_service_with_each_part_for_vsphere(machine: Path, part: str) -> None:
    folder = machine / "etc/systemd/system/vmdkvol-esxd.service.d"
    folder.mkdir()
    shutil.copy(ROOT / "packaging" / "vsphere" / part, folder)

    done = verify(machine)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_credential_is_called_as_in_the_example_of_the_settings() -> None:
    part = (ROOT / "packaging/vsphere/credential.conf").read_text(encoding="utf-8")
    example = (ROOT / "packaging/service.toml").read_text(encoding="utf-8")

    assert "LoadCredential=vmdkvol-password:" in part
    assert 'credential = "vmdkvol-password"' in example


# Each of these gives a unit a mount namespace of its own, whose mounts Docker never sees.
NAMESPACED = (
    "Protect",
    "Private",
    "ReadOnly",
    "ReadWrite",
    "Inaccessible",
    "NoExecPaths",
    "ExecPaths",
    "Bind",
    "TemporaryFileSystem",
    "MountFlags",
    "MountAPIVFS",
    "MountImages",
    "ExtensionImages",
    "RootDirectory",
    "RootImage",
    "DynamicUser",
    "LoadCredential",
    "SetCredential",
    "NetworkNamespacePath",
    "ProcSubset",
    # Emptied when the unit stops: the mounts are under /run/vmdkvol.
    "RuntimeDirectory",
)


@pytest.mark.parametrize("unit", ["vmdkvol-agent.service", "vmdkvol-esxd.service", "vmdkvol-web.service"])
def test_no_option_gives_a_unit_a_mount_namespace(unit: str) -> None:
    assert [key for _, key, _ in options(unit) if key.startswith(NAMESPACED)] == []


@pytest.mark.parametrize("unit", ["vmdkvol-agent.socket", "vmdkvol-agent.service", "vmdkvol-esxd.service"])
def test_nothing_waits_for_the_engine_and_the_engine_comes_after(unit: str) -> None:
    waits = {word for key in ("After", "Requires", "Wants", "BindsTo", "Requisite", "PartOf") for word in values(unit, key)}

    assert waits & {"docker.service", "docker.socket", "containerd.service"} == set()
    assert "docker.service" in values(unit, "Before")


def test_the_socket_is_there_before_anything_that_needs_it() -> None:
    assert values("vmdkvol-agent.socket", "WantedBy") == ["sockets.target"]
    assert values("vmdkvol-agent.socket", "Accept") == ["no"]


def test_only_root_can_write_to_the_socket() -> None:
    assert values("vmdkvol-agent.socket", "SocketMode") == ["0600"]
    assert values("vmdkvol-agent.socket", "SocketUser") == ["root"]


@pytest.mark.parametrize("unit", ["vmdkvol-agent.service", "vmdkvol-esxd.service", "vmdkvol-web.service"])
def test_no_old_worker_lives_on_beside_a_new_master(unit: str) -> None:
    assert values(unit, "KillMode") == ["mixed"]
    assert values(unit, "Restart") == ["always"]


def test_a_running_mount_may_end_before_the_agent_is_killed() -> None:
    assert int(values("vmdkvol-agent.service", "TimeoutStopSec")[0]) > GRACEFUL_S


@pytest.mark.parametrize(
    ("unit", "command"), [("vmdkvol-agent.service", agent), ("vmdkvol-esxd.service", service)], ids=["agent", "service"]
)
def test_a_unit_reads_the_settings_where_the_command_looks_by_itself(unit: str, command: click.Group) -> None:
    (config,) = (each for each in command.params if each.name == "config")

    assert values(unit, "ExecStart")[1:] == ["--config", str(config.default), "serve"]


def test_the_socket_is_where_the_agent_is_asked_for() -> None:
    assert values("vmdkvol-agent.socket", "ListenStream") == [AgentSettings().socket]


def test_the_service_may_drain_before_it_is_killed() -> None:
    (drain,) = (each for each in fields(ServiceSettings) if each.name == "drain_s")

    assert float(values("vmdkvol-esxd.service", "TimeoutStopSec")[0]) > float(str(drain.default))


def test_there_is_no_watchdog_that_nobody_answers() -> None:
    assert values("vmdkvol-agent.service", "WatchdogSec") == []


def test_the_agent_keeps_exactly_the_capabilities_that_it_needs() -> None:
    assert values("vmdkvol-agent.service", "CapabilityBoundingSet") == [
        "CAP_SYS_ADMIN",
        "CAP_CHOWN",
        "CAP_FOWNER",
        "CAP_DAC_OVERRIDE",
        "CAP_SYS_RESOURCE",
        "CAP_MKNOD",
    ]


@pytest.mark.parametrize("text", [ROOT / "packaging/systemd/vmdkvol-esxd.service", ROOT / "packaging/vsphere/network.conf"])
def test_the_service_may_take_its_port_which_is_below_1024(text: Path) -> None:
    assert DEFAULT_PORT < 1024
    assert any(
        line.startswith("CapabilityBoundingSet=") and "CAP_NET_BIND_SERVICE" in line.split("=")[1].split()
        for line in text.read_text(encoding="utf-8").splitlines()
    )


def test_the_agent_may_call_the_service_by_each_kind_of_address() -> None:
    families = values("vmdkvol-agent.service", "RestrictAddressFamilies")

    assert families == ["AF_UNIX", "AF_NETLINK", "AF_VSOCK", "AF_INET", "AF_INET6"]
    assert values("vmdkvol-agent.service", "IPAddressDeny") == []


def test_swarm_learns_of_the_driver_outside_the_agents_unit() -> None:
    assert "docker.service" in values("vmdkvol-swarm.service", "After")
    assert values("vmdkvol-swarm.service", "Type") == ["oneshot"]
    assert "docker.service" not in values("vmdkvol-swarm.service", "Requires")


@pytest.mark.parametrize("unit", ["vmdkvol-agent.service", "vmdkvol-esxd.service", "vmdkvol-web.service"])
def test_a_daemon_that_cannot_start_is_started_again_without_end(unit: str) -> None:
    """systemd gives up after five starts in ten seconds otherwise, and a disk stays full for longer than that."""
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "StartLimitIntervalSec") == ["0"]


def test_who_follows_the_install_page_has_each_file_that_a_unit_names() -> None:
    page = (ROOT / "docs/how-to/install-vcenter.md").read_text(encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("# ") and "/etc/vmdkvol/" in line]
    needed = [word for unit in FILES for word in values(unit, "ExecStart") if word.startswith("/etc/")]

    assert sorted(set(needed)) == ["/etc/vmdkvol/agent.toml", "/etc/vmdkvol/service.toml"]
    assert all(any(line.endswith(f" {file}") for line in commands) for file in needed)


def test_the_agent_of_the_install_page_asks_where_the_example_s_service_listens() -> None:
    page = (ROOT / "docs/how-to/install-vcenter.md").read_text(encoding="utf-8")
    [written] = [line.split("'")[1] for line in page.splitlines() if line.endswith("> /etc/vmdkvol/agent.toml")]
    example = tomllib.loads((ROOT / "packaging/service.toml").read_text(encoding="utf-8"))

    assert tomllib.loads(written) == {"service": f"unix://{example['hosts'][0]['socket']}"}


def test_the_api_has_one_power_of_root_and_no_way_to_a_device() -> None:
    assert values("vmdkvol-web.service", "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]
    assert "AF_VSOCK" not in values("vmdkvol-web.service", "RestrictAddressFamilies")
