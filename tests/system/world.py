"""A site that works: the real service on this computer, Docker hosts as guests, each with an engine and the real agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.system import ready
from tests.system.agents import Agent, code_disk
from tests.system.docker import Docker, wait_until
from tests.system.guest import Guest
from tests.system.machine import Machine
from tests.system.relay import Relay
from tests.system.site import Site
from tests.system.told import bring
from vmdkvol.settings import dump_toml

ROOT = Path(__file__).parents[2]
PYTHONPATH = ":".join(map(str, (ROOT, ROOT / "guest-agent", ROOT / "esx-service")))
DATASTORE = "ds1"
LINGER_S = 2.0
_START_S = 60.0
# Where the agent finds the service in a guest.
_SERVICE = "/run/vmdkvol/service.sock"


class Service:
    """The service's process, with its settings and its log in the site's folder."""

    def __init__(self, site: Site, machines: list[Machine]) -> None:
        self.folder = site.root / "service"
        self.datastore = site.root / DATASTORE
        self._machines = site.machines_folder
        self._process: subprocess.Popen[bytes] | None = None
        for folder in (self.folder, self.datastore):
            folder.mkdir(mode=0o700)
        hosts = [{"name": each.name, "id": str(each.id), "socket": str(self.socket(each))} for each in machines]
        settings = {
            "state_dir": str(self.folder / "state"),
            "housekeeping_s": 5.0,
            "datastores": [{"name": DATASTORE, "path": str(self.datastore)}],
            "hosts": hosts,
        }
        (self.folder / "service.toml").write_text(dump_toml(settings))
        (self.folder / "service.toml").chmod(0o600)
        self._sockets = [self.socket(each) for each in machines]

    def socket(self, machine: Machine) -> Path:
        return self.folder / f"{machine.name}.sock"

    def start(self) -> Service:
        command = [sys.executable, "-m", "tests.system.service", str(self.folder / "service.toml"), str(self._machines)]
        for path in self._sockets:
            path.unlink(missing_ok=True)
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
        return all(path.is_socket() for path in self._sockets)

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
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

    def __init__(self, machine: Machine, image: Path, code: Path, relay: Relay) -> None:
        self.machine = machine
        self.guest = Guest(machine, image, ready.hardware(machine))
        self.docker = Docker(self.guest)
        self.agent = Agent(self.guest, code, {"service": f"unix://{_SERVICE}", "linger_s": LINGER_S})
        self.wire = relay
        self._image = image

    @property
    def name(self) -> str:
        return self.machine.name

    def on(self) -> Host:
        """Switch it on: a new boot, with an engine that never saw a volume. Return when the engine can use volumes."""
        ready.go_on(self.guest, self._image)
        return self.up()

    def up(self) -> Host:
        """Start relay and agent in a guest that runs."""
        program = f"python3 {bring(self.guest, 'relay.py')} {_SERVICE} {self.wire.port}"
        self.guest.sh(f"mkdir -p /run/vmdkvol; setsid {program} >/dev/null 2>&1 </dev/null &")
        self.agent.put_in()
        self.agent.start()
        return self

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
def world(site: Site, image: Path, *names: str) -> Iterator[World]:
    """A site with hosts of these names, switched off, and a service that serves."""
    machines = [site.machine(name) for name in names]
    service = Service(site, machines)
    code = code_disk(site.root / "code.ext4")
    with ExitStack() as ends:
        ends.callback(service.stop)
        service.start()
        hosts = []
        for machine in machines:
            relay = Relay(service.socket(machine))
            ends.callback(relay.close)
            hosts.append(Host(machine, image, code, relay))
            ends.callback(hosts[-1].guest.close)
        yield World(site, service, hosts)
