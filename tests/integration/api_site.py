"""A service in this process and the REST API in front of it as a process of its own: a Unix socket, and a door inside TLS."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from tests.daemons.site import ROOT, eventually
from tests.doubles.certificates import Authority
from vmdkvol.cli import processes
from vmdkvol.clock import SystemClock
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Role
from vmdkvol.settings import dump_toml
from vmdkvol.volume import VmId
from vmdkvol_esx.composing import Service, compose
from vmdkvol_esx.settings import DatastoreSetting, HostSetting, ServiceSettings
from vmdkvol_esx.web.token_file import TokenFile
from vmdkvol_esx.web_setting import WebSetting

HOST = VmId(UUID(int=0xA))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code; of what is no problem none."""
        return str(self.json["code"]) if self.headers.get_content_type() == "application/problem+json" else ""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ApiSite:
    """``close`` it. ``administrators`` signs who may come by certificate, ``site`` what the API shows."""

    def __init__(
        self,
        root: Path,
        *,
        tls: bool = True,
        threads: int = 8,
        hosts: Mapping[str, VmId] = MappingProxyType({"docker1": HOST}),
        datastores: tuple[str, ...] = ("ds1",),
        trash_retention_s: float = 0.0,
        copy_mib_s: float = 0.0,
    ) -> None:
        self.root = root
        for name in datastores:
            (root / name).mkdir(exist_ok=True)
        self.administrators, self.site = Authority(root, "administrators"), Authority(root, "site")
        self.port = _free_port()
        shown = self.site.service("localhost")
        inside = {"listen": f"127.0.0.1:{self.port}", "certificate_file": str(shown)}
        web = WebSetting(
            socket=str(root / "web.sock"),
            admin_ca_file=str(self.administrators.path),
            threads=threads,
            **(inside if tls else {}),
        )
        self.settings = ServiceSettings(
            str(root / "state"),
            tuple(DatastoreSetting(DatastoreName(name), str(root / name)) for name in datastores),
            default_datastore=DatastoreName(datastores[0]),
            trash_retention_s=trash_retention_s,
            copy_mib_s=copy_mib_s,
            hosts=tuple(HostSetting(name, vm, str(root / f"{name}.sock")) for name, vm in hosts.items()),
            listen=("tcp://127.0.0.1:0",),
            admin_socket=str(root / "admin.sock"),
            web=web,
        )
        self.config = root / "service.toml"
        self.config.write_text(dump_toml(self.settings))
        self.config.chmod(0o600)
        self.tokens = TokenFile(Path(self.settings.token_file), SystemClock())
        self.service: Service | None = compose(self.settings).start()
        self.process = self.start()

    @property
    def socket(self) -> Path:
        return self.root / "web.sock"

    def start(self) -> subprocess.Popen[bytes]:
        with (self.root / "web.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self.config), "web"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._serves, "the API answers at each door")
        return self.process

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30.0)

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        processes.stop(processes.with_config(self.config), 10.0)
        if self.service is not None:
            self.service.stop()

    def restart_core(self, between: Any = lambda: None) -> None:
        assert self.service is not None
        self.service.stop()
        between()
        self.service = compose(self.settings).start()

    def token(self, name: str, role: Role, days: int = 1) -> str:
        return self.tokens.add(name, role, days)[0].reveal()

    def unix(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask at the Unix socket, as root."""
        return _ask(_Unix(self.socket), method, path, body, headers)

    def far(
        self, method: str, path: str, body: Any = None, *, token: str = "", certificate: Path | None = None, **headers: str
    ) -> Answer:
        """Ask inside TLS."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30.0, context=self.context(certificate))
        return _ask(connection, method, path, body, headers)

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.site.path))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def raw(self, data: bytes) -> bytes:
        """Send bytes to the Unix socket, and return all that comes until the end."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30.0)
            connection.connect(str(self.socket))
            connection.sendall(data)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            return found

    def _serves(self) -> bool:
        assert self.process.poll() is None, (self.root / "web.log").read_text()
        try:
            asked = [self.unix("GET", "/livez"), *([self.far("GET", "/livez")] if self._tls else [])]
        except OSError:
            return False
        return all(each.status == 200 for each in asked)

    @property
    def _tls(self) -> bool:
        return self.settings.web is not None and self.settings.web.listen is not None


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    kind = {} if sent is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, sent, {**kind, **{name.replace("_", "-"): each for name, each in headers.items()}})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def api_site(**given: Any) -> Iterator[ApiSite]:
    """Make a site, ``given`` what it takes, in a directory of its own; it is closed, and its directory gone, afterwards."""
    # Not pytest's directory: what pytest makes is too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="vmdkvol-api-") as folder:
        made = ApiSite(Path(folder), **given)
        try:
            yield made
        finally:
            made.close()
