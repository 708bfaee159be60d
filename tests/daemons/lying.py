"""The service in its own process over a hypervisor that lies, or keeps silent, as the file beside its settings says.

Run as ``python -m tests.daemons.lying service --config FILE``; ``FILE.lie`` has one word of ``LIES``, or is not there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from vmdkvol.errors import OutcomeUnknown
from vmdkvol.settings import read_settings
from vmdkvol.volume import DiskUuid, LoopAddress, VmId
from vmdkvol_esx.ports import AttachedDisk, Change, DeviceLists, Disk, DiskRef, Hypervisor, TaskId

OTHER = DiskUuid(UUID(int=99))
LATE_S = 1.5


class Liar:
    """Asks its file before each call, so that a test sees the lie from the next call on."""

    def __init__(self, hypervisor: Hypervisor, file: Path) -> None:
        self._hypervisor = hypervisor
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hypervisor, name)

    def _lie(self) -> str:
        try:
            return self._file.read_text()
        except FileNotFoundError:
            return ""

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        lie = self._lie()
        if lie in _SUBMITS:
            return _SUBMITS[lie](self, change, operation)
        return self._hypervisor.submit(change, operation)

    def disk(self, ref: DiskRef) -> Disk | None:
        found, lie = self._hypervisor.disk(ref), self._lie()
        if found is None:
            return None
        if lie == "another-disk":
            return replace(found, ref=replace(ref, uuid=OTHER))
        if lie == "another-size":
            return replace(found, size_bytes=found.size_bytes // 2)
        return None if lie == "no-disk" else found

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        found, lie = self._hypervisor.devices(vms), self._lie()
        if lie not in _LISTS:
            return found
        return replace(found, lists={vm: tuple(_LISTS[lie](disks)) for vm, disks in found.lists.items()})

    # --- what a submit does instead --------------------------------------------------------------------------------

    def _late(self, change: Change, operation: UUID) -> TaskId | None:
        time.sleep(LATE_S)
        return self._hypervisor.submit(change, operation)

    def _twice(self, change: Change, operation: UUID) -> TaskId | None:
        self._hypervisor.submit(change, operation)
        return self._hypervisor.submit(change, operation)

    def _never(self, change: Change, operation: UUID) -> TaskId | None:
        while self._lie() == "never":
            time.sleep(0.05)
        return self._hypervisor.submit(change, operation)

    def _lost(self, change: Change, operation: UUID) -> TaskId | None:
        self._hypervisor.submit(change, operation)
        raise OutcomeUnknown("the answer was lost")

    def _not_done(self, change: Change, operation: UUID) -> TaskId | None:
        return None


_SUBMITS: Mapping[str, Callable[[Liar, Change, UUID], TaskId | None]] = {
    "late": Liar._late,
    "twice": Liar._twice,
    "never": Liar._never,
    "lost": Liar._lost,
    "not-done": Liar._not_done,
}


def _nothing(disks: tuple[AttachedDisk, ...]) -> tuple[AttachedDisk, ...]:
    return ()


def _another(disks: tuple[AttachedDisk, ...]) -> tuple[AttachedDisk, ...]:
    return tuple(replace(disk, uuid=OTHER) for disk in disks)


def _elsewhere(disks: tuple[AttachedDisk, ...]) -> tuple[AttachedDisk, ...]:
    return tuple(replace(disk, address=LoopAddress(199999)) for disk in disks)


_LISTS: Mapping[str, Callable[[tuple[AttachedDisk, ...]], tuple[AttachedDisk, ...]]] = {
    "an-empty-list": _nothing,
    "another-disk-in-the-list": _another,
    "another-address": _elsewhere,
}
LIES = frozenset({"another-disk", "another-size", "no-disk", *_SUBMITS, *_LISTS})


def main(_kind: str, _option: str, config: str, *_point: str) -> None:
    from vmdkvol_esx.daemon import serve
    from vmdkvol_esx.settings import ServiceSettings

    file = Path(f"{config}.lie")
    serve(read_settings(ServiceSettings, Path(config)), around=lambda hypervisor: cast(Hypervisor, Liar(hypervisor, file)))


if __name__ == "__main__":
    main(*sys.argv[1:])
