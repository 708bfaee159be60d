"""A service on a simulator that dies after a call of the API, and what the next one finds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from tests.unit.esx.site import A, Killed
from tests.vsphere.disk_world import DS, PLAIN
from tests.vsphere.outside import Outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Call, CreateVolume, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import State
from vmdkvol_esx import sidecar
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.requests import Requests, make_verbs
from vmdkvol_esx.store import open_store
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor
from vmdkvol_esx.vsphere.labels import NEW_SIDECAR, SIDECAR, disk_of
from vmdkvol_esx.vsphere.session import Session


class Mortal:
    """A session whose process dies after the ``nth`` call of it; then nothing of that process does anything any more."""

    def __init__(self, inner: Session[Service], nth: int | None) -> None:
        self._inner = inner
        self._nth = nth
        self.calls: list[str] = []

    @property
    def generation(self) -> int:
        return self._inner.generation

    def read(self, what: str, *args: Any, **kwargs: Any) -> Any:
        return self._ask(what, lambda: self._inner.read(what, *args, **kwargs))

    def change(self, what: str, *args: Any, **kwargs: Any) -> Any:
        return self._ask(what, lambda: self._inner.change(what, *args, **kwargs))

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        if threading.current_thread().name == "vsphere-tasks":
            return call()
        if self._nth is not None and len(self.calls) > self._nth:
            raise Killed(what)
        answer: Any = None
        try:
            answer = call()
        finally:
            self.calls.append(what)
        if self._nth is not None and len(self.calls) > self._nth:
            raise Killed(what)
        return answer


@dataclass
class Site:
    """A service on the simulator, its database in memory."""

    simulator: Simulator
    outside: Outside
    stage: Stage

    def __post_init__(self) -> None:
        self.store: Any = open_store(None, CLOCK)
        self.volumes: set[UUID] = set()
        self.restart()

    def restart(self, nth: int | None = None) -> None:
        """A new process over what the old one left; ``nth``: it dies after so many calls of the API."""
        inner = self.stage.session(self.simulator.port, Trust(ca=self.simulator.ca), password=self.simulator.password)
        session: Any = Mortal(inner, nth)
        self.session = session
        self.hypervisor = VsphereHypervisor(session, [DS], [], CLOCK, self.stage.log)
        parts = Parts(self.store, self.hypervisor, Lanes(CLOCK, "volume"), CLOCK, uuid4, self.stage.log)
        verbs = make_verbs(parts, notify=lambda vm, notice: False, retention_s=0.0)
        self.journal = verbs.journal
        self.requests = Requests(verbs)
        self.housekeeping = Housekeeping(parts, verbs.journal, verbs.removing, verbs.whereabouts, retention_s=0.0, every_s=60.0)

    def ask(self, request: Request[Any]) -> Any:
        return self.requests.answer(request, Call(uuid4(), soon(), A))

    def settle(self) -> None:
        """Let the next process look until no work is open."""
        for _ in range(40):
            self.housekeeping.scan()
            if not self.store.open_intents():
                return
            CLOCK.sleep(0.25)

    def records(self) -> list[VolumeRecord]:
        return list(self.store.page(None, None, 1000))

    def lying(self) -> dict[str, set[str]]:
        """Return the endings of what lies in our folder, by disk."""
        found: dict[str, set[str]] = {}
        top = self.outside.file(f"[{DS}] vmdkvol")
        for file in (each for each in top.rglob("*") if each.is_file()):
            belongs = disk_of(str(file.relative_to(top.parent)))
            assert belongs is not None, file
            found.setdefault(belongs[0], set()).add(belongs[1])
        return found

    def check_settled(self) -> None:
        """No work is open; each record has its whole disk, and nothing else of ours lies anywhere."""
        assert list(self.store.open_intents()) == []
        records = self.records()
        # A sidecar may lie under the name under which it is written: it is read there too, and the next write moves it.
        plain = {path: endings - {SIDECAR, NEW_SIDECAR} for path, endings in self.lying().items()}
        assert plain == {record.path: set(PLAIN) for record in records}
        for record in records:
            assert record.state is State.READY
            assert self.hypervisor.disk(disk_ref(record)) is not None
            content = self.hypervisor.read_sidecar(disk_path(record))
            assert content is not None
            assert sidecar.decode(content).disk_uuid == record.disk_uuid


def named(name: str, **options: str) -> CreateVolume:
    return CreateVolume(
        VolumeRef.parse(name), CreateOptions.parse({key.replace("_", "-"): value for key, value in options.items()})
    )
