"""The folder of a site: its machines, its datastores, and what else a test puts there."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from uuid import uuid4

from tests.system.machine import Machine, machines
from vmdkvol.volume import VmId

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
