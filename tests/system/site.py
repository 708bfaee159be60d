"""The folder of a site: its machines, its datastores, and what else a test puts there."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.daemons.site import listens
from tests.system.machine import Machine, machines
from vmdkvol.volume import VmId

ROOT = Path(__file__).parents[2]
_START_S = 60.0
# 0 to 2 are the protocol's own (linux/vm_sockets.h).
_FIRST_CONTEXT = 10


class Site:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.machines_folder = root / "vm"
        self._numbers = itertools.count(1)

    def machine(self, name: str, id: VmId | None = None) -> Machine:
        """A new machine, switched off, without disks."""
        context = _FIRST_CONTEXT + len(machines(self.machines_folder))
        return Machine.make(self.machines_folder / name, name, id or VmId(uuid4()), context)

    def vmdk(self, size_mib: int = 8) -> Path:
        """A new, blank disk that no hypervisor knows."""
        path = self.root / f"disk-{next(self._numbers)}.vmdk"
        command = ["qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", str(path), f"{size_mib}M"]
        subprocess.run(command, check=True)
        return path

    @property
    def vsock_base(self) -> str:
        """What the machines' calls on vsock arrive at, with ``_PORT`` behind it (tests.system.vsock)."""
        return str(self.root / "host")

    @contextmanager
    def vsock(self, machine: Machine, base: str | None = None, bridges: Mapping[int, Path] | None = None) -> Iterator[Path]:
        """A vsock device for this machine, for all its lives: the socket for its ``Hardware``, or ``Guest.give_vsock``.

        ``base``: where its calls arrive instead of ``vsock_base``. ``bridges``: ports that lead neither here nor there but to
        a plain Unix socket of this computer.
        """
        device = machine.folder / "vsock"
        command = [sys.executable, "-m", "tests.system.vsock", str(machine.context_id), str(device), base or self.vsock_base]
        command += [f"{port}={path}" for port, path in (bridges or {}).items()]
        with (machine.folder / "vsock.log").open("ab") as log:
            backend = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            until = time.monotonic() + _START_S
            while not listens(device):
                said = (machine.folder / "vsock.log").read_text(errors="replace")
                assert backend.poll() is None, f"the vsock device ended:\n{said}"
                assert time.monotonic() < until, f"the vsock device does not come up:\n{said}"
                time.sleep(0.02)
            yield device
            assert backend.poll() is None, f"the vsock device ended:\n{(machine.folder / 'vsock.log').read_text()}"
        finally:
            assert backend.stdin is not None
            backend.stdin.close()
            try:
                backend.wait(_START_S)
            finally:
                backend.kill()
