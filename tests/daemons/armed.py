"""Daemons that end themselves with kill -9 at a named point. Nothing in the product can arm one.

Run as ``python -m tests.daemons.armed service|agent --config FILE POINT [TIME]``: the process, and for the agent gunicorn's
master with it, is gone in the middle of the TIME-th passage of POINT.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from vmdkvol.points import Point, pass_by
from vmdkvol.settings import read_settings


def killer(point: Point, time: int, victims: Callable[[], list[int]]) -> Callable[[Point], None]:
    """Return an ``at`` that kills ``victims()`` when ``point`` is passed for the ``time``-th time."""
    passed = 0
    lock = threading.Lock()

    def at(now: Point) -> None:
        nonlocal passed
        if now is not point:
            return
        with lock:
            passed += 1
            if passed == time:
                for pid in victims():
                    os.kill(pid, signal.SIGKILL)

    return at


def main(kind: str, _: str, config: str, point: str, time: str = "1") -> None:
    chosen = None if point == "never" else Point(point)
    if kind == "service":
        from vmdkvol_esx.daemon import serve as serve_guests
        from vmdkvol_esx.settings import ServiceSettings

        at = killer(chosen, int(time), lambda: [os.getpid()]) if chosen else pass_by
        serve_guests(read_settings(ServiceSettings, Path(config)), at)
        return
    from vmdkvol_guest.daemon import serve as serve_docker
    from vmdkvol_guest.settings import AgentSettings

    # The master first: it must not start another worker.
    at = killer(chosen, int(time), lambda: [os.getppid(), os.getpid()]) if chosen else pass_by
    serve_docker(read_settings(AgentSettings, Path(config)), at)


if __name__ == "__main__":
    main(*sys.argv[1:])
