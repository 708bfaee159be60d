"""How long it takes until a disk is mounted: by the agent, and by the least that must happen. In a guest, as root.

``attach_times.py ROUNDS SEED PLUGIN VOLUME PORT``: each round calls PLUGIN's Mount of VOLUME, and twice does the same work by
hand: it asks the tests' computer, on vsock PORT, to add a disk that has a file system, waits for the kernel's word of it,
and mounts it. Prints a line of JSON for each round: seconds of {"ours", "floor", "again"}, and of them "cpu", what the
agent's processes computed for ours.
"""

from __future__ import annotations

import ctypes
import glob
import http.client
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable

HOST = 2
LIMIT_S = 130
# linux/netlink.h: the kernel's news are group 1 of NETLINK_KOBJECT_UEVENT.
_UEVENT, _KERNEL = 15, 1
_NOSUID_NODEV = 2 | 4
_LIBC = ctypes.CDLL(None, use_errno=True)
POINT = "/mnt/floor"


class Plugin(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("plugin", timeout=LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(self._path)


def call(path: str, endpoint: str, **body: str) -> None:
    plugin = Plugin(path)
    plugin.request("POST", f"/VolumeDriver.{endpoint}", json.dumps(body))
    answer = json.loads(plugin.getresponse().read())
    plugin.close()
    if answer["Err"]:
        raise SystemExit(f"{endpoint}: {answer['Err']}")


def wait_gone() -> None:
    """Return when this kernel has no SCSI disk."""
    until = time.monotonic() + LIMIT_S
    while glob.glob("/sys/block/sd*"):
        if time.monotonic() > until:
            raise SystemExit("a disk stays")
        time.sleep(0.05)


def agent_cpu() -> float:
    """Return what the agent's processes have computed so far, in seconds."""
    return sum(map(ticks, glob.glob("/proc/[0-9]*"))) / os.sysconf("SC_CLK_TCK")


def ticks(process: str) -> int:
    """Return what a process has computed if it is the agent's, else nothing."""
    try:
        with open(f"{process}/cmdline", "rb") as line, open(f"{process}/stat") as stat:
            ours = b"vmdkvol_guest.cli" in line.read()
            # proc(5): 14 and 15, utime and stime; the second field may have spaces.
            return sum(map(int, stat.read().rpartition(")")[2].split()[11:13])) if ours else 0
    except FileNotFoundError:
        return 0


def ours(path: str, volume: str) -> tuple[float, float]:
    """Return the seconds of a Mount, and of them those in which the agent computed."""
    before, began = agent_cpu(), time.monotonic()
    call(path, "Mount", Name=volume, ID="bench")
    seconds = time.monotonic() - began
    computed = agent_cpu() - before
    call(path, "Unmount", Name=volume, ID="bench")
    wait_gone()
    return seconds, computed


def floor(port: int) -> tuple[float, float]:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _UEVENT)
    news.settimeout(LIMIT_S)
    news.bind((0, _KERNEL))
    with news, socket.socket(socket.AF_VSOCK) as there, there.makefile("rwb", buffering=0) as line:
        there.settimeout(LIMIT_S)
        there.connect((HOST, port))
        began = time.monotonic()
        line.write(b"add\n")
        device = added(news)
        if _LIBC.mount(f"/dev/{device}".encode(), POINT.encode(), b"ext4", ctypes.c_ulong(_NOSUID_NODEV), None) < 0:
            raise SystemExit(os.strerror(ctypes.get_errno()))
        os.stat(POINT)
        seconds = time.monotonic() - began
        line.readline()
        if _LIBC.umount2(POINT.encode(), 0) < 0:
            raise SystemExit(os.strerror(ctypes.get_errno()))
        line.write(b"del\n")
        line.readline()
    wait_gone()
    return seconds, 0.0


def added(news: socket.socket) -> str:
    """Return the name of the next disk that the kernel tells of."""
    while True:
        fields = dict(field.split("=", 1) for field in news.recv(1 << 16).decode().split("\0") if "=" in field)
        if (fields.get("SUBSYSTEM"), fields.get("ACTION")) == ("block", "add") and fields["DEVNAME"].startswith("sd"):
            return fields["DEVNAME"]


def main(rounds: str, seed: str, path: str, volume: str, port: str) -> None:
    order = random.Random(seed)
    os.makedirs(POINT, exist_ok=True)
    sides: dict[str, Callable[[], tuple[float, float]]] = {
        "ours": lambda: ours(path, volume),
        "floor": lambda: floor(int(port)),
        "again": lambda: floor(int(port)),
    }
    for _ in range(int(rounds)):
        names = list(sides)
        order.shuffle(names)
        taken = {name: sides[name]() for name in names}
        print(json.dumps({name: seconds for name, (seconds, _) in taken.items()} | {"cpu": taken["ours"][1]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
