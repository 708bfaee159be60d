"""The row of the REST API: a page of a long list."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

from tests.bench.figures import Goal, Measured, absolute
from tests.bench.lines import Line, Row
from tests.bench.lists import fill_subject
from tests.bench.stage import Stage
from tests.bench.subject import Subject, timed
from tests.daemons.site import ROOT, eventually
from vmdkvol.settings import dump_toml

_PAGE = 100


class Api:
    """The REST API in front of a subject's service, as a process with settings of its own file.

    ``more`` are settings of ``[web]`` besides its socket.
    """

    def __init__(self, subject: Subject, spoil: str, **more: str) -> None:
        self._socket = subject.root / "web.sock"
        self.config = config = subject.root / "web.toml"
        config.write_text(subject.service.config.read_text() + dump_toml({"web": {"socket": str(self._socket), **more}}))
        config.chmod(0o600)
        module = "tests.bench.spoiled_api" if spoil else "vmdkvol_esx.cli"
        with (subject.root / "web.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "--config", str(config), "web"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._serves, "the API is ready", 180.0)

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("localhost", timeout=60.0)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(60.0)
        connection.sock.connect(str(self._socket))
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, body[:300]
        return body

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30.0)

    def _serves(self) -> bool:
        assert self._process.poll() is None
        try:
            return b"ok" in self.get("/readyz")
        except (OSError, AssertionError):
            return False


def page(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of `GET /v1/volumes?limit=100` at the API's Unix socket, over that of its `/livez`.

    The service has 10,000 volumes. Each round asks for the next page and parses the JSON; a page has as many of the 100 as fit
    into an answer of the core. In it are the connection, the core's page, and the API's own work; not the command's start.
    """
    subject = stage.filled("many", lambda made: fill_subject(made, stage.effort.many))
    api = Api(subject, stage.spoil)
    try:
        after = ""

        def ours() -> None:
            nonlocal after
            found = json.loads(api.get(f"/v1/volumes?limit={_PAGE}{after}"))
            assert found["rows"], "a page with volumes"
            after = f"&after={found['next']}" if found["next"] else ""

        return {"rest.page": absolute(stage.compare(lambda: timed(ours), lambda: timed(_livez(api))))}
    finally:
        api.close()


def _livez(api: Api) -> Callable[[], None]:
    def ask() -> None:
        api.get("/livez")

    return ask


ROWS = (
    Row(
        "rest",
        (Line("rest.page", "REST page of 100 of 10,000 volumes", "`/livez` of the same API", Goal(0.02, unit="s")),),
        page,
        6,
        "slow-page",
        ("rest.page",),
    ),
)
