"""The main job on vSphere, shown on a simulated vCenter, or on a simulated ESXi host. Run by `make demo-vsphere [ARGS=esxi]`.

Real are the service, its pyVmomi and TLS, the agent's process and the Docker engine. Simulated are the server (govmomi's
library) and the hot-plug: the agent finds a disk of its VM's device list as a loop device over the extent on the simulator's
datastore. Everything is in namespaces of its own, as in tests/demo.py. Exit 0 only if each step gave what it must and
nothing is left behind.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.demo import PROGRAMS, Show, Unexpected, main, show_logs
from tests.integration.engine import loops
from tests.integration.engine.engine import Engine
from tests.integration.engine.machine import Machine, wait_until
from tests.vsphere.looped import give_back
from tests.vsphere.outside import View
from tests.vsphere.simulators import ROOT, Model, program, simulator
from tests.vsphere.written import private, write_settings
from vmdkvol.settings import dump_toml

DATASTORE = "LocalDS_0"
POLICY = "vSAN Default Storage Policy"
LINGER_S = 1.0
PLUGIN = "/run/docker/plugins/vsphere.sock"
# Of the processes in the namespaces, whose working directory is elsewhere.
PYTHONPATH = ":".join(map(str, (ROOT, ROOT / "guest-agent", ROOT / "esx-service")))


@dataclass(frozen=True, slots=True)
class Site:
    """Files of the demo: short, since the paths of sockets below ``root`` have at most 107 bytes."""

    root: Path
    view: View
    model: Model

    @property
    def policy(self) -> str | None:
        """A single host has no storage policies."""
        return POLICY if self.model == "vcenter" else None

    @property
    def world(self) -> Path:
        return self.root / "world.json"

    def write(self, vm: str, uuid: str) -> None:
        """Write the settings of both daemons, as an administrator does."""
        for folder in ("etc", "logs", "state", "agent"):
            (self.root / folder).mkdir(mode=0o700)
        host = {"name": vm, "id": uuid, "socket": str(self.root / "s.sock")}
        write_settings(self.view, self.root / "etc", self.root / "state", [DATASTORE, "LocalDS_1"], [host])
        agent = {
            "driver": "vsphere",
            "service": f"unix://{self.root}/s.sock",
            "run_dir": "/run/vmdkvol/vsphere",
            "state_dir": str(self.root / "agent"),
            "linger_s": LINGER_S,
        }
        private(self.root / "etc" / "agent.toml", dump_toml(agent))


def show_the_main_job(show: Show, site: Site, vm: str) -> None:
    """Create, inspect, write, look from outside, throw the container away, read, remove."""
    config = f"{site.root}/etc/service.toml"
    show.step("vmdkvol-esxd", "--config", config, "check-config", why="The service's settings.")
    made = ["docker", "volume", "create", "-d", "vsphere", "db", "-o", "size=1gb"]
    made += ["-o", f"policy={site.policy}"] if site.policy else []
    why = "A disk of 1 GiB on a datastore" + (", under a storage policy." if site.policy else ".")
    show.step("looking", vm, "enable-uuid", why="An administrator's part: the guest is to see its disks' identities.")
    # The simulator's certificate is for a day, and its only account may do everything: warnings, and right ones.
    all_there = "All that the service needs of vSphere is there."
    show.step("vmdkvol-esxd", "--config", config, "doctor", says=lambda text: "FAIL" not in text, why=all_there, code=1)
    show.step(*made, says=lambda text: text.strip() == "db", why=why)
    if not _files(site):
        raise Unexpected("there is nothing of it on the datastores")
    show.step("docker", "volume", "inspect", "db", says=lambda text: _is_as_asked(text, site.policy, attached_to=None))
    show.step("looking", vm, says=lambda text: "/db-" not in text, why=f"The disks of {vm}, by bare pyVmomi: not ours yet.")
    write = "echo kept on a VMDK > /data/note; df -h /data; sleep 1000"
    run = ("docker", "run", "-d", "--name", "first", "--network", "none", "--stop-signal", "KILL", "-v", "db:/data")
    show.step(*run, "busybox", "sh", "-c", write, why="A container writes. The disk is attached, and gets its file system.")
    show.step("docker", "volume", "inspect", "db", says=lambda text: _is_as_asked(text, site.policy, attached_to=vm))
    show.step("looking", vm, says=lambda text: text.count("/db-") == 1, why="From outside: it is in the VM's device list.")
    show.step("docker", "stop", "first", why="The container ends ...")
    show.step("docker", "rm", "first")
    show.until("looking", vm, says=lambda text: "/db-" not in text, why="... and its disk leaves the VM.")
    second = ("docker", "run", "--rm", "--network", "none", "-v", "db:/data", "busybox", "cat", "/data/note")
    show.step(*second, says=lambda text: text == "kept on a VMDK\n", why="A second container finds the data.")
    show.until("looking", vm, says=lambda text: "/db-" not in text)
    show.step("docker", "volume", "rm", "db", says=lambda text: text.strip() == "db")
    show.step("docker", "volume", "ls", says=lambda text: "db" not in text.split(), why="It is gone.")


def _is_as_asked(output: str, policy: str | None, *, attached_to: str | None) -> bool:
    (volume,) = json.loads(output)
    told = [volume["Driver"], *map(volume["Status"].get, ("datastore", "vsan-policy-name", "attached to VM"))]
    return told == ["vsphere", DATASTORE, policy, attached_to]


def _files(site: Site) -> list[str]:
    return [str(path) for path in site.root.glob("sim/govcsim-*/vmdkvol/**/*") if path.is_file()]


def _left(site: Site, machine: Machine) -> list[str]:
    """Return what of a removed volume is still in the datastores, in the kernel or in the namespace."""
    found = _files(site) + [f"{device} over {file}" for device, file in loops.under(site.root).items()]
    return found + [path for path in machine.mounts() if path.startswith("/run/vmdkvol/")]


def _start(machine: Machine, site: Site, name: str, module: str, socket: Path, *more: str) -> int:
    config = site.root / "etc" / f"{name}.toml"
    command = [sys.executable, "-m", module, "--config", str(config), *more]
    pid = machine.spawn(command, site.root / "logs" / f"{name}.log", {"PYTHONPATH": PYTHONPATH})
    wait_until(lambda: machine.listens(socket) or not machine.alive(pid), f"{name} listens", 60)
    if not machine.alive(pid):
        raise Unexpected(f"{name} ended")
    return pid


def _inside(model: Model, machine: Machine, root: Path) -> str:
    """Return what went wrong, or nothing."""
    kind = "vCenter" if model == "vcenter" else "ESXi host"
    print(f"# A simulated {kind} and a Docker engine, in namespaces of their own; Debian's busybox as the image.", flush=True)
    with simulator(model, root / "sim", "-strict", "-uuids", inside=machine.inside) as world:
        site = Site(root, View.of(world), model)
        private(site.world, json.dumps(asdict(site.view)))
        engine = Engine(machine)
        engine.start()
        engine.import_busybox()
        try:
            _show(machine, engine, site)
        except Unexpected as error:
            show_logs(root)
            return str(error)
        left = _left(site, machine)
    return f"left behind: {', '.join(left)}" if left else ""


def _show(machine: Machine, engine: Engine, site: Site) -> None:
    looking = [sys.executable, "-m", "tests.vsphere.looking", str(site.world)]
    programs = {**PROGRAMS, "looking": looking, "vmdkvol-esxd": [str(Path(sys.executable).with_name("vmdkvol-esxd"))]}
    show = Show(machine, {"DOCKER_HOST": engine.host, "PYTHONPATH": PYTHONPATH}, programs)
    seen = show.step("looking", why="The virtual machines, by bare pyVmomi. The first one is our Docker host.")
    vm, uuid = seen.splitlines()[0].rsplit(" ", 1)
    site.write(vm, uuid)
    service = _start(machine, site, "service", "vmdkvol_esx.cli", site.root / "s.sock", "serve")
    agent = _start(machine, site, "agent", "tests.vsphere.agent", Path(PLUGIN), str(site.world))
    show_the_main_job(show, site, vm)
    for pid in (agent, service):
        machine.kill(pid, signal.SIGTERM, 60)
    engine.stop()
    give_back()


if __name__ == "__main__":
    # Before the first step: it takes a minute once.
    program()
    sys.exit(main(partial(_inside, "esxi" if sys.argv[1:] == ["esxi"] else "vcenter")))
