"""A service of a few lines for tests of the agent: one datastore of memory disks, any number of Docker hosts.

It keeps the promises of ``messages``: an answer for each call id, generations, refusals. What it does is said at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast
from uuid import UUID

from tests.doubles.memory_guest import MemoryGuest
from vmdkvol.clock import Clock
from vmdkvol.errors import NameConflict, StaleRequest, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.messages import (
    Attach,
    Attachments,
    Call,
    CreateVolume,
    Detach,
    Done,
    GetVolume,
    Keep,
    Lagging,
    ListAttached,
    ListVolumes,
    Mark,
    RemoveVolume,
    Request,
    VolumePage,
)
from vmdkvol.names import DatastoreName
from vmdkvol.notices import Grown, Notice, Wanted
from vmdkvol.volume import (
    DEFAULT_VMGROUP,
    Attachment,
    Content,
    DiskUuid,
    Holder,
    Lag,
    LoopAddress,
    State,
    VmId,
    VolumeId,
    VolumeInfo,
    content_may_become,
)

A = TypeVar("A")


@dataclass(slots=True)
class Kept:
    """One volume as the service has it."""

    info: VolumeInfo
    disk: DiskUuid
    address: LoopAddress
    generation: int = 1
    filesystem_uuid: UUID | None = None
    copied_uuids: tuple[UUID, ...] = ()
    keep_uuid: bool = False
    holder: VmId | None = None
    change: int = 0


class SmallService:
    """``line(vm)`` is the ``Service`` port of one host; ``volumes`` is for tests to look at and to change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = 0
        self.volumes: dict[VolumeId, Kept] = {}
        self.guests: dict[VmId, MemoryGuest] = {}
        self.lines: dict[VmId, SmallLine] = {}
        self.change = 0
        self.removed: dict[VolumeId, int] = {}
        self.answers: dict[tuple[VmId, UUID], Any] = {}
        self.lags: dict[VmId, tuple[Lag, ...]] = {}

    def join(self, guest: MemoryGuest) -> SmallLine:
        """A Docker host comes: return its line."""
        self.guests[guest.vm] = guest
        self.lines[guest.vm] = SmallLine(self, guest.vm)
        return self.lines[guest.vm]

    def named(self, name: str) -> Kept:
        found = [kept for kept in self.volumes.values() if kept.info.name == name]
        if not found:
            raise VolumeNotFound(f"there is no volume {name!r}", name=name)
        return found[0]

    def answer(self, request: Request[Any], vm: VmId, call: UUID) -> Any:
        if (vm, call) in self.answers:
            return self.answers[vm, call]
        handler: dict[type, Callable[[Any, VmId], Any]] = {
            CreateVolume: self._create,
            GetVolume: lambda asked, _: self._shown(self.named(asked.ref.text)),
            ListVolumes: self._list,
            ListAttached: self._list_attached,
            RemoveVolume: self._remove,
            Attach: self._attach,
            Detach: self._detach,
            Mark: self._mark,
            Keep: lambda asked, _: Done(),
            Lagging: self._lagging,
        }
        answer = handler[type(request)](request, vm)
        if request.changes:
            self.answers[vm, call] = answer
        return answer

    def grow(self, name: str, size_bytes: int, *, told: bool = True, seen: bool = True) -> None:
        """A disk grows. ``told``: its host hears of it; ``seen``: its kernel has the new size by itself."""
        kept = self.named(name)
        kept.info = replace(kept.info, size_bytes=size_bytes)
        kept.generation += 1
        self._changed(kept)
        for guest in self.guests.values():
            guest.enlarge(kept.disk, size_bytes, seen=seen)
        if kept.holder is not None and told:
            self.lines[kept.holder].tell(Grown(kept.info.id, size_bytes))

    # --- handlers ------------------------------------------------------------------------------------------------

    def _create(self, request: CreateVolume, vm: VmId) -> VolumeInfo:
        for kept in self.volumes.values():
            if kept.info.name == request.ref.text:
                differs = request.options.differences(kept.info.options, kept.info.size_bytes)
                if differs:
                    raise NameConflict(f"volume {request.ref.text} exists: {differs[0]}")
                return self._shown(kept)
        self._numbers += 1
        number = self._numbers
        source = None if request.options.clone_from is None else self.named(request.options.clone_from.text)
        if source is not None and source.holder is not None:
            raise VolumeInUse(f"volume {source.info.name} is in use")
        options = request.options if source is None else replace(request.options, fstype=source.info.options.fstype)
        size = source.info.size_bytes if source is not None else options.size_bytes
        assert size is not None
        info = VolumeInfo(
            VolumeId(UUID(int=0xF000 + number)),
            request.ref.text,
            DatastoreName("ds1"),
            DEFAULT_VMGROUP,
            size,
            0,
            State.READY,
            Content.UNFORMATTED if source is None else source.info.content,
            options,
            1_500_000_000.0 + number,
            "host-a",
        )
        kept = Kept(info, DiskUuid(UUID(int=0xD000 + number)), LoopAddress(100_000 + number))
        disks = next(iter(self.guests.values())).disks
        if source is not None:
            disks.copy(source.disk, kept.disk)
            kept.copied_uuids = () if source.filesystem_uuid is None else (source.filesystem_uuid,)
        self.volumes[info.id] = kept
        self._changed(kept)
        return self._shown(kept)

    def _list(self, request: ListVolumes, vm: VmId) -> VolumePage:
        since = request.since
        known = sorted(self.volumes.values(), key=lambda kept: str(kept.info.id))
        wanted = [
            kept
            for kept in known
            if (since is None or kept.change > since) and (request.after is None or str(kept.info.id) > str(request.after))
        ]
        page = wanted[: request.limit]
        more = page[-1].info.id if len(wanted) > len(page) else None
        gone = () if since is None else tuple(volume for volume, at in self.removed.items() if at > since)
        shown = tuple(self._shown(kept) for kept in page)
        return VolumePage(shown, more, self.change, gone, complete=since is None)

    def _list_attached(self, request: ListAttached, vm: VmId) -> Attachments:
        return Attachments(tuple(self._attachment(kept) for kept in self.volumes.values() if kept.holder == vm))

    def _remove(self, request: RemoveVolume, vm: VmId) -> Done:
        kept = self.volumes.get(request.volume)
        if kept is None:
            # As the service says of every id that is gone: what was asked for holds.
            return Done()
        if kept.holder is not None:
            raise VolumeInUse(f"volume {kept.info.name} is attached to {kept.holder}")
        del self.volumes[request.volume]
        self.change += 1
        self.removed[request.volume] = self.change
        next(iter(self.guests.values())).disks.delete(kept.disk)
        return Done()

    def _attach(self, request: Attach, vm: VmId) -> Attachment:
        kept = self._kept(request.volume)
        if kept.holder not in (None, vm):
            assert kept.holder is not None
            self.lines[kept.holder].tell(Wanted(request.volume))
            raise VolumeInUse(f"volume {kept.info.name} is attached to {kept.holder}")
        kept.holder = vm
        kept.generation += 1
        self._changed(kept)
        attachment = self._attachment(kept)
        self.guests[vm].plug(attachment)
        return attachment

    def _detach(self, request: Detach, vm: VmId) -> Done:
        kept = self.volumes.get(request.volume)
        if kept is None or kept.holder != vm:
            return Done()
        if request.generation != kept.generation:
            raise StaleRequest(f"volume {kept.info.name} has generation {kept.generation}")
        self.guests[vm].unplug(kept.disk)
        kept.holder = None
        kept.generation += 1
        self._changed(kept)
        return Done()

    def _mark(self, request: Mark, vm: VmId) -> Done:
        kept = self._kept(request.volume)
        if request.generation != kept.generation or kept.holder != vm:
            raise StaleRequest(f"volume {kept.info.name} has generation {kept.generation}")
        if not content_may_become(kept.info.content, request.content):
            raise StaleRequest(f"volume {kept.info.name} is {kept.info.content}")
        kept.info = replace(kept.info, content=request.content)
        kept.filesystem_uuid, kept.copied_uuids = request.filesystem_uuid, ()
        self._changed(kept)
        return Done()

    def _lagging(self, request: Lagging, vm: VmId) -> Done:
        self.lags[vm] = request.lags
        return Done()

    # --- small steps ---------------------------------------------------------------------------------------------

    def _kept(self, volume: VolumeId) -> Kept:
        if volume not in self.volumes:
            raise VolumeNotFound(f"there is no volume with the id {volume}")
        return self.volumes[volume]

    def _changed(self, kept: Kept) -> None:
        self.change += 1
        kept.change = self.change

    def _shown(self, kept: Kept) -> VolumeInfo:
        holder = None if kept.holder is None else Holder(kept.holder, f"host-{kept.holder.hex[-1]}", kept.address)
        return replace(kept.info, attached_to=holder)

    def _attachment(self, kept: Kept) -> Attachment:
        return Attachment(
            kept.info.id,
            kept.disk,
            kept.info.size_bytes,
            kept.address,
            kept.generation,
            kept.info.content,
            kept.filesystem_uuid,
            kept.info.options,
            kept.copied_uuids,
            kept.keep_uuid,
        )


class SmallLine:
    """One host's ``Service``. ``script`` has errors that the next calls of a request class raise, before or after the work."""

    def __init__(self, service: SmallService, vm: VmId) -> None:
        self._service = service
        self._vm = vm
        self._listeners: list[Callable[[Notice], None]] = []
        self.down: VolumeError | None = None
        self.before: dict[type, list[VolumeError]] = {}
        self.lost: dict[type, list[VolumeError]] = {}
        self.meanwhile: dict[type, list[Callable[[], None]]] = {}
        self.asked: list[Request[Any]] = []

    def ask(self, request: Request[A], call: Call) -> A:
        self.asked.append(request)
        kind = type(request)
        if self.down is not None:
            raise self.down
        if self.before.get(kind):
            raise self.before[kind].pop(0)
        answer = self._service.answer(request, self._vm, call.id)
        if self.meanwhile.get(kind):
            # Between the service's work and the arrival of its answer.
            self.meanwhile[kind].pop(0)()
        if self.lost.get(kind):
            raise self.lost[kind].pop(0)
        return cast(A, answer)

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        self._listeners.append(listener)

    def tell(self, notice: Notice) -> None:
        for listener in self._listeners:
            listener(notice)

    def count(self, kind: type) -> int:
        return sum(type(request) is kind for request in self.asked)
