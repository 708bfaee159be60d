"""What a site's daemons hold, as the kernel counts it: what must be as before when all work is over."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tests.daemons.site import Site, eventually
from vmdkvol.cli import processes


def held(site: Site) -> dict[str, int]:
    """Return the counts of this moment: of the processes, of the machine what is the site's, and of both directories."""
    descriptors, inotify, threads = 0, 0, 0
    configs = (site.host.agent.config, site.service.config)
    for pid in [each.pid for config in configs for each in processes.with_config(config)]:
        process = Path(f"/proc/{pid}")
        threads += len(list((process / "task").iterdir()))
        for descriptor in (process / "fd").iterdir():
            descriptors += 1
            inotify += "inotify" in _target(descriptor)
    places = (site.host.run, site.datastore)
    return {
        "descriptors": descriptors,
        "inotify": inotify,
        "threads": threads,
        "loops": len(site.loops()),
        "mounts": len(site.mounted()),
        "directories": sum(1 for place in places for _ in place.rglob("*")),
    }


def settled(site: Site, timeout_s: float = 60.0) -> dict[str, int]:
    """Return what is held when it has not changed for a moment."""
    last: list[dict[str, int]] = []

    def still() -> bool:
        last.append(held(site))
        time.sleep(0.2)
        return len(last) > 2 and last[-1] == last[-2] == last[-3]

    eventually(still, "the daemons are at rest", timeout_s)
    return last[-1]


def grown_since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return by how much each is more than before; what is less makes up for nothing."""
    return {what: max(0, after[what] - number) for what, number in before.items()}


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""
