"""Disks come to virtual machines, grow there and leave: one reconfigure of a machine at a time, with whatever waits for it.

A reconfigure that fails carries out none of its changes, as far as is known; so each is looked at again, and what is not done
goes once more alone, so that everybody gets a fault of his own. A change is sent again only after the server said how the
one before it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import (
    Busy,
    HypervisorUnreachable,
    NoFreeSlot,
    NotEnrolled,
    StillWorking,
    UnknownTask,
    VolumeError,
    VolumeInUse,
)
from vmdkvol.messages import untold
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachDisk, DetachDisk, Log, Progress, TaskId
from vmdkvol_esx.vsphere.batches import Move, Plan, plan
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.machine import Machine
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.moves import Knows, Sent, Wishes, copied, move_of, receipt_of, was_moved, what
from vmdkvol_esx.vsphere.queues import Arrival, Member, Queue
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.retries import IN_DOUBT, Tries, anothers, has_ended
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.specs import config_spec

# What submit may take: the reconfigure before it, and its own calls.
SUBMIT_S = 150.0
# The reconfigure before is waited for so long; then the server is asked, which says that it is busy.
FLIGHT_S = 60.0
# Others look at their disks: less than a reconfigure takes that they would make necessary.
GATHER_S = 0.1
# For reading the machine and for starting its reconfigure.
LEAD_S = 60.0
# Of what was started and not waited for to the end: what a restart forgets too.
_REMEMBERED = 4096


class Waits(Protocol):
    """See ``tasks.Waiter``."""

    def wait(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object: ...


class Reconfiguring:
    """Attaches, detaches, enlarges, lays policies on. Safe for any number of threads; has none of its own."""

    def __init__(
        self,
        session: Session[Service],
        waiter: Waits,
        machines: Machines,
        clock: Clock,
        log: Log,
        disks: Knows,
        profiles: Wishes,
        flight_s: float = FLIGHT_S,
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._machines = machines
        self._clock = clock
        self._log = log
        self._disks = disks
        self._flight_s = flight_s
        self._profiles = profiles
        self._lock = clock.condition()
        self._queues: dict[VmId, Queue] = {}
        self._sent: dict[tuple[TaskId, DiskUuid], Sent] = {}

    def submit(self, move: Move, operation: UUID) -> Receipt | None:
        """Start the change, alone or with others; None says that it is done already. As ``Hypervisor.submit``."""
        tries = Tries(self._clock, Deadline.after(self._clock, SUBMIT_S))
        with self._queue(move.vm).expecting() as arrival:
            if isinstance(move, AttachDisk) and self._is_there(move, tries.deadline, str(operation)):
                return None
            sent = self._carry(move, str(operation), tries, arrival)
        if sent is None:
            return None
        self._remember((sent.task, move.disk.uuid), sent)
        return receipt_of(move, sent.task)

    def finish(self, receipt: Receipt, deadline: Deadline, progress: Progress) -> None:
        """Return when the change is done; as ``Hypervisor.wait``.

        One that failed with others, or because somebody else worked on the machine, is made again before an error is
        told. After a restart it is not known what an attach was to be, and whether it went with others: then it is
        there, or UnknownTask.
        """
        key = (receipt.task, receipt.disk.uuid)
        sent = self._sent.get(key)
        known = sent is not None or receipt.job is not Job.ATTACH
        sent = sent or Sent(move_of(receipt), "", receipt.task, shared=True)
        tries: Tries | None = None
        while True:
            try:
                self._wait(sent, deadline, progress)
                break
            except VolumeError as error:
                without = self._profiles.dropped(sent.move, error, shared=sent.shared)
                if not without and not has_ended(error, shared=sent.shared):
                    raise
                if not known:
                    self._look(sent.move, deadline, error)
                    break
                tries = tries or Tries(self._clock, deadline)
                if not tries.again(error, shared=sent.shared, another=without):
                    raise self._own(sent, error) from error
            again = self._carry(sent.move, sent.operation, tries)
            if again is None:
                break
            sent = again
            self._remember(key, sent)
        self._profiles.came(sent.move)
        with self._lock:
            self._sent.pop(key, None)

    def waiting(self, vm: VmId) -> int:
        """Return how many changes wait for a reconfigure of this machine."""
        return self._queue(vm).waiting

    # --- one change --------------------------------------------------------------------------------------------

    def _is_there(self, move: AttachDisk, deadline: Deadline, operation: str) -> bool:
        """Check the disk at the path; True if the machine has it, wherever its file lies now, open and not to be asked too."""
        try:
            self._disks.check(move.disk, deadline, operation)
        except VolumeError:
            machine = self._machines.one(move.vm, deadline, operation)
            if machine is None or not any(disk.uuid == move.disk.uuid for disk in machine.disks):
                raise
            return True
        return False

    def _carry(self, move: Move, operation: str, tries: Tries, arrival: Arrival | None = None) -> Sent | None:
        """Bring the change through its machine's queue, again where that helps; None if it is done already."""
        while True:
            path = self._disks.spelled(move.disk.path, tries.deadline) if isinstance(move, AttachDisk) else ""
            profile = self._profiles.of(move, tries.deadline)
            member = Member(move, operation, path, alone=tries.alone, again=tries.made > 0, profile=profile)
            self._queue(move.vm).through(member, self._lead, tries.deadline, arrival)
            if member.error is None:
                return None if member.task is None else Sent(move, operation, member.task, member.shared)
            sent = Sent(move, operation, TaskId(""), member.shared)
            without = self._profiles.dropped(move, member.error, shared=member.shared)
            if isinstance(member.error, IN_DOUBT) and not without:
                raise self._own(sent, member.error)
            if not tries.again(member.error, shared=member.shared, another=without):
                raise self._own(sent, member.error)

    def _wait(self, sent: Sent, deadline: Deadline, progress: Progress) -> None:
        try:
            self._waiter.wait(sent.task, what(sent.move), deadline, progress)
        except (StillWorking, HypervisorUnreachable):
            raise
        except VolumeError:
            self._queue(sent.move.vm).landed(sent.task)
            raise
        self._queue(sent.move.vm).landed(sent.task)

    def _own(self, sent: Sent, error: VolumeError) -> VolumeError:
        """Return the error that is this change's own: never another's fault, and with the holder's name."""
        if isinstance(error, IN_DOUBT):
            return error
        if anothers(error, shared=sent.shared):
            return Busy(f"{what(sent.move)}: it failed together with others, and no time was left to do it alone")
        if isinstance(sent.move, AttachDisk) and error.fields.get("meaning") == Meaning.HELD.name:
            holder = self._machines.holder_of(sent.move.disk)
            if holder is not None:
                return VolumeInUse(f"{sent.move.disk.path} is attached to {holder}", holder=holder)
        return error

    def _look(self, move: Move, deadline: Deadline, error: VolumeError) -> None:
        """Return if the machine has the disk of an attach that failed, of which no more is known."""
        machine = self._machines.one(move.vm, deadline)
        if machine is None or not any(disk.uuid == move.disk.uuid for disk in machine.disks):
            raise UnknownTask(f"{what(move)}: its task failed, perhaps for another's sake: {error.text}") from error

    # --- one reconfigure ---------------------------------------------------------------------------------------

    def _lead(self, queue: Queue) -> None:
        self._await_flight(queue)
        queue.gather(Deadline.after(self._clock, GATHER_S))
        batch = queue.batch()
        try:
            self._reconfigure(queue, batch, Deadline.after(self._clock, LEAD_S))
        except VolumeError as error:
            for member in batch:
                if not member.ended:
                    queue.end(member, error=copied(error))

    def _await_flight(self, queue: Queue) -> None:
        task = queue.flight
        if task is None:
            return
        try:
            self._waiter.wait(task, "the reconfigure before", Deadline.after(self._clock, self._flight_s), untold)
        except VolumeError as error:
            # Whoever it belongs to is told; if it still runs, the server will say that it is busy.
            self._log.info("the reconfigure before", task=task, error=str(error))
        queue.landed(task)

    def _reconfigure(self, queue: Queue, batch: Sequence[Member], deadline: Deadline) -> None:
        vm = batch[0].move.vm
        machine = self._seen(batch) or self._machines.one(vm, deadline, batch[0].operation)
        if machine is None:
            for member in batch:
                gone = None if isinstance(member.move, DetachDisk) else NotEnrolled(f"there is no virtual machine {vm}")
                queue.end(member, error=gone)
            return
        for member in batch:
            if (moved := was_moved(member.move, machine, self._machines.located)) is not None:
                queue.end(member, error=moved)
        batch = [member for member in batch if not member.ended]
        moves = [member.move for member in batch]
        planned = self._planned(machine, moves, deadline)
        for number in planned.done:
            queue.end(batch[number])
        for number, error in planned.refused.items():
            queue.end(batch[number], error=error)
        for number in planned.full:
            queue.end(batch[number], error=NoFreeSlot(f"virtual machine {machine.name} has no free disk slot"))
        if planned.taken:
            self._start(queue, machine, batch, planned, deadline)

    def _seen(self, batch: Sequence[Member]) -> Machine | None:
        """Return the machine as whoever looked who has the disk saw it a moment ago, if that will do; None: read it.

        It will for attaches that are tried for the first time, if all of them are to be carried out: then the server
        refuses them should its configuration have changed. Nothing else is told from an older look.
        """
        if not all(isinstance(member.move, AttachDisk) and not member.again for member in batch):
            return None
        machine = self._machines.lately(batch[0].move.vm)
        if machine is None or len(plan(machine, [member.move for member in batch]).taken) < len(batch):
            return None
        return machine

    def _planned(self, machine: Machine, moves: Sequence[Move], deadline: Deadline) -> Plan:
        planned = plan(machine, moves)
        if not planned.full:
            return planned
        try:
            return plan(machine, moves, self._machines.disks_per_controller(machine, deadline))
        except VolumeError as error:
            self._log.info("not said what a machine bears", machine=machine.name, error=str(error))
            return planned

    def _start(self, queue: Queue, machine: Machine, batch: Sequence[Member], planned: Plan, deadline: Deadline) -> None:
        taken = [batch[number] for number in sorted(planned.taken)]
        spec = config_spec(
            machine,
            [member.move for member in batch],
            planned,
            [member.path for member in batch],
            [member.profile for member in batch],
        )
        doing = what(taken[0].move) if len(taken) == 1 else f"reconfiguring {machine.name} for {len(taken)} disks"
        try:
            task = self._session.change(doing, partial(_begin, machine.ref, spec), deadline, operation=taken[0].operation)
        except VolumeError as error:
            for member in taken:
                queue.end(member, error=copied(error), shared=len(taken) > 1)
            return
        finally:
            self._machines.changed(machine)
        queue.flight = task
        for member in taken:
            queue.end(member, task=task, shared=len(taken) > 1)

    def _queue(self, vm: VmId) -> Queue:
        with self._lock:
            return self._queues.setdefault(vm, Queue(self._clock))

    def _remember(self, key: tuple[TaskId, DiskUuid], sent: Sent) -> None:
        with self._lock:
            self._sent[key] = sent
            while len(self._sent) > _REMEMBERED:
                del self._sent[next(iter(self._sent))]


def _begin(ref: str, spec: Any, service: Service) -> TaskId:
    return TaskId(vim.VirtualMachine(ref, service.stub).ReconfigVM_Task(spec)._moId)
