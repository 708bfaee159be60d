"""The tests' way into a guest: commands by JSON lines on a virtio-serial port, each on a thread of its own.

In: {"id": 1, "command": "text for sh", "timeout_s": 60, "input": ""}. Out: {"id": 1, "code": 0, "output": "..."}, with -1 for a
command that was ended at its time limit. At its start it tells {"event": "ready", "uptime": 6.2}, and from then on the kernel's
news of block devices: {"event": "add", "device": "sdb", "path": "/devices/..."}.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "org.vmdkvol.exec"
# linux/netlink.h; group 1 is the kernel's own news.
_KOBJECT_UEVENT, _KERNEL = 15, 1
_BUFFER = 4 << 20
_OUTPUT_LIMIT = 200_000


class Port:
    def __init__(self) -> None:
        self._port = os.open(_device(), os.O_RDWR)
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._port, data) :]

    def serve(self) -> None:
        """Carry out what comes in, for ever."""
        buffer = b""
        while True:
            data = os.read(self._port, 1 << 16)
            if not data:
                # Nobody has the other end open.
                time.sleep(0.05)
                continue
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                threading.Thread(target=self._carry_out, args=(json.loads(line),), daemon=True).start()

    def news(self) -> None:
        """Tell the kernel's news of block devices, for ever."""
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _KOBJECT_UEVENT)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        listener.bind((0, _KERNEL))
        while True:
            fields = dict(field.split("=", 1) for field in listener.recv(1 << 16).decode().split("\0") if "=" in field)
            if fields.get("SUBSYSTEM") == "block":
                self.send({"event": fields["ACTION"], "device": fields["DEVNAME"], "path": fields["DEVPATH"]})

    def _carry_out(self, request: Mapping[str, Any]) -> None:
        # Not a pipe: what a command leaves running in the background would keep it open.
        with tempfile.TemporaryFile() as output:
            code = _run(request["command"], request.get("input", ""), output.fileno(), request["timeout_s"])
            end = output.seek(0, os.SEEK_END)
            output.seek(max(0, end - _OUTPUT_LIMIT))
            text = output.read().decode("utf-8", "replace")
        self.send({"id": request["id"], "code": code, "output": text})


def _run(command: str, given: str, output: int, timeout_s: float) -> int:
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        process.communicate(given.encode() if given else None, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        # One that hangs in the kernel does not end; nobody waits for it.
        return -1
    return process.returncode


def _device() -> str:
    while True:
        for port in Path("/sys/class/virtio-ports").glob("*"):
            if (port / "name").read_text().strip() == NAME:
                return f"/dev/{port.name}"
        time.sleep(0.02)


def main() -> None:
    port = Port()
    threading.Thread(target=port.news, daemon=True).start()
    port.send({"event": "ready", "uptime": float(Path("/proc/uptime").read_text().split()[0])})
    port.serve()


if __name__ == "__main__":
    main()
