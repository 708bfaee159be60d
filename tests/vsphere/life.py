"""A whole service over a simulator: the use cases, a database in memory, the adapter for vSphere, housekeeping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from tests.unit.esx.site import Kept
from tests.vsphere.outside import Outside, attached
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.clock import Deadline
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Attach, Call, CreateVolume, Detach, GetVolume, RemoveVolume, Request
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.notices import Notice
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point, pass_by
from vmdkvol.volume import DEFAULT_VMGROUP, Attachment, VmId, VolumeId, VolumeInfo
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.requests import Requests, Verbs, make_verbs
from vmdkvol_esx.store import SqlStore, open_store
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor

DS, OTHER = DatastoreName("LocalDS_0"), DatastoreName("LocalDS_1")


class Life:
    """``a`` and ``b`` are registered Docker hosts, ``stranger`` is a machine of somebody else's; no agent runs on any."""

    def __init__(self, simulator: Simulator, outside: Outside, stage: Stage) -> None:
        self.simulator = simulator
        self.outside = outside
        self._stage = stage
        self.refs = {VmId(UUID(vm.config.instanceUuid)): vm for vm in outside.machines()}
        self.a, self.b, self.stranger = list(self.refs)[:3] if len(self.refs) > 2 else [*self.refs, VmId(uuid4())]
        self.store: SqlStore = open_store(None, CLOCK)
        self.log = Kept()
        self.housekeeping: Housekeeping
        self.hypervisor: VsphereHypervisor
        self.verbs: Verbs
        self._running = False
        self.restart()

    def restart(self, at: Callable[[Point], None] = pass_by, *, logged_out: bool = True) -> None:
        """A new process over what the old one left: the database, and everything on the server.

        Its session too unless it is ``logged_out``: what a session's tasks have not done by then the simulator does not do.
        """
        if self._running and logged_out:
            self.hypervisor.stop(soon(20.0))
        session = self._stage.session(self.simulator.port, Trust(ca=self.simulator.ca), password=self.simulator.password)
        self.hypervisor = VsphereHypervisor(session, [DS, OTHER], [self.a, self.b], CLOCK, self.log, self.store)
        self.store.set_default_datastore(DEFAULT_VMGROUP, DS)
        parts = Parts(self.store, self.hypervisor, Lanes(CLOCK, "volume"), CLOCK, uuid4, self.log, at)
        self.verbs = make_verbs(parts, notify=self._notify, retention_s=0.0)
        self.requests = Requests(self.verbs)
        self.housekeeping = Housekeeping(
            parts, self.verbs.journal, self.verbs.removing, self.verbs.whereabouts, retention_s=0.0, every_s=600.0
        )
        self.housekeeping.settle_all()
        self._running = True

    def close(self) -> None:
        self.housekeeping.stop(soon())
        self.hypervisor.stop(soon())
        self.store.close()

    def _notify(self, vm: VmId, notice: Notice) -> bool:
        # The holder's agent says at once that it uses the disk.
        self.verbs.handover.kept(vm, notice.volume)
        return True

    # --- what guests ask -----------------------------------------------------------------------------------------

    def ask(self, request: Request[Any], vm: VmId) -> Any:
        return self.requests.answer(request, Call(uuid4(), soon(), vm))

    def create(self, name: str, /, **opts: str) -> VolumeId:
        options = CreateOptions.parse({key.replace("_", "-"): value for key, value in opts.items()})
        info: VolumeInfo = self.ask(CreateVolume(VolumeRef.parse(name), options), self.a)
        return info.id

    def get(self, name: str) -> VolumeInfo:
        info: VolumeInfo = self.ask(GetVolume(VolumeRef.parse(name)), self.a)
        return info

    def attach(self, volume: VolumeId, vm: VmId) -> Attachment:
        attachment: Attachment = self.ask(Attach(volume), vm)
        return attachment

    def detach(self, attachment: Attachment, vm: VmId) -> None:
        self.ask(Detach(attachment.volume, attachment.generation), vm)

    def remove(self, volume: VolumeId) -> None:
        self.ask(RemoveVolume(volume), self.a)

    # --- what a test does and sees from outside ------------------------------------------------------------------

    def happens(self, vm: VmId, do: str, **more: str) -> None:
        self.simulator.machine(self.refs[vm]._moId, do, **more)

    def path(self, volume: VolumeId) -> str:
        record = self.record(volume)
        return f"[{record.datastore}] {record.path}"

    def record(self, volume: VolumeId) -> VolumeRecord:
        record = self.store.volume(volume)
        assert record is not None
        return record

    def has(self, vm: VmId, volume: VolumeId) -> bool:
        """Tell whether the machine's device list, seen by another client, has the volume's file."""
        return self.path(volume) in [disk.backing.fileName for disk in attached(self.refs[vm])]

    def reconfigures(self) -> int:
        return self.simulator.calls().get("ReconfigVM_Task", 0)

    def until(self, there: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        given_up = Deadline.after(CLOCK, seconds)
        while not there():
            assert not given_up.passed, what
            CLOCK.sleep(0.05)
