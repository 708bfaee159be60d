"""The real service, on the machines of a site: ``python -m tests.system.service SETTINGS MACHINES VSOCK DELAYS``.

It serves until SIGTERM. DELAYS is JSON: seconds that changes take longer, by their kind. What it is to listen at on vsock
arrives at a Unix socket, ``VSOCK_PORT``, from tests.system.vsock.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import cast

from tests.bench.around import Around
from tests.system.hypervisor import QemuHypervisor
from vmdkvol import channel
from vmdkvol.addresses import Address, UnixAddress, VsockAddress
from vmdkvol.channel import Listener, Peer
from vmdkvol.clock import SystemClock
from vmdkvol.settings import read_settings
from vmdkvol_esx.daemon import serve
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.ports import Hypervisor
from vmdkvol_esx.settings import ServiceSettings

# "PEER <cid> <port>" stands for what the kernel says of a caller.
_LONGEST = 64
_PEER_S = 5.0


class VsockListener:
    """Stands for a socket that listens on vsock, in every context."""

    def __init__(self, address: VsockAddress, base: str) -> None:
        self.address = address
        self._inner = channel.listen(UnixAddress(Path(f"{base}_{address.port}")))

    def fileno(self) -> int:
        return self._inner.fileno()

    def accept(self) -> tuple[socket.socket, Peer]:
        accepted, _ = self._inner.accept()
        accepted.settimeout(_PEER_S)
        line = b""
        while not line.endswith(b"\n"):
            byte = accepted.recv(1)
            if not byte or len(line) > _LONGEST:
                accepted.close()
                raise BlockingIOError("the caller is gone")
            line += byte
        accepted.setblocking(False)
        cid, port = map(int, line.split()[1:])
        return accepted, Peer(None, cid, str(VsockAddress(cid, port)))

    def close(self) -> None:
        self._inner.close()


def main(config: str, machines: str, vsock: str, delays: str) -> None:
    settings = read_settings(ServiceSettings, Path(config))

    def instead(_: Hypervisor) -> Hypervisor:
        stores = [LocalDatastore(each.name, each.path) for each in settings.datastores]
        made = QemuHypervisor(stores, Path(machines), SystemClock())
        longer = json.loads(delays)
        return cast(Hypervisor, Around(made, None, longer)) if longer else made

    def listen(address: Address) -> Listener:
        return VsockListener(address, vsock) if isinstance(address, VsockAddress) else channel.listen(address)

    serve(settings, around=instead, listen=listen)


if __name__ == "__main__":
    main(*sys.argv[1:])
