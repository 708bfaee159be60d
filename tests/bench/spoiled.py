"""Daemons that do something wrong on purpose, one thing each: the proof that a row of the bench can fail.

Run as ``python -m tests.bench.spoiled --config FILE --spoil NAME`` it is the agent. Nothing in the product can be told to.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vmdkvol.points import Point, pass_by
from vmdkvol.settings import read_settings
from vmdkvol_guest import worker
from vmdkvol_guest.linux import kernel
from vmdkvol_guest.settings import AgentSettings

At = Callable[[Point], None]
_KEPT: list[Any] = []
_FAT_BYTES = 120 << 20


def at_start(spoil: str) -> None:
    """What is wrong with the process as a whole."""
    if spoil == "slow-start":
        time.sleep(1.0)
    if spoil == "fat":
        _KEPT.append(os.urandom(_FAT_BYTES))


def of_service(spoil: str) -> At:
    """Return what a spoiled service does at its crash points."""
    return _sleeping({Point.CREATE_PARSED}) if spoil == "slow" else pass_by


def of_agent(spoil: str, run_dir: Path) -> At:
    """Return what a spoiled agent does at its crash points."""
    ways: dict[str, At] = {
        "slow": _sleeping({Point.MOUNT_RECEIVED, Point.UNMOUNT_RECEIVED}),
        "processes": _starting_processes,
        "leaks": _leaking,
        "bloat": lambda point: _bloat(run_dir) if point is Point.FORMAT_PREPARED else None,
        "synchronous": lambda point: _make_synchronous(run_dir) if point is Point.MOUNT_MOUNTED else None,
    }
    return ways.get(spoil, pass_by)


def _sleeping(points: set[Point]) -> At:
    return lambda point: time.sleep(0.3) if point in points else None


def _starting_processes(point: Point) -> None:
    if point in (Point.MOUNT_RECEIVED, Point.UNMOUNT_RECEIVED, Point.GUEST_CREATE_RECEIVED):
        subprocess.run(["true"], check=True)


def _leaking(point: Point) -> None:
    if point is Point.MOUNT_MOUNTED:
        _KEPT.append(os.open("/dev/null", os.O_RDONLY))
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


def _bloat(run_dir: Path) -> None:
    for mount in (run_dir / "mnt").iterdir():
        with open(mount / "data" / "bloat", "wb") as file:
            file.write(os.urandom(64 << 20))
            os.fsync(file.fileno())


def _make_synchronous(run_dir: Path) -> None:
    for mount in (run_dir / "mnt").iterdir():
        flags = kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_SYNCHRONOUS | kernel.MS_DIRSYNC
        kernel.mount("none", str(mount), "ext4", flags, "")


class _SpoiledWorker(worker.Worker):
    """``busy``: each call computes for 5 ms. ``alone``: one call at a time. ``long-list``: a List grows with its square."""

    spoil = ""
    lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self.spoil == "busy":
            end = time.thread_time() + 0.005
            while time.thread_time() < end:
                pass
        if self.spoil == "alone":
            with self.lock:
                return super().__call__(environ, start_response)
        answer = list(super().__call__(environ, start_response))
        if self.spoil == "long-list" and environ["PATH_INFO"] == "/VolumeDriver.List":
            time.sleep(min(5.0, (sum(map(len, answer)) / 100_000) ** 2))
        return answer


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--spoil", required=True)
    chosen = parser.parse_args()
    from vmdkvol_guest import daemon

    at_start(chosen.spoil)
    settings = read_settings(AgentSettings, chosen.config)
    _SpoiledWorker.spoil = chosen.spoil
    # A defect, not a double: the product has no place to hand one in.
    for module in (worker, daemon):
        vars(module)["Worker"] = _SpoiledWorker
    daemon.serve(settings, of_agent(chosen.spoil, Path(settings.run_dir)))


if __name__ == "__main__":
    main()
