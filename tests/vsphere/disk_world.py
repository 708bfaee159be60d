"""Disks on a simulator: ours on one side, a client of its own to look from outside on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests.vsphere.outside import Outside, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DeleteDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere import labels
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.disks import Disks, OnDisk
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.labels import Label
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.policies import Policies
from vmdkvol_esx.vsphere.receipts import Receipt
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.tasks import Waiter

DS = DatastoreName("LocalDS_0")
OTHER_DS = DatastoreName("LocalDS_1")
MIB = 1 << 20
GROUP = UUID(int=1)


def new_ref(datastore: DatastoreName = DS) -> DiskRef:
    """A disk that is not there yet; its identity has VMware's prefix, as all new ones have."""
    uuid = uuid4()
    own = UUID(hex="6000c29" + uuid.hex[7:])
    return DiskRef(DiskUuid(own), DiskPath(datastore, f"vmdkvol/{GROUP}/db-{uuid.hex[:8]}.vmdk"))


class Hooked:
    """A session that lets something happen just before a call, by the beginning of what the call is for; once."""

    def __init__(self, inner: Session[Service], before: dict[str, Callable[[], object]]) -> None:
        self._inner = inner
        self._before = before

    @property
    def generation(self) -> int:
        return self._inner.generation

    def read(self, what: str, *args: Any, **kwargs: Any) -> Any:
        self._happen(what)
        return self._inner.read(what, *args, **kwargs)

    def change(self, what: str, *args: Any, **kwargs: Any) -> Any:
        self._happen(what)
        return self._inner.change(what, *args, **kwargs)

    def _happen(self, what: str) -> None:
        for start in [start for start in self._before if what.startswith(start)]:
            self._before.pop(start)()


@dataclass
class World:
    simulator: Simulator
    outside: Outside
    disks: Disks
    places: Places
    stage: Stage
    again: Callable[[], tuple[Disks, Places]]
    before: dict[str, Callable[[], object]]
    policies: Policies
    progress: list[int] = field(default_factory=list)

    def restart(self) -> None:
        """Our process is another one: it remembers nothing."""
        self.disks, self.places = self.again()

    def begin(self, change: OnDisk) -> Receipt | None:
        return self.disks.submit(change, uuid4())

    def do(self, change: OnDisk) -> None:
        receipt = self.begin(change)
        if receipt is not None:
            self.disks.finish(receipt, soon(), self.progress.append)

    def made(
        self,
        *,
        size: int = 4 * MIB,
        datastore: DatastoreName = DS,
        note: Mapping[str, str] | None = None,
        diskformat: str = "thin",
    ) -> DiskRef:
        ref = new_ref(datastore)
        self.do(CreateDisk(ref, size, diskformat, note or {"name": "db"}))
        return ref

    def cloned(self, source: DiskRef, diskformat: str = "thin") -> DiskRef:
        ref = new_ref(source.path.datastore)
        self.do(CloneDisk(source, ref, diskformat, {"name": "clone"}))
        return ref

    def deleted(self, ref: DiskRef) -> None:
        self.do(DeleteDisk(ref))

    def file(self, ref: DiskRef, ending: str = ".vmdk") -> Path:
        """Return where a file of the disk lies on this machine, or would lie."""
        return self.outside.file(str(DiskPath(ref.path.datastore, labels.beside(ref.path.path, ending))))

    def lying(self, ref: DiskRef) -> set[str]:
        """Return the endings of the disk's files that are there."""
        return {ending for ending in labels.TRACES if self.file(ref, ending).exists()}

    def label(self, ref: DiskRef) -> Label:
        return labels.decode(self.file(ref, labels.LABEL).read_bytes(), "label")

    def put_label(self, ref: DiskRef, label: Label | bytes) -> None:
        """Write it past us."""
        file = self.file(ref, labels.LABEL)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(label if isinstance(label, bytes) else labels.encode(label))

    def strange(self, ref: DiskRef, kib: int = 4096) -> None:
        """Let somebody else make a disk at the path."""
        self.file(ref).parent.mkdir(parents=True, exist_ok=True)
        self.outside.create(str(ref.path), kib)

    def calls(self, method: str) -> int:
        return self.simulator.calls().get(method, 0)


LABEL_OF_ANOTHER = Label(DiskUuid(uuid4()), MIB, "thin", {})
PLAIN = frozenset({".vmdk", "-flat.vmdk", ".vmdkvol.label"})


@contextmanager
def world_of(simulator: Simulator, stage: Stage) -> Iterator[World]:
    before: dict[str, Callable[[], object]] = {}

    def again() -> tuple[Disks, Places]:
        inner = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
        session: Any = Hooked(inner, before)
        places = Places(session, [DS, OTHER_DS], {}, CLOCK)
        waiter = Waiter(session, CLOCK, stage.log)
        identities = Identities(session, places, CLOCK)
        machines = Machines(session, CLOCK, stage.log, [], identities.identify, places.located)
        policies = Policies(session, CLOCK)
        disks = Disks(session, waiter, places, CLOCK, stage.log, policies, machines.holder_of, identities, machines.size_of)
        return disks, places

    with ExitStack() as stack:
        disks, places = again()
        own = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
        policies = Policies(own, CLOCK)
        yield World(simulator, stack.enter_context(outside(simulator)), disks, places, stage, again, before, policies)


__all__ = ["DS", "GROUP", "LABEL_OF_ANOTHER", "MIB", "OTHER_DS", "PLAIN", "World", "new_ref", "untold", "world_of"]
