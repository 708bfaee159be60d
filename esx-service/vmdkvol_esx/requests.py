"""A request comes in with its proven caller, its answer goes out: once a call, whoever repeats it.

Here is the table of what the service can do; each row is a use case. Different volumes go on beside each other, the work
of one volume is in its lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from vmdkvol.clock import Deadline
from vmdkvol.errors import BadFrame, NotPermitted, StillWorking, UnknownCaller, VolumeError
from vmdkvol.messages import (
    REQUESTS,
    Attach,
    Call,
    CreateVolume,
    Detach,
    Done,
    Enrolled,
    GetVolume,
    Hello,
    Keep,
    Lagging,
    ListAttached,
    ListVolumes,
    Mark,
    RemoveVolume,
    Renew,
    Request,
    Welcome,
)
from vmdkvol.progress import still_working
from vmdkvol.volume import VmId
from vmdkvol.wire import common_version
from vmdkvol_esx.attaching import Attaching
from vmdkvol_esx.creating import Creating
from vmdkvol_esx.following import Following
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.handover import Handover, Notify
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.lags import Lags
from vmdkvol_esx.listing import Listing
from vmdkvol_esx.marking import Marking
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.removing import Removing
from vmdkvol_esx.repeats import REFUSALS, Refused, read, write
from vmdkvol_esx.reply import Reply
from vmdkvol_esx.underway import Subject, Underway
from vmdkvol_esx.whereabouts import Whereabouts

Row = Callable[[VmId, Any, Deadline, Reply], object]
Renewing = Callable[[VmId, Renew], Enrolled]


@dataclass(frozen=True, slots=True)
class Verbs:
    """The use cases over one store and one hypervisor."""

    parts: Parts
    underway: Underway
    glance: Glance
    journal: Journal
    handover: Handover
    following: Following
    owners: Owners
    permits: Permits
    listing: Listing
    creating: Creating
    attaching: Attaching
    marking: Marking
    removing: Removing
    whereabouts: Whereabouts


def make_verbs(parts: Parts, *, notify: Notify, retention_s: float) -> Verbs:
    """Return the use cases. ``retention_s`` is how long the trash keeps a volume; 0 deletes its disk at once."""
    underway = Underway(parts.clock)
    glance = Glance(parts)
    journal = Journal(parts, underway, glance)
    handover = Handover(glance.name, parts.clock, notify)
    permits = Permits(parts)
    listing = Listing(parts, underway, glance, permits)
    following = Following(parts, journal)
    owners = Owners(parts, journal, glance, following)
    return Verbs(
        parts,
        underway,
        glance,
        journal,
        handover,
        following,
        owners,
        permits,
        listing,
        Creating(parts, journal, handover, owners, listing, permits),
        Attaching(parts, journal, handover, owners, following, permits),
        Marking(parts, journal, permits),
        Removing(parts, journal, handover, owners, underway, permits, retention_s=retention_s),
        Whereabouts(parts, journal, owners, handover, glance),
    )


class Requests:
    """Answers what guests ask."""

    def __init__(self, verbs: Verbs, *, service: str = "vmdkvol-esxd", renewing: Renewing | None = None) -> None:
        """``renewing`` gives a caller a new certificate; without it there is no authority that could."""
        self._store = verbs.parts.store
        self._log = verbs.parts.log
        self._underway = verbs.underway
        self._permits = verbs.permits
        self._refused = Refused()
        listing = verbs.listing
        self._rows: Mapping[type[Request[Any]], Row] = {
            Hello: partial(_welcome, verbs.handover, service),
            CreateVolume: verbs.creating.create,
            GetVolume: lambda caller, request, *_: listing.get(caller, request),
            ListVolumes: lambda caller, request, *_: listing.page(caller, request),
            ListAttached: lambda caller, request, *_: listing.attached(caller, request),
            RemoveVolume: verbs.removing.remove,
            Attach: verbs.attaching.attach,
            Detach: verbs.attaching.detach,
            Mark: verbs.marking.mark,
            Keep: verbs.attaching.keep,
            Lagging: partial(_lagging, verbs.parts.lags),
            Renew: lambda caller, request, *_: (renewing or _no_authority)(caller, request),
        }
        assert self._rows.keys() == {kind for kind in REQUESTS if not kind.before_hello}, "each request has its row"

    def answer(self, request: Request[Any], call: Call) -> Any:
        """Return the answer of the class that the request names, or raise the VolumeError that is the answer.

        A call of this caller that was answered before gets that answer again, for 24 hours (F31). StillWorking at the
        call's deadline: the work goes on, and the same request joins it. A call that was refused stays refused for as
        long as bytes of it can be on their way: a second copy that comes late must not remove what the user was told is
        in use (F32).
        """
        if call.caller is None:
            raise UnknownCaller("the channel did not say who calls")
        row = self._rows.get(type(request))
        if row is None:
            raise BadFrame(f"{type(request).__name__} is for those who have not said Hello")
        reply = Reply(call.caller, call.id, partial(write, request), call.version)
        if not request.changes:
            return row(call.caller, request, call.deadline, reply)
        stored = self._store.stored_answer(call.caller, call.id)
        if stored is not None:
            return read(request, stored)
        self._refused.check(call.caller, call.id, request)
        try:
            answer = self._work_off(partial(row, call.caller, request, call.deadline, reply), request, call.caller, call)
        except REFUSALS as error:
            self._refused.keep(call.caller, call.id, request, error)
            raise
        if reply.kept:
            return answer
        try:
            self._store.keep_answer(call.caller, call.id, write(request, answer))
        except VolumeError as error:
            # The work is done and a repeat of it is harmless; only its answer may be another one.
            self._log.warning("answer not kept", request=type(request).__name__, call=str(call.id), error=str(error))
        return answer

    def _work_off(self, work: Callable[[], object], request: Request[Any], caller: VmId, call: Call) -> object:
        """Return the work's answer; meanwhile the caller hears how far the volume's work is, its own or what it waits for."""
        subject = self._subject(request, caller)
        if subject is None:
            return work()
        with self._underway.watched(subject, call.progress):
            try:
                return work()
            except StillWorking as error:
                found = None if "percent" in error.fields else self._underway.find(subject)
                if found is None:
                    raise
                raise still_working(*found) from error

    def _subject(self, request: Request[Any], caller: VmId) -> Subject | None:
        if not isinstance(request, CreateVolume | RemoveVolume | Attach | Detach):
            return None
        vmgroup = self._permits.group_id(caller)
        if vmgroup is None:
            return None
        return vmgroup, request.ref.text if isinstance(request, CreateVolume) else request.volume


def _welcome(handover: Handover, service: str, caller: VmId, hello: Hello, _: Deadline, __: Reply) -> Welcome:
    return Welcome(common_version(hello.oldest, hello.newest), caller, handover.name(caller), service)


def _lagging(lags: Lags, caller: VmId, told: Lagging, _: Deadline, __: Reply) -> Done:
    lags.told(caller, told.lags)
    return Done()


def _no_authority(caller: VmId, _: Renew) -> Enrolled:
    raise NotPermitted(f"{caller} is known by its socket; there are no certificates here", remedy="leave it as it is")
