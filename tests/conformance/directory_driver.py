"""A volume plugin that is none of ours: a volume is a directory. As small as a right one can be, and wrong on demand.

usage: directory_driver.py SOCKET DIRECTORY [FAULT]   (``FAULTS`` says what each of them does)
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import socketserver
import sys
import threading
from collections import defaultdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

# Each deliberate fault, with what is wrong.
FAULTS = {
    "empty-body-ok": "a request without a body is a success",
    "empty-get-answered": "a Get without a body is answered with an error, which makes an engine forget the volume",
    "null-volume": "a request without a body is about a volume called null",
    "empty-mountpoint": "Mount gives no path: a container would get the engine's own directory",
    "no-zone": "CreatedAt has no zone",
    "list-differs": "List shows another mount point than Get",
    "path-differs": "Path shows the mount point of a volume that has none",
    "list-doubles": "List shows each volume twice",
    "status-list": "Status is no object",
    "forgets": "a volume that was mounted is unknown afterwards",
    "create-empties": "Create of a known name begins anew",
    "create-exists": "Create of a known name is an error",
    "remove-mounted": "a mounted volume is removed",
    "remove-keeps": "a removed volume's data is there when its name is used again",
    "remove-unknown-ok": "Remove of an unknown name is a success",
    "first-unmount-wins": "the first Unmount takes the volume from everybody",
    "counts": "users are counted, not known: an Unmount that comes twice takes another's mount",
    "one-directory": "all volumes are one directory",
    "lower-case": "names differ in more than case, or are one",
    "html-errors": "an error is a page of HTML",
    "two-lines": "an error has two lines",
}


class Refused(Exception):
    """The text is what the user reads."""


class Volumes:
    """Names are kept as directories called by their hex digits, so that any name is one; data lies in ``data``."""

    def __init__(self, root: Path, fault: str) -> None:
        self.root = root
        self.fault = fault
        self.users: defaultdict[str, list[str]] = defaultdict(list)
        self.lock = threading.Lock()
        root.mkdir(exist_ok=True)

    def directory(self, name: Any) -> Path:
        if not isinstance(name, str) or not 0 < len(name.encode()) <= 100 or not name.isprintable() or name != name.strip():
            raise Refused("a name is 1 to 100 printable characters, no blank first or last")
        return self.root / (name.lower() if self.fault == "lower-case" else name).encode().hex()

    def known(self, name: Any) -> Path:
        directory = self.directory(name)
        if not (directory / "made").exists():
            raise Refused(f"{name!r}: no such volume" + ("\nreally" if self.fault == "two-lines" else ""))
        return directory

    def data(self, directory: Path) -> str:
        return str(self.root / "shared" if self.fault == "one-directory" else directory / "data")

    def create(self, name: Any, opts: Any) -> None:
        directory = self.directory(name)
        if not isinstance(opts, dict | None) or any(not isinstance(value, str) for value in (opts or {}).values()):
            raise Refused("options are texts")
        if self.fault == "create-exists" and directory.exists():
            raise Refused(f"{name!r} exists")
        if self.fault == "create-empties":
            shutil.rmtree(directory, ignore_errors=True)
        Path(self.data(directory)).mkdir(parents=True, exist_ok=True)
        made = directory / "made"
        if not made.exists():
            made.write_text(datetime.now(None if self.fault == "no-zone" else UTC).isoformat())

    def remove(self, name: Any) -> None:
        if self.fault == "remove-unknown-ok" and not self.directory(name).exists():
            return
        directory = self.known(name)
        if self.users[name] and self.fault != "remove-mounted":
            raise Refused(f"{name!r} is in use")
        if self.fault == "remove-keeps":
            (directory / "made").unlink()
        else:
            shutil.rmtree(directory)

    def mount(self, name: Any, user: Any) -> str:
        path = self.data(self.known(name))
        if user not in self.users[name] or self.fault == "counts":
            self.users[name].append(user)
        self._put(path, there=True)
        return "" if self.fault == "empty-mountpoint" else path

    def unmount(self, name: Any, user: Any) -> None:
        path = self.data(self.known(name))
        if self.users[name] and (user in self.users[name] or self.fault == "counts"):
            self.users[name].remove(user if user in self.users[name] else self.users[name][0])
        if self.fault == "first-unmount-wins" or (self.fault == "counts" and not self.users[name]):
            self._put(path, there=False)
        if self.fault == "forgets":
            (self.known(name) / "made").unlink()

    def _put(self, path: str, *, there: bool) -> None:
        """Only where mounts are played at: the directory goes away, as a mount does, and comes back."""
        old, new = (f"{path}.away", path) if there else (path, f"{path}.away")
        if os.path.isdir(old) and not os.path.isdir(new):
            os.rename(old, new)

    def shown(self, name: Any, *, listed: bool = False) -> dict[str, Any]:
        directory = self.known(name)
        path = self.data(directory) if self.users[name] else ""
        shown = {"Name": name, "Mountpoint": f"{path}/" if listed and self.fault == "list-differs" else path}
        shown["CreatedAt"] = (directory / "made").read_text()
        return {**shown, "Status": [] if self.fault == "status-list" else {"holders": list(self.users[name])}}

    def listed(self) -> list[dict[str, Any]]:
        names = sorted(bytes.fromhex(made.parent.name).decode() for made in self.root.glob("*/made"))
        twice = 2 if self.fault == "list-doubles" else 1
        return [self.shown(name, listed=True) for name in names for _ in range(twice)]

    def answer(self, call: str, body: Any) -> dict[str, Any]:
        """Return what a call's answer has beside ``Err``; raise Refused."""
        name = body.get("Name")
        match call:
            case "Create":
                self.create(name, body.get("Opts"))
            case "Remove":
                self.remove(name)
            case "Mount":
                return {"Mountpoint": self.mount(name, body.get("ID"))}
            case "Unmount":
                self.unmount(name, body.get("ID"))
            case "Get":
                return {"Volume": self.shown(name)}
            case "Path":
                path = self.data(self.known(name)) if self.fault == "path-differs" else self.shown(name)["Mountpoint"]
                return {"Mountpoint": path}
            case "List":
                return {"Volumes": self.listed()}
            case "Capabilities":
                return {"Capabilities": {"Scope": "local"}}
            case "Activate":
                return {"Implements": ["VolumeDriver"]}
            case _:
                raise Refused(f"no such call: {call}")
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    volumes: Volumes

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call, fault = self.path.rpartition(".")[2], self.volumes.fault
        try:
            self._reply(200, {**self._answer(call, data), "Err": ""})
        except Refused as error:
            if call == "Get" and not data.strip() and fault != "empty-get-answered":
                # Only a broken line makes the engine forget nothing.
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._reply(404 if "call" in str(error) else 200, {"Err": str(error)})

    def _answer(self, call: str, data: bytes) -> dict[str, Any]:
        fault = self.volumes.fault
        if call in ("Activate", "List", "Capabilities"):
            body: Any = {}
        elif not data.strip() and fault == "empty-body-ok":
            return {}
        elif not data.strip() and fault == "null-volume":
            body = {"Name": "null"}
        else:
            try:
                body = json.loads(data)
            except ValueError:
                raise Refused("the body is not JSON") from None
        if not isinstance(body, dict):
            raise Refused("the body is no object")
        with self.volumes.lock:
            return self.volumes.answer(call, body)

    def do_GET(self) -> None:
        self._reply(405, {"Err": "only POST"})

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        page = self.volumes.fault == "html-errors" and body["Err"]
        data = f"<html>{body['Err']}</html>".encode() if page else json.dumps(body).encode()
        self.send_response(500 if page else status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a log of every call would hide what went wrong."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    path, root, fault = Path(sys.argv[1]), Path(sys.argv[2]), (*sys.argv[3:], "")[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    Handler.volumes = Volumes(root, fault)
    with Server(str(path), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
