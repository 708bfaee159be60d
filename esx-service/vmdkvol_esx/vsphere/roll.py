"""Who is there: every virtual machine in one light read, and by which id the server calls each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import Log
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.inventory import Glimpse, Inventory
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.shared import Shared


@dataclass(frozen=True, slots=True)
class Called:
    """``doubles`` are ids that two machines have; ``doubtful``: one does not say who it is, so nobody is surely absent."""

    seen: Mapping[VmId, Glimpse]
    doubles: frozenset[VmId] = frozenset()
    doubtful: bool = False


class Roll:
    """Safe for any number of threads."""

    def __init__(self, session: Session[Service], clock: Clock, log: Log, inventory: Inventory) -> None:
        self._session = session
        self._log = log
        self._inventory = inventory
        self._changed = clock.condition()
        self._calls: Shared[Called] = Shared(clock, "looking at all virtual machines")
        # Who a machine was when it last said it, both ways.
        self._ids: dict[str, VmId] = {}
        self._refs: dict[VmId, str] = {}
        self._told: frozenset[str] = frozenset()

    def call(self, deadline: Deadline) -> Called:
        """Return all machines as a read shows them that began after this was asked for."""

        def read(deadline: Deadline) -> Called:
            return self._sorted(self._session.read("looking at all virtual machines", self._inventory.glimpses, deadline))

        return self._calls.get(read, deadline)

    def hidden(self, vms: Iterable[VmId], deadline: Deadline) -> frozenset[VmId]:
        """Return those of machines that are not seen any more of which the server does not say that they are gone.

        An account that may see less than before sees a smaller site, and not one that something happened to.
        """
        lost = {vm: ref for vm in vms if (ref := self.ref(vm)) is not None}
        gone = {vm for vm, ref in lost.items() if self._gone(vm, ref, deadline)}
        self.forget(gone)
        return frozenset(lost.keys() - gone)

    def _gone(self, vm: VmId, ref: str, deadline: Deadline) -> bool:
        try:
            what = f"looking for virtual machine {vm}, which is not seen any more"
            return self._session.read(what, lambda service: self._inventory.gone(service, ref), deadline)
        except VolumeError as error:
            self._log.warning("machine not seen any more", vm=str(vm), error=str(error))
            return False

    def lately(self, vm: VmId, within_s: float) -> Glimpse | None:
        """Return the machine as it was seen within the last seconds; None if it was not."""
        called = self._calls.last(within_s)
        return None if called is None else called.seen.get(vm)

    def double(self, vm: VmId) -> bool:
        """Tell whether two machines had this id when all were last seen."""
        called = self._calls.last()
        return called is not None and vm in called.doubles

    def ref(self, vm: VmId) -> str | None:
        """Return what the server called the machine when it was last seen; whoever uses it checks ``same``."""
        return self._refs.get(vm)

    def same(self, vm: VmId, seen: Glimpse) -> bool:
        """Tell whether it is this machine; one that does not say is who it was."""
        return seen.id == vm or (seen.id is None and self._ids.get(seen.ref) == vm)

    def remember(self, refs: Mapping[VmId, str]) -> None:
        with self._changed:
            for vm, ref in refs.items():
                self._refs[vm], self._ids[ref] = ref, vm

    def forget(self, vms: Iterable[VmId]) -> None:
        """The server calls these otherwise now, or does not know them."""
        with self._changed:
            for vm in vms:
                self._refs.pop(vm, None)

    def _sorted(self, found: Sequence[Glimpse]) -> Called:
        seen: dict[VmId, Glimpse] = {}
        doubles: set[VmId] = set()
        told: set[str] = set()
        doubtful = False
        for each in found:
            vm = each.id or self._ids.get(each.ref)
            if vm is None:
                doubtful = True
                told.add(f"virtual machine {each.name} ({each.ref}) does not say who it is")
            elif vm in seen:
                doubles.add(vm)
                told.add(f"virtual machines {seen[vm].name} and {each.name} have one id, {vm}")
            else:
                seen[vm] = each
        self.remember({vm: each.ref for vm, each in seen.items()})
        for line in sorted(told - self._told):
            self._log.warning(line)
        self._told = frozenset(told)
        return Called(seen, frozenset(doubles), doubtful)
