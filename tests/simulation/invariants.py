"""The oracle: what must hold of disks, kernels and answers, judged by the truth of the doubles and never by the product.

I1 no data loss, I2 single writer, I3 no leaked attach, I4 no orphan, I5 convergence, I6 truthful answers, I7 isolation,
I8 bounded answers, I9 clear errors, I10 idempotent. I3, I4 in full and I5 speak of quiet times: ``quiet`` has them. What
is broken is collected in ``broken``, since a product thread may well swallow an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass, field
from uuid import UUID

from tests.doubles.memory_guest import Disks, MemoryGuest
from tests.doubles.simulated_hypervisor import Truth
from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, Conflict, Denied, Exhausted, NotFound, StaleRequest, VolumeError
from vmdkvol.sizes import parse_size
from vmdkvol.volume import Content, DiskUuid, State, VmId, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.ports import CloneDisk, Disk, DiskPath, DiskRef

# Docker itself waits 120 s and 60 s; ours come before (D11).
LIMITS = {"create": 110.0, "mount": 110.0, "unmount": 50.0, "remove": 50.0, "get": 2.0, "list": 2.0}
# An answer may be on its way for as long as it takes somebody else's turn; virtual time does not pass in a turn.
GRACE_S = 0.5
# Longer ones are cut by Docker's own line (N22).
MAX_ERROR = 300
# Errors that say what is; after any other one the call's effect may still come.
DEFINITE = (BadRequest, NotFound, Conflict, Denied, Exhausted)

ABSENT, PRESENT, MAYBE = "absent", "present", "maybe"


@dataclass(slots=True)
class Ledger:
    """What the users know of one disk. ``handed`` is the file system that the first Mount gave them.

    ``promised`` are records that an fsync or the last Unmount was answered for; ``written`` are all, in their order.
    """

    promised: set[int] = field(default_factory=set)
    written: list[int] = field(default_factory=list)
    handed: tuple[str | None, UUID | None] | None = None
    removal_asked: bool = False
    removed: bool = False


@dataclass(slots=True, eq=False)
class Container:
    """A container. ``held``: Docker has not unmounted its id (`docker cp` does under it). ``runs``: it has its namespace.

    ``locked``: a command of Docker's is about it.
    """

    host: VmId
    name: str
    key: str
    volume: VolumeId
    disk: DiskUuid
    number: tuple[int, int]
    mount_id: str
    pid: int
    since: float
    held: bool = True
    runs: bool = False
    locked: bool = False


@dataclass(slots=True, eq=False)
class Named:
    """What is positively known of a name. ``open`` are calls that changed it or may still do so."""

    state: str = ABSENT
    version: int = 0
    disk: DiskUuid | None = None
    open: list[Ticket] = field(default_factory=list)

    def become(self, state: str, disk: DiskUuid | None = None) -> None:
        if (state, disk) != (self.state, self.disk):
            self.version += 1
        self.state, self.disk = state, disk


@dataclass(slots=True, eq=False)
class Ticket:
    """One call of Docker's under way."""

    kind: str
    host: VmId
    name: str
    key: str
    since: float
    version: int
    state: str
    disk: DiskUuid | None
    alone: bool = True
    others: frozenset[Container] = frozenset()


class Oracle:
    """Told of each call's begin and end, of each container, and by the hypervisor of what it is about to do."""

    def __init__(self, clock: Clock, guests: Mapping[VmId, MemoryGuest], disks: Disks, groups: Mapping[VmId, str]) -> None:
        self._clock = clock
        self._guests = guests
        self._disks = disks
        self._groups = groups
        # How large each disk was last, and those that were made larger.
        self._sizes: dict[DiskUuid, int] = {}
        self._grown: set[DiskUuid] = set()
        self._served: set[tuple[VmId, DiskUuid]] = set()
        self._ledgers: dict[DiskUuid, Ledger] = {}
        self._names: dict[str, Named] = {}
        # Every disk that there ever was, with the key of its volume.
        self._made: dict[DiskUuid, str] = {}
        # Disks that somebody put another file system on, and its UUID.
        self._overwritten: dict[DiskUuid, UUID | None] = {}
        # Where disks lay before somebody moved them.
        self._left: dict[DiskPath, DiskUuid] = {}
        # Names that anybody of a group ever wanted to have made.
        self._wanted: set[str] = set()
        self.containers: list[Container] = []
        # Mount ids that Docker gave up, or whose answer nobody heard: the agent may keep them as holders.
        self.ghosts: set[tuple[VmId, str]] = set()
        self.broken: list[str] = []
        self.tell: Callable[[str], None] = print
        self.counts: dict[str, int] = {}

    def fail(self, rule: str, what: str) -> None:
        self.broken.append(f"{rule} at {self._clock.monotonic():.2f} s: {what}")
        self.tell(f"BROKEN: {rule}: {what}")

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def key(self, host: VmId, name: str) -> str:
        """Return under what a name stands in the oracle's books: each vmgroup has names of its own."""
        return f"{self._groups[host]} {name}"

    def ledger(self, disk: DiskUuid) -> Ledger:
        return self._ledgers.setdefault(disk, Ledger())

    def named(self, key: str) -> Named:
        return self._names.setdefault(key, Named())

    # --- told by the hypervisor --------------------------------------------------------------------------------

    def made(self, disk: DiskUuid, note: Mapping[str, str]) -> None:
        self._made.setdefault(disk, _key_of(note))

    def deleting(self, disk: Disk) -> None:
        """I1: only what a user removed is deleted, or what no user was ever given, and never under a container."""
        ledger = self.ledger(disk.ref.uuid)
        asked = ledger.removal_asked or any(ticket.kind == "remove" for ticket in self.named(_key_of(disk.note)).open)
        if ledger.handed and not asked:
            self.fail("I1", f"{disk.ref.path} is deleted, and nobody asked for it")
        if any(container.disk == disk.ref.uuid for container in self.containers):
            self.fail("I1", f"{disk.ref.path} is deleted under a container")

    def detaching(self, vm: VmId, disk: DiskUuid) -> None:
        """I2: a disk leaves a living VM only after the kernel's proof that nobody has it (D7)."""
        guest = self._guests[vm]
        for number, plugged in guest.plugged.items():
            mounted = any(entry.number == number for entry in guest.table.values())
            if plugged.device.disk_uuid == disk and (mounted or plugged.elsewhere or plugged.mkfs):
                self.fail("I2", f"the detach of {disk} was sent while {guest.vm.hex[-1]} has it mounted")

    def attached(self, vm: VmId, disk: Disk) -> None:
        """I7: no VM gets a disk of another vmgroup."""
        if disk.note["vmgroup"] != self._groups[vm]:
            self.fail("I7", f"{disk.ref.path} of another vmgroup is attached to {vm.hex[-1]}")

    def served(self, vm: VmId, disk: DiskUuid) -> None:
        """The service itself has this VM given the disk: it knows from now on that the VM may have it."""
        self._served.add((vm, disk))

    def grew(self, disk: Disk) -> None:
        """A disk has this size from now on."""
        if disk.size_bytes < self._sizes.get(disk.ref.uuid, 0):
            self.fail("I1", f"{disk.ref.path} was made smaller: {disk.size_bytes}")
        self._grown.add(disk.ref.uuid)

    def resized(self, disk: DiskUuid, size_bytes: int, truth: Truth) -> None:
        """An administrator was told that the disk has this size; another order may have made it larger since."""
        if disk in truth.disks and truth.disks[disk].size_bytes < size_bytes:
            self.fail("I6", f"{size_bytes} bytes were answered, and {truth.disks[disk].ref.path} is smaller")

    def not_resized(self, name: str, error: VolumeError) -> None:
        if error.code in ("internal", "wrong-disk", "metadata-damaged") or "\n" in str(error):
            self.fail("bug", f"grow {name}: {error}")

    def unfounded(self, change: object) -> None:
        """I4: whatever changes a disk is written down until its end; a crash would leave what nobody looks for."""
        self.fail("I4", f"{type(change).__name__} is carried out, and no open intent says so")

    def refused(self, change: object, why: VolumeError) -> None:
        """I2: the lock of the disk itself had to stop the service (D9)."""
        self.fail("I2", f"{type(change).__name__} came to the hypervisor's own lock: {why.text}")

    # --- told by Docker ----------------------------------------------------------------------------------------

    def begin(self, kind: str, host: VmId, name: str) -> Ticket:
        key = self.key(host, name)
        named, now = self.named(key), self._clock.monotonic()
        using = frozenset(each for each in self.containers if each.key == key)
        ticket = Ticket(kind, host, name, key, now, named.version, named.state, named.disk, others=using)
        if kind in ("create", "remove"):
            self._begin_change(named, ticket)
        return ticket

    def _begin_change(self, named: Named, ticket: Ticket) -> None:
        if ticket.kind == "create":
            self._wanted.add(ticket.key)
        ticket.alone = not named.open
        for other in named.open:
            other.alone = False
        named.open.append(ticket)
        if ticket.kind == "remove":
            for disk in self._of_name(ticket.key):
                self.ledger(disk).removal_asked = True
        # A Create of what is there changes nothing, whatever becomes of it.
        if not (ticket.kind == "create" and named.state == PRESENT and ticket.alone):
            named.become(MAYBE, named.disk)

    def end(self, ticket: Ticket, error: VolumeError | None, *, dead: bool, excused: bool, truth: Truth) -> None:
        """``error`` None is OK. ``dead``: nobody heard the answer. ``excused``: the agent was stopped meanwhile."""
        took = self._clock.monotonic() - ticket.since
        outcome = "dead" if dead else "ok" if error is None else error.code
        self.count(f"{ticket.kind} {outcome}")
        if not excused and took > LIMITS[ticket.kind] + GRACE_S:
            self.fail("I8", f"{ticket.kind} {ticket.name} took {took:.1f} s and was {outcome}")
        if not dead and error is not None:
            self._check_error(ticket, error)
        named = self.named(ticket.key)
        if ticket.kind in ("create", "remove"):
            self._end_change(named, ticket, error, dead=dead, truth=truth)
        elif not dead and isinstance(error, NotFound) and ticket.state == PRESENT and named.version == ticket.version:
            self.fail("I6", f"{ticket.kind} {ticket.name} says absent: {error.text}")

    def _check_error(self, ticket: Ticket, error: VolumeError) -> None:
        """I9: one line that names the volume, with a code; I7: and says nothing of another vmgroup."""
        said = str(error)
        what = f"{ticket.kind} {ticket.name}: {said}"
        refused = error.code == "foreign-content" and self.is_overwritten(ticket.key)
        if error.code in ("internal", "wrong-disk", "foreign-content") and not refused:
            self.fail("I1" if error.code != "internal" else "bug", what)
        if ticket.name not in said or "\n" in said or len(said) > MAX_ERROR or error.code not in said:
            self.fail("I9", f"not one line with the volume and a code: {what}")
        strangers = [vm for vm, group in self._groups.items() if group != self._groups[ticket.host]]
        if any(f"host-{'abc'[vm.int - 0xA]}" in said for vm in strangers):
            self.fail("I7", f"names a host of another vmgroup: {what}")
        first = ticket.kind == "create" and ticket.alone and ticket.state == ABSENT
        if first and error.code == "name-conflict":
            self.fail("I7", f"is in the way of another vmgroup's: {what}")

    def _end_change(self, named: Named, ticket: Ticket, error: VolumeError | None, *, dead: bool, truth: Truth) -> None:
        definite = not dead and (error is None or (isinstance(error, DEFINITE) and not isinstance(error, StaleRequest)))
        if not definite:
            # It stays open: its effect may come at any time.
            return
        named.open.remove(ticket)
        if ticket.kind == "remove" and error is None:
            self._removed(ticket, truth)
        if not ticket.alone or named.open:
            named.become(MAYBE)
            return
        if error is not None:
            self._refused(named, ticket, error)
        elif ticket.kind == "create":
            self._created(named, ticket, truth)
        else:
            self._become_absent(named, ticket.key)

    def _become_absent(self, named: Named, key: str) -> None:
        # Those in the trash are not the volume any more.
        for disk in self._of_name(key):
            self.ledger(disk).removed = True
        named.become(ABSENT)

    def _refused(self, named: Named, ticket: Ticket, error: VolumeError) -> None:
        """Nothing has changed, so it is again what it was."""
        if ticket.kind == "remove" and isinstance(error, NotFound):
            if ticket.state == PRESENT:
                self.fail("I6", f"remove {ticket.name} says absent: {error.text}")
            self._become_absent(named, ticket.key)
            return
        if ticket.kind == "remove" and ticket.disk is not None:
            self.ledger(ticket.disk).removal_asked = False
        named.become(ticket.state, ticket.disk)

    def _created(self, named: Named, ticket: Ticket, truth: Truth) -> None:
        there = [disk for disk in self._of_name(ticket.key) if disk in truth.disks and not self.ledger(disk).removed]
        if not there:
            self.fail("I6", f"create {ticket.name} was answered, and there is no disk")
        elif ticket.state == ABSENT and len(there) > 1:
            self.fail("I10", f"create {ticket.name} made {len(there)} disks")
        elif ticket.state == PRESENT and ticket.disk is not None and ticket.disk not in there:
            self.fail("I1", f"create {ticket.name} found another disk than the one that was there")
        named.become(PRESENT, there[0] if len(there) == 1 else ticket.disk)

    def made_as_asked(self, ticket: Ticket, size: str | None, truth: Truth) -> None:
        """Create was answered: the one volume of the name has the size that was asked for, or the answer is a conflict."""
        disks = [truth.disks[disk] for disk in self._of_name(ticket.key) if disk in truth.disks]
        if size is None or not ticket.alone or len(disks) != 1:
            return
        has, asked = disks[0].size_bytes, parse_size(size)
        # One that has grown is what was asked for in any size that it has had.
        if has < asked or (has != asked and disks[0].ref.uuid not in self._grown):
            self.fail("I10", f"create {ticket.name} of {size} was answered, and the volume has {disks[0].size_bytes} bytes")

    def _removed(self, ticket: Ticket, truth: Truth) -> None:
        for disk in self._of_name(ticket.key):
            # Those too that were still being made when the call began.
            self.ledger(disk).removal_asked = True
        for container in ticket.others:
            if container in self.containers:
                self.fail("I1", f"remove {ticket.name} was answered under a container of {container.host.hex[-1]}")
        holder = None if ticket.disk is None else truth.holders.get(ticket.disk)
        if ticket.disk is not None:
            self._check_trash(ticket, ticket.disk, truth)
        # Whoever attached it by hand to a VM whose list cannot be read: into the trash it goes all the same, and its file
        # stays until that list was read (corrections 38).
        unknown = holder in truth.unread and (holder, ticket.disk) not in self._served
        if holder is not None and ticket.alone and not unknown:
            self.fail("I6", f"remove {ticket.name} was answered, and a VM has the disk")

    def _check_trash(self, ticket: Ticket, disk: DiskUuid, truth: Truth) -> None:
        """A rebuild must not bring back what was removed (corrections 33)."""
        known = truth.disks.get(disk)
        content = None if known is None else truth.sidecars.get(known.ref.path)
        if content is not None and sidecar.decode(content).state not in (State.TRASHED, State.REMOVING):
            self.fail("I1", f"remove {ticket.name} was answered, and the sidecar says {sidecar.decode(content).state}")

    def shown(self, ticket: Ticket, *, stale: bool, preparing: bool) -> None:
        """Get showed the volume."""
        named = self.named(ticket.key)
        if ticket.key not in self._wanted:
            self.fail("I7", f"get {ticket.name} shows what nobody of its vmgroup made")
        if ticket.state == ABSENT and named.version == ticket.version and not stale and not preparing:
            self.fail("I6", f"get {ticket.name} shows a volume that was removed")

    def listed(self, host: VmId, names: Collection[str], before: Mapping[str, tuple[int, str]], mine: Collection[str]) -> None:
        """List showed ``names``; ``mine`` are those that this host created or removed itself, so it must know."""
        for name in names:
            if not self._of_name(self.key(host, name)):
                self.fail("I6", f"list of {host.hex[-1]} has {name}, whose disk was never made")
            if self.key(host, name) not in self._wanted:
                self.fail("I7", f"list of {host.hex[-1]} has {name}, which nobody of its vmgroup made")
        for name in mine:
            version, state = before.get(self.key(host, name), (-1, MAYBE))
            if self.named(self.key(host, name)).version != version:
                continue
            if state == PRESENT and name not in names:
                self.fail("I6", f"list of {host.hex[-1]} lacks {name}")
            if state == ABSENT and name in names:
                self.fail("I6", f"list of {host.hex[-1]} has {name}, which was removed there")

    def names(self) -> dict[str, tuple[int, str]]:
        return {name: (named.version, named.state) for name, named in self._names.items()}

    # --- mounts and containers ---------------------------------------------------------------------------------

    def mounted(self, ticket: Ticket, path: str, truth: Truth) -> DiskUuid | None:
        """A Mount was answered: return the disk that lies at ``path``, judged by kernel and hypervisor alone."""
        guest = self._guests[ticket.host]
        volume = VolumeId(UUID(path.split("/")[-2]))
        entry = guest.table.get(volume)
        if entry is None or entry.number not in guest.plugged:
            self.fail("I6", f"mount {ticket.name} was answered, and nothing is mounted")
            return None
        disk = guest.plugged[entry.number].device.disk_uuid
        self._check_mounted(ticket, disk, volume, truth)
        return disk

    def _check_mounted(self, ticket: Ticket, disk: DiskUuid, volume: VolumeId, truth: Truth) -> None:
        named, ledger, content = self.named(ticket.key), self.ledger(disk), self._disks[disk].now
        known = truth.disks.get(disk)
        if known is None or (_key_of(known.note), known.note["volume"]) != (ticket.key, str(volume)):
            self.fail("I6", f"mount {ticket.name} shows the disk of another volume")
            return
        if disk in self._overwritten:
            self.fail("I1", f"mount {ticket.name} shows somebody else's file system")
            return
        if truth.holders.get(disk) != ticket.host:
            self.fail("I2", f"mount {ticket.name} was answered, and the disk is on {truth.holders.get(disk)}")
        if ticket.state == PRESENT and named.version == ticket.version and ticket.disk not in (None, disk):
            self.fail("I1", f"mount {ticket.name} shows another disk than before")
        if ledger.removed:
            self.fail("I6", f"mount {ticket.name} shows a disk that was removed")
        if ledger.handed is None:
            ledger.handed = (content.kind, content.uuid)
        elif ledger.handed != (content.kind, content.uuid):
            self.fail("I1", f"mount {ticket.name} shows a new file system where {ledger.handed} was")
        self._check_copy(ticket, known, truth)

    def _check_copy(self, ticket: Ticket, disk: Disk, truth: Truth) -> None:
        """Before a container writes, the second copy says that there is something to lose (corrections 26, 33)."""
        # Until the record has followed a disk that was moved, the copy lies where the disk was.
        places = [disk.ref.path, *(place for place, moved in self._left.items() if moved == disk.ref.uuid)]
        copies = [sidecar.decode(truth.sidecars[place]) for place in places if place in truth.sidecars]
        copy = max(copies, key=lambda each: each.generation, default=None)
        if copy is None or copy.content is not Content.FORMATTED or copy.filesystem_uuid != self._disks[disk.ref.uuid].now.uuid:
            self.fail("I1", f"mount {ticket.name} was answered, and the sidecar does not say what lies on the disk")

    def unmounted(self, vm: VmId, name: str) -> None:
        """The last id that could hold the volume was given back: what was written is on the disk (D11b)."""
        guest, key = self._guests[vm], self.key(vm, name)
        for entry in guest.table.values():
            known = guest.plugged.get(entry.number)
            if known is not None and self._made[known.device.disk_uuid] == key:
                self.fail("I6", f"unmount {name} was answered to the last holder, and it is mounted on {vm.hex[-1]}")
        for known in guest.plugged.values():
            disk = known.device.disk_uuid
            if self._made[disk] == key and not known.elsewhere:
                self.ledger(disk).promised.update(self.ledger(disk).written)

    def wrote(self, disk: DiskUuid, record: int, *, synced: bool) -> None:
        """A container wrote a record. An fsync that was answered promises it, and all before it in that file."""
        ledger = self.ledger(disk)
        ledger.written.append(record)
        if synced:
            ledger.promised.update(ledger.written)

    def overwritten(self, disk: DiskUuid) -> None:
        """Somebody put another file system on the disk: it is nobody's promise any more, and never ours to touch."""
        self._overwritten[disk] = self._disks[disk].now.uuid

    def is_overwritten(self, key: str) -> bool:
        """Tell whether a disk of this volume was overwritten by somebody else."""
        return any(disk in self._overwritten for disk in self._of_name(key))

    def moved_from(self, disk: DiskRef) -> None:
        """The disk does not lie here any more, by somebody else's doing."""
        self._left[disk.path] = disk.uuid

    @property
    def left_places(self) -> Set[DiskPath]:
        return self._left.keys()

    def lost_power(self, disk: DiskUuid) -> None:
        """What was not promised may be gone; what is there now is what there was."""
        ledger = self.ledger(disk)
        ledger.written = [record for record in ledger.written if _file(record) in self._disks[disk].durable.files]

    def cloned(self, change: CloneDisk) -> None:
        """A clone has at least what its source was promised to have."""
        source, copy = self.ledger(change.source.uuid), self.ledger(change.disk.uuid)
        if change.source.uuid in self._overwritten:
            self.overwritten(change.disk.uuid)
        copy.promised.update(source.promised)
        copy.written.extend(source.written)

    # --- at any time -------------------------------------------------------------------------------------------

    def check(self, truth: Truth) -> None:
        for container in self.containers:
            self._check_container(container, truth)
        for guest in self._guests.values():
            for volume, entry in guest.table.items():
                if entry.number not in guest.plugged:
                    self.fail("I2", f"the disk of {volume} is gone from under its mount on {guest.vm.hex[-1]}")
        for disk, known in truth.disks.items():
            self._check_data(disk)
            if known.size_bytes < self._sizes.setdefault(disk, known.size_bytes):
                self.fail("I1", f"{known.ref.path} has become smaller")
            self._sizes[disk] = known.size_bytes

    def _check_container(self, container: Container, truth: Truth) -> None:
        guest = self._guests[container.host]
        who = f"the container on {container.name} at {guest.vm.hex[-1]}"
        if truth.holders.get(container.disk) != container.host or container.number not in guest.plugged:
            self.fail("I2", f"{who} has lost its disk")
        elif container.held and container.volume not in guest.table:
            self.fail("I6", f"{who} has a Mount that was answered and not undone, and it is gone")

    def _check_data(self, disk: DiskUuid) -> None:
        ledger, content = self.ledger(disk), self._disks[disk].durable
        if disk in self._overwritten:
            if content.uuid != self._overwritten[disk]:
                self.fail("I1", f"somebody else's file system on the disk {disk} is gone, and {content.kind} is there")
            return
        lost = [record for record in ledger.promised if content.files.get(_file(record)) != payload(record)]
        if lost and not ledger.removed:
            self.fail("I1", f"the disk {disk} has lost the records {sorted(lost)}")
        if ledger.handed is not None and (content.kind, content.uuid) != ledger.handed:
            self.fail("I1", f"the disk {disk} had {ledger.handed} and has {content.kind} {content.uuid}")

    def _of_name(self, key: str) -> list[DiskUuid]:
        return [disk for disk, made_as in self._made.items() if made_as == key]


def _key_of(note: Mapping[str, str]) -> str:
    return f"{note['vmgroup']} {note['name']}"


def _file(record: int) -> str:
    return f"r{record}"


def payload(record: int) -> bytes:
    """Return what a container writes as its record of this number: it can be checked without knowing what was written."""
    return hashlib.blake2b(str(record).encode(), digest_size=8).digest()
