"""A site that works: the real service on this computer, Docker hosts as guests, each with an engine and the real agent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

from tests.daemons.site import listens
from tests.daemons.web_process import WebProcess
from tests.system import ready
from tests.system.agents import Agent, code_disk
from tests.system.docker import Docker, wait_until
from tests.system.guest import Guest
from tests.system.machine import Machine
from tests.system.relay import Relay, unix
from tests.system.site import Site
from vmdkvol.settings import dump_toml

ROOT = Path(__file__).parents[2]
PYTHONPATH = ":".join(map(str, (ROOT, ROOT / "guest-agent", ROOT / "esx-service")))
DATASTORE = "ds1"
LINGER_S = 2.0
_START_S = 60.0
PORT = 1019
# Where the agent keeps who it is: its key, its certificate and the authority's.
_STATE = "/var/lib/vmdkvol/vsphere"
# How a host's agent speaks to the service.
Channel = Literal["vsock", "tcp"]


class Service:
    """The service's process, with its settings and its log in the site's folder."""

    def __init__(self, site: Site, delays: Mapping[str, float]) -> None:
        self.site = site
        self._delays = delays
        self.folder = site.root / "service"
        self.datastore = site.root / DATASTORE
        self._process: subprocess.Popen[bytes] | None = None
        for folder in (self.folder, self.datastore):
            folder.mkdir(mode=0o700)
        self.admin = self.folder / "admin.sock"
        # Nobody's at this moment; the relays know it.
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        settings = {
            "state_dir": str(self.folder / "state"),
            "housekeeping_s": 5.0,
            "trash_retention_s": 0.0,
            "datastores": [{"name": DATASTORE, "path": str(self.datastore)}],
            "listen": [f"tcp://127.0.0.1:{self.port}", f"vsock://any:{PORT}"],
            "admin_socket": str(self.admin),
        }
        (self.folder / "service.toml").write_text(dump_toml(settings))
        (self.folder / "service.toml").chmod(0o600)
        self._web = WebProcess(self.folder / "service.toml")

    def start(self) -> Service:
        command = [sys.executable, "-m", "tests.system.service", str(self.folder / "service.toml")]
        command += [str(self.site.machines_folder), self.site.vsock_base, json.dumps(self._delays)]
        self.admin.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._serves, f"the service serves:\n{self.log()[-3000:]}", _START_S, 0.05)
        return self

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended:\n{self.log()[-3000:]}"
        return listens(self.admin)

    def vm(self, *words: str) -> str:
        """Run a ``vmdkvol vm`` command of the administrator's, which must work; return what it printed."""
        command = [sys.executable, "-m", "vmdkvol.cli.main", "vm", *words, "--api", self._web.address]
        environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_START_S, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.log()[-3000:]}"
        return done.stdout

    def standing(self) -> dict[str, dict[str, Any]]:
        """Return what the administrator sees of each machine."""
        return {row["name"]: row for row in json.loads(self.vm("ls", "-o", "json"))}

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self._web.stop()
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(120)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def files(self) -> list[str]:
        """Return the disks on the datastore."""
        return sorted(path.name for path in self.datastore.rglob("*.vmdk") if not path.name.endswith("-flat.vmdk"))


class Host:
    """A Docker host of the site: its machine, the guest that runs there, the agent and the engine in it."""

    def __init__(self, service: Service, machine: Machine, image: Path, code: Path, wire: Relay, vsock: Path | None) -> None:
        """``vsock`` is its device; without one the agent calls by tcp. ``wire`` is between that and the service."""
        self.machine = machine
        self.guest = Guest(machine, image, ready.hardware(machine))
        self.docker = Docker(self.guest)
        address = f"tcp://10.0.2.2:{wire.port}" if vsock is None else f"vsock://2:{PORT}"
        self.agent = Agent(self.guest, code, {"service": address, "linger_s": LINGER_S})
        self.wire = wire
        self._service = service
        self._vsock = vsock
        # What its disk would keep if its root file system were not thrown away with each boot.
        self.identity = ""
        self._image = image

    @property
    def name(self) -> str:
        return self.machine.name

    def on(self) -> Host:
        """Switch it on: a new boot, with an engine that never saw a volume. Return when the engine can use volumes."""
        ready.go_on(self.guest, self._image)
        return self.up()

    def up(self) -> Host:
        """Start the agent in a guest that runs, and enrol it if it never was; return when it is connected."""
        if self._vsock is not None:
            self.guest.give_vsock(self._vsock)
        self.agent.put_in()
        if self.identity:
            self.put_identity(self.identity)
        self.agent.start()
        if not self.identity:
            self.enrol()
        self.wait_connected()
        return self

    def set_clock(self) -> None:
        """Put the clock right, as a time server would: a freeze, and the reset of a copy, put it wrong by a minute."""
        self.guest.sh(f"date -s @{time.time():.3f} >/dev/null")

    def wait_connected(self) -> None:
        """Return when the agent that was started last has been greeted by the service."""
        try:
            wait_until(self.agent.greeted, f"{self.name} is connected", 120)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.agent.log()}\n{self._service.log()[-3000:]}") from None

    def enrol(self) -> None:
        """As an administrator does, while the agent runs."""
        self.agent.command("enroll", self._service.vm("enroll", self.name).strip())
        self.identity = self.guest.sh(f"tar -C {_STATE} -c identity | base64 -w 0")

    def put_identity(self, identity: str) -> None:
        """Let the guest have this key and certificate; its agent must not run."""
        self.guest.sh(f"mkdir -p -m 700 {_STATE} && base64 -d | tar -C {_STATE} -x", given=identity)

    def connected(self) -> bool:
        return bool(self._service.standing()[self.name]["connected"])

    def restart_agent(self, **settings: object) -> None:
        """Stop the agent and start it with these settings beside its usual ones."""
        self.agent.kill9()
        self.agent.set(**settings)
        self.agent.start()
        self.wait_connected()

    def fresh(self) -> Host:
        """Return it switched on with an engine that has no container: the guest of the test before, or a new one."""
        return self if self.guest.is_on else self.on()

    def tidy(self) -> None:
        """Afterwards it has no container and no disk; a guest in which that cannot be had is switched off, its disks stay."""
        if not self.guest.is_on:
            return
        try:
            self.guest.sh("docker ps -aq | xargs -r docker rm -f", 120)
            wait_until(lambda: not self.disks(), f"{self.name} gave its disks back", 60)
        except AssertionError:
            self.guest.close()

    def disks(self) -> list[str]:
        """Return the identities of the disks that the hypervisor says it has."""
        return [disk.uuid.hex for disk in self.machine.disks()]

    def attached(self, volume: str) -> str | None:
        """Return by whom a volume is held, as this host's engine is told."""
        (found,) = json.loads(self.docker.said("volume", "inspect", volume))
        holder: str | None = found["Status"].get("attached to VM")
        return holder


class World:
    def __init__(self, site: Site, service: Service, hosts: list[Host]) -> None:
        self.site = site
        self.service = service
        self.hosts = hosts

    def wait_idle(self) -> None:
        """Return when no machine has a disk: each was given back (I3)."""
        wait_until(lambda: not any(host.disks() for host in self.hosts), "every disk was given back", 180)


@contextmanager
def world(
    site: Site,
    image: Path,
    *names: str,
    channels: Sequence[Channel] = ("vsock", "tcp"),
    delays: Mapping[str, float] | None = None,
) -> Iterator[World]:
    """A site with hosts of these names, switched off, and a service that serves. The channels are given out in turn.

    ``delays`` are seconds that the hypervisor takes longer, by the kind of change.
    """
    service = Service(site, delays or {})
    code = code_disk(site.root / "code.ext4")
    with ExitStack() as ends:
        ends.callback(service.stop)
        hosts = []
        for name, channel in zip(names, cycle(channels), strict=False):
            machine = site.machine(name)
            wire = _wire(site, service, machine, channel)
            ends.callback(wire.close)
            vsock = ends.enter_context(site.vsock(machine, _base(site, machine))) if channel == "vsock" else None
            hosts.append(Host(service, machine, image, code, wire, vsock))
            ends.callback(hosts[-1].guest.close)
        service.start()
        yield World(site, service, hosts)


def _base(site: Site, machine: Machine) -> str:
    return str(site.root / f"wire-{machine.name}")


def _wire(site: Site, service: Service, machine: Machine, channel: Channel) -> Relay:
    """Return what the machine's calls go through on their way to the service."""
    if channel == "tcp":
        return Relay(socket.create_server(("127.0.0.1", 0)), lambda: socket.create_connection(("127.0.0.1", service.port)))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{_base(site, machine)}_{PORT}")
    listener.listen()
    return Relay(listener, lambda: unix(Path(f"{site.vsock_base}_{PORT}")))
