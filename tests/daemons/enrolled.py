"""A site whose hosts come by tcp, with certificates: the service in its process, the command lines of both ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.daemons.site import ROOT, Host, Site, eventually
from tests.daemons.web_process import WebProcess
from vmdkvol.settings import dump_toml


class EnrolledSite(Site):
    """Hosts without sockets of their own; ``enrol`` makes each one who it is."""

    def __init__(self, root: Path, hosts: tuple[str, ...] = ("vsphere",), **agent_settings: Any) -> None:
        self.port = _free_port()
        super().__init__(root, hosts, service=f"tcp://127.0.0.1:{self.port}", **agent_settings)
        self.admin_socket = root / "admin.sock"
        self.service.answers = self.admin_socket.is_socket
        self.service.config.write_text(self._service_toml())
        self.web = WebProcess(self.service.config)

    def close(self) -> None:
        self.web.stop()
        super().close()

    @property
    def authority(self) -> Path:
        return self.root / "state" / "service" / "ca"

    def identity(self, host: Host) -> Path:
        return self.root / "state" / host.name / "identity"

    def vmdkvol(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the administrator's command."""
        environment = {**os.environ, "VMDKVOL_API": self.web.address}
        return _run("vmdkvol.cli.main", *command, stdin=stdin, env=environment)

    def esxd(self, *command: str) -> subprocess.CompletedProcess[str]:
        return _run("vmdkvol_esx.cli", "--config", str(self.service.config), *command)

    def agent(self, host: Host, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command of the host's agent."""
        return _run("vmdkvol_guest.cli", "--config", str(host.agent.config), *command, stdin=stdin)

    def token(self, host: Host) -> str:
        made = self.vmdkvol("vm", "enroll", host.name)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def enrol(self, *hosts: Host) -> None:
        for host in hosts or self.hosts:
            done = self.agent(host, "enroll", self.token(host))
            assert done.returncode == 0, done.stderr

    def standing(self) -> dict[str, dict[str, Any]]:
        listed = self.vmdkvol("vm", "ls", "-o", "json")
        assert listed.returncode == 0, listed.stderr
        return {row["name"]: row for row in json.loads(listed.stdout)}

    def wait_connected(self, host: Host) -> None:
        eventually(lambda: bool(self.standing()[host.name]["connected"]), f"{host.name} is connected; {host.agent.tail()}")

    def _service_toml(self) -> str:
        return dump_toml(
            {
                "state_dir": str(self.root / "state" / "service"),
                "trash_retention_s": 0.0,
                "listen": [f"tcp://127.0.0.1:{self.port}"],
                "admin_socket": str(self.root / "admin.sock"),
                "housekeeping_s": 1.0,
                "datastores": [{"name": "ds1", "path": str(self.datastore)}],
                "hosts": [{"name": host.name, "id": host.id} for host in self.hosts],
            }
        )


def _run(module: str, *command: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", module, *command]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, cwd=ROOT, env=env)


def _free_port() -> int:
    """A port that nobody has at this moment; the service's settings name one."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
