"""The plugin socket as Docker uses it: a program for a guest, without an engine's cost.

plugin.py call ENDPOINT JSON    print the answer
plugin.py cycle VOLUME TIMES    mount, look at the data, add to it, unmount, wait until the guest has no disk; print JSON
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any

PLUGIN = "/run/docker/plugins/vsphere.sock"
GONE_S = 120.0


class Plugin(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("plugin", timeout=130)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(130)
        self.sock.connect(PLUGIN)


def call(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    plugin = Plugin()
    plugin.request("POST", f"/VolumeDriver.{endpoint}", json.dumps(body))
    answer: dict[str, Any] = json.loads(plugin.getresponse().read())
    plugin.close()
    return answer


def disks() -> list[str]:
    """Return the SCSI disks that the kernel has, of the block layer and of the SCSI layer below it."""
    return sorted([*os.listdir("/sys/class/scsi_disk"), *(name for name in os.listdir("/sys/block") if name.startswith("sd"))])


def cycle(volume: str, number: int) -> None:
    """One life of a mount: what the cycles before wrote is there."""
    user = {"Name": volume, "ID": secrets.token_hex(32)}
    mounted = call("Mount", user)
    assert mounted["Err"] == "", mounted
    note = Path(mounted["Mountpoint"]) / "note"
    lines = note.read_text().splitlines() if note.exists() else []
    assert len(lines) == number, (number, lines[-3:])
    with note.open("a") as file:
        file.write(f"{number}\n")
    unmounted = call("Unmount", user)
    assert unmounted["Err"] == "", unmounted
    until = time.monotonic() + GONE_S
    while disks():
        assert time.monotonic() < until, f"cycle {number}: there still are {disks()}"
        time.sleep(0.01)


def held() -> dict[str, int]:
    """Return what a leak would raise: kernel memory, mounts, the agent's descriptors and threads."""
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    agents = [pid for pid in Path("/proc").glob("[0-9]*") if b"vmdkvol_guest.cli" in _command(pid)]
    return {
        "slab_kib": int(memory["SUnreclaim"].split()[0]),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "descriptors": sum(len(list((pid / "fd").iterdir())) for pid in agents),
        "threads": sum(len(list((pid / "task").iterdir())) for pid in agents),
        "modes": len(list(Path("/sys/class/scsi_device").iterdir())),
    }


def rested(before: dict[str, int]) -> dict[str, int]:
    """Return what is held when no more descriptors are open than before, or after a minute: what is under way is no leak."""
    until = time.monotonic() + 60
    while (now := held())["descriptors"] > before["descriptors"] and time.monotonic() < until:
        time.sleep(0.2)
    return now


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def main(verb: str, first: str, second: str) -> None:
    if verb == "call":
        print(json.dumps(call(first, json.loads(second))))
        return
    took = []
    before: dict[str, int] = {}
    for number in range(int(second)):
        # The first ones fill caches, and start what is started once.
        before = held() if number == 5 else before
        begun = time.monotonic()
        cycle(first, number)
        took.append(time.monotonic() - begun)
    print(json.dumps({"before": before, "after": rested(before), "took_s": took}))


if __name__ == "__main__":
    main(*sys.argv[1:])
