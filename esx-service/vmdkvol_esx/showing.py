"""Vmgroups as administrators see them: with what their volumes take, and who of them runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from vmdkvol import frames
from vmdkvol.errors import BadRequest, VolumeError
from vmdkvol.vmgroup_messages import (
    DatastoreUsage,
    ListMembers,
    ListVmgroups,
    MemberInfo,
    MemberPage,
    RightInfo,
    VmgroupInfo,
    VmgroupPage,
)
from vmdkvol.volume import VmId
from vmdkvol.wire import answer_size
from vmdkvol_esx.allotting import WORDS
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import Vm
from vmdkvol_esx.records import Group, Member

T = TypeVar("T")

MOST_LISTED = 200
# What a page or an answer has for its parts.
_ROOM = frames.MAX_FRAME - 2048
# In a list each vmgroup is shown with so few of its machines.
_FEW = 10
_ROOM_OF_USAGE = 12 << 10
_LOOK_S = 60.0


class Showing:
    """For any thread. What the hypervisor cannot tell now is told as far as it is on record."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._clock = parts.clock
        self._log = parts.log
        self._last: tuple[float, Mapping[VmId, Vm]] | None = None

    def page(self, request: ListVmgroups) -> VmgroupPage:
        """See ``ListVmgroups``."""
        _check_limit(request.limit)
        names = sorted(name for name in self._store.vmgroup_names().values() if request.after is None or name > request.after)
        wanted, seen = names[: request.limit], self._looked(anew=request.after is None)
        # One by one, as many as fit: most of a thousand vmgroups are not on this page. One that went meanwhile is on none.
        groups = (found for found in map(self._store.group, wanted) if found is not None)
        infos = _fitting((self._info(group, seen, _FEW) for group in groups), _ROOM)
        last = infos[-1].name if infos else names[-1] if names else None
        return VmgroupPage(tuple(infos), last if names and last != names[-1] else None)

    def info(self, group: Group) -> VmgroupInfo:
        """Return all of one vmgroup, with as many of its members as fit."""
        return self._info(group, self._looked(anew=True), len(group.members))

    def members(self, group: Group, request: ListMembers) -> MemberPage:
        """See ``ListMembers``."""
        _check_limit(request.limit)
        after = "" if request.after is None else str(request.after)
        members = [each for each in group.members if str(each.vm) > after]
        seen = self._looked(anew=request.after is None)
        infos = _fitting((_member(each, seen) for each in members[: request.limit]), _ROOM)
        return MemberPage(tuple(infos), infos[-1].vm if len(infos) < len(members) else None)

    def _info(self, group: Group, seen: Mapping[VmId, Vm], members: int) -> VmgroupInfo:
        own, used = group.vmgroup, self._store.usage(group.vmgroup.id)
        most = [DatastoreUsage(place, used[place]) for place in sorted(used, key=lambda place: (-used[place], place))]
        info = VmgroupInfo(
            own.id,
            own.name,
            own.description,
            own.default_datastore,
            own.defaults,
            own.policies,
            tuple(
                RightInfo(
                    right.datastore,
                    right.allow_create,
                    right.max_bytes,
                    right.total_bytes,
                    right.policies,
                    None if right.datastore in WORDS else used.get(right.datastore, 0),
                )
                for right in group.rights
            ),
            tuple(_fitting(most, _ROOM_OF_USAGE)),
            self._store.volume_count(own.id),
            (),
            len(group.members),
            own.revision,
        )
        shown = _fitting((_member(each, seen) for each in group.members[:members]), _ROOM - answer_size(info))
        return replace(info, members=tuple(shown))

    def _looked(self, *, anew: bool) -> Mapping[VmId, Vm]:
        """Return the machines that the hypervisor shows; all pages of a list are of one look, which is a minute old at most."""
        now, last = self._clock.monotonic(), self._last
        if anew or last is None or now - last[0] > _LOOK_S:
            last = self._last = now, {vm.id: vm for vm in self._machines()}
        return last[1]

    def _machines(self) -> Sequence[Vm]:
        try:
            return self._hypervisor.machines()
        except VolumeError as error:
            self._log.warning("machines not listed", error=str(error))
            return ()


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_LISTED:
        raise BadRequest(f"a page has 1 to {MOST_LISTED} entries, not {limit}", remedy="ask for fewer, and page by page")


def _member(member: Member, seen: Mapping[VmId, Vm]) -> MemberInfo:
    vm = seen.get(member.vm)
    return MemberInfo(member.vm, member.name, None) if vm is None else MemberInfo(vm.id, vm.name, vm.running)


def _fitting(parts: Iterable[T], room: int) -> list[T]:
    """Return as many of the parts as ``room`` bytes take, one at least: a page that had none would never end."""
    found: list[T] = []
    for part in parts:
        room -= answer_size(part)
        if room < 0 and found:
            break
        found.append(part)
    return found
