"""The agent of a simulated VM, as a process: the product's own, but for the devices, which are a simulator's.

Run as ``python -m tests.vsphere.agent --config FILE WORLD``; WORLD is a JSON file with what ``outside`` needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vmdkvol.clock import Clock
from vmdkvol.settings import read_settings
from vmdkvol.volume import VmId
from vmdkvol_guest.daemon import serve
from vmdkvol_guest.ports import Devices
from vmdkvol_guest.settings import AgentSettings


def main(_: str, config: str, world: str) -> None:
    def devices(clock: Clock, owner: Callable[[], VmId | None]) -> Devices:
        from tests.vsphere.looped import LoopedDevices
        from tests.vsphere.outside import View, outside

        view = View(**json.loads(Path(world).read_text()))
        return LoopedDevices(clock, owner, partial(outside, view), Path(view.folder))

    serve(read_settings(AgentSettings, Path(config)), devices=devices)


if __name__ == "__main__":
    main(*sys.argv[1:])
