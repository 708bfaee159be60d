"""The real service, on the machines of a site: ``python -m tests.system.service SETTINGS MACHINES``, until SIGTERM."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.system.hypervisor import QemuHypervisor
from vmdkvol.clock import SystemClock
from vmdkvol.settings import read_settings
from vmdkvol_esx.daemon import serve
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.ports import Hypervisor
from vmdkvol_esx.settings import ServiceSettings


def main(config: str, machines: str) -> None:
    settings = read_settings(ServiceSettings, Path(config))

    def instead(_: Hypervisor) -> Hypervisor:
        stores = [LocalDatastore(each.name, each.path) for each in settings.datastores]
        return QemuHypervisor(stores, Path(machines), SystemClock())

    serve(settings, around=instead)


if __name__ == "__main__":
    main(*sys.argv[1:])
