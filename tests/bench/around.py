"""Around the service's hypervisor: a line for each call that it gets, and changes that take as long as a real one's.

Run as ``python -m tests.bench.around --config FILE [--log FILE] [--delays JSON] [--spoil NAME]``: the service of the
product, with this between it and its disks.
"""

from __future__ import annotations

import json
import os
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from tests.bench import spoiled
from vmdkvol.clock import Deadline
from vmdkvol.settings import read_settings
from vmdkvol_esx.daemon import serve
from vmdkvol_esx.ports import Change, Hypervisor, Progress, TaskId
from vmdkvol_esx.settings import ServiceSettings

# Published times of one guest's calls on ESXi, in seconds (vDVS issue 1553); the removal is an estimate.
PROFILE = {"CreateDisk": 1.56, "AttachDisk": 0.66, "DetachDisk": 0.62, "DeleteDisk": 0.6}


class Around:
    """``log`` gets ``submit AttachDisk`` or ``read devices`` for each call; ``delays`` are seconds by change.

    A delayed change is a task: ``submit`` answers at once, and it is done when its time is over. ``alone``: changes wait
    for each other, as behind one lock. ``twice``: each change is submitted a second time.
    """

    def __init__(
        self, inner: Hypervisor, log: Path | None, delays: Mapping[str, float], *, alone: bool = False, twice: bool = False
    ) -> None:
        self._inner = inner
        self._log = log
        self._delays = delays
        self._twice = twice
        self._lock: AbstractContextManager[Any] = threading.Lock() if alone else nullcontext()
        self._tasks: dict[str, tuple[Change, UUID, float]] = {}

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        kind = type(change).__name__
        self._note(f"submit {kind}")
        if self._twice:
            self._note(f"submit {kind}")
            self._inner.submit(change, uuid4())
        seconds = self._delays.get(kind, 0.0)
        if not seconds:
            return self._inner.submit(change, operation)
        task = f"delayed-{operation}"
        self._tasks[task] = (change, operation, seconds)
        return TaskId(task)

    def wait(self, task: TaskId, deadline: Deadline, progress: Progress) -> None:
        if task not in self._tasks:
            return self._inner.wait(task, deadline, progress)
        change, operation, seconds = self._tasks[task]
        with self._lock:
            time.sleep(seconds)
            inner = self._inner.submit(change, operation)
        del self._tasks[task]
        if inner is not None:
            self._inner.wait(inner, deadline, progress)
        return None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._inner, name)

        def call(*args: Any, **keywords: Any) -> Any:
            self._note(f"{'write' if name.startswith('write') else 'read'} {name}")
            return method(*args, **keywords)

        return call

    def _note(self, line: str) -> None:
        if self._log is None:
            return
        # One write of an appending descriptor: lines of several threads do not mix.
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--delays", type=json.loads, default={})
    parser.add_argument("--spoil", default="")
    chosen = parser.parse_args()
    spoiled.at_start(chosen.spoil)

    def around(inner: Hypervisor) -> Hypervisor:
        made = Around(inner, chosen.log, chosen.delays, alone=chosen.spoil == "alone", twice=chosen.spoil == "twice")
        return cast(Hypervisor, made)

    serve(read_settings(ServiceSettings, chosen.config), spoiled.of_service(chosen.spoil), around)


if __name__ == "__main__":
    main()
