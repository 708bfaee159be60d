"""`vmdkvol-esxd web` in its own process, in front of a service that a test runs: for what is asked by the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from vmdkvol.settings import dump_toml

ROOT = Path(__file__).parents[2]
_START_S = 60.0
_PATH = ":".join(str(path) for path in (ROOT, ROOT / "guest-agent", ROOT / "esx-service"))


class WebProcess:
    """Started when its address is asked for; it outlives the service behind it. ``stop`` leaves nothing."""

    def __init__(self, config: Path) -> None:
        """``config`` is the service's. The API has a copy of its own, beside: who ends a daemon by its file ends one."""
        self._service = config
        self._config = config.with_name(f"web-{config.name}")
        self.socket = config.with_name("web.sock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        if self._process is None:
            self._start()
        return f"unix://{self.socket}"

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(60)

    def _start(self) -> None:
        settings = {**tomllib.loads(self._service.read_text()), "web": {"socket": str(self.socket)}}
        self._config.write_text(dump_toml(settings))
        self._config.chmod(0o600)
        with self._config.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self._config), "web"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_S
        while not self._listens():
            assert self._process.poll() is None, self._config.with_suffix(".log").read_text()
            assert time.monotonic() < end, "the API does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True
