"""The floor of a call: a Flask application that answers Get and List from memory, under the agent's own gunicorn
settings.

Run as ``python -m tests.bench.flask_floor SOCKET THREADS``. No lock, no state, no other process is asked, nothing is
logged.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

VOLUME = {"Name": "floor", "Mountpoint": "/run/floor", "CreatedAt": "2026-01-01T00:00:00Z", "Status": {"state": "ready"}}


def make_app() -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.post("/VolumeDriver.Get")
    def get() -> Response:
        name = json.loads(request.get_data())["Name"]
        return Response(json.dumps({"Volume": {**VOLUME, "Name": name}, "Err": ""}) + "\n", mimetype="application/json")

    @app.post("/VolumeDriver.Capabilities")
    def capabilities() -> Response:
        return Response(json.dumps({"Capabilities": {"Scope": "global"}}) + "\n", mimetype="application/json")

    return app


class Master(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, socket: str, threads: int) -> None:
        self._options = {
            "bind": f"unix:{socket}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": threads,
            "timeout": 0,
            "keepalive": 0,
            "control_socket_disable": True,
            "accesslog": None,
            "loglevel": "warning",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return make_app()


if __name__ == "__main__":
    Master(sys.argv[1], int(sys.argv[2])).run()
