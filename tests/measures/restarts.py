"""How long a call waits that comes while the agent is restarted, on a socket that systemd holds; no slow call is under way.

`python -m tests.measures.restarts [ROUNDS]` prints it. Nothing here judges.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from statistics import median

from tests.daemons.activator import Activator, python_path
from tests.daemons.site import Host
from tests.measures.daemons import Place, place, service_running


def first_call_during_restart(rounds: int = 20) -> list[float]:
    """Return for each restart the seconds from SIGTERM to the answer of a List that was sent right after it.

    A call that fails raises: none may.
    """
    with place() as at, service_running(at):
        path = at.root / "vsphere.sock"
        env = {**python_path(), "PYTHONPYCACHEPREFIX": str(at.root / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
        with Activator(path, at.agent(), at.root / "log", env) as agent:
            return [_once(at, agent) for _ in range(rounds + 1)][1:]  # The first one compiles.


def _once(at: Place, agent: Activator) -> float:
    host = Host("vsphere", None, at.root / "vsphere.sock", at.root / "run")  # type: ignore[arg-type]  # no daemon of a site
    host.told("List")
    began = time.monotonic()
    restarting = threading.Thread(target=agent.restart)
    restarting.start()
    # So that the old worker has heard of its end, and does not answer this call itself.
    time.sleep(0.02)
    host.told("List")
    took = time.monotonic() - began
    restarting.join()
    return took


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    waits = first_call_during_restart(rounds)
    print(f"first call during a restart: median {median(waits):.2f} s, worst {max(waits):.2f} s, 0 failed of {rounds}")
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
