"""The names of all volumes as this host knows them, fed by the service; and when the service is worth asking at all.

Get and List must answer in two seconds whatever the service does, and must never say "absent" for "I do not know".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vmdkvol.clock import Deadline
from vmdkvol.errors import InvalidName, NotFound, ProtocolError, ServiceUnreachable, StillWorking, VolumeError
from vmdkvol.messages import GetVolume, ListVolumes, VolumePage
from vmdkvol.names import VolumeRef
from vmdkvol.volume import State, VolumeId, VolumeInfo
from vmdkvol_guest.answers import Said
from vmdkvol_guest.parts import Parts
from vmdkvol_guest.plan import pause_after

# As many as usually go into one frame: what the service reads beyond that is for nothing.
PAGE = 100
# How many removals are remembered against answers that were on their way; each of those takes seconds at most.
_REMEMBERED = 10_000
# Of how many volumes it is kept when they were heard of: more than a host can have mounted.
_HEARD = 1000


@dataclass(frozen=True, slots=True)
class Word:
    """What the service said about a name, with the volume if there is one."""

    said: Said
    info: VolumeInfo | None = None


@dataclass(slots=True)
class _Walk:
    """A listing under way, page by page. It goes on where it stopped: all of a large site in one go would take too long.

    ``change`` and ``complete`` are the first page's; what changes behind the walk is asked for by that number after it.
    """

    ticket: int
    since: int | None
    before: frozenset[VolumeId]
    after: VolumeId | None = None
    change: int | None = None
    complete: bool = False
    seen: set[VolumeId] = field(default_factory=set)
    removed: set[VolumeId] = field(default_factory=set)

    def take(self, page: VolumePage) -> None:
        if self.change is None:
            self.change, self.complete = page.change, page.complete
        self.seen.update(info.id for info in page.volumes)
        self.removed.update(page.removed)
        self.after = page.next

    def gone(self) -> set[VolumeId]:
        """Return what is to be forgotten at the end of the walk."""
        return set(self.before if self.complete else self.removed) - self.seen


class Catalogue:
    """``up`` tells whether the line to the service stands. After the first failure nothing is asked until a Hello worked."""

    def __init__(self, parts: Parts, up: Callable[[], bool]) -> None:
        self._parts = parts
        self._up = up
        self._changed = parts.clock.condition()
        self._trusted = True
        # Since when there was no word of the service: at the start nothing is known of it yet.
        self._silent_since = parts.clock.monotonic()
        self._feeding = False
        self._walk: _Walk | None = None
        # How many pages were taken over, and how long the background rests after a try that brought none.
        self._pages = 0
        self._rest_s: float | None = None
        self._removals = 0
        self._removed: dict[VolumeId, int] = {}
        # When the service was last heard about a volume that somebody asked for by its name.
        self._heard: dict[VolumeId, float] = {}

    # --- asking ------------------------------------------------------------------------------------------------

    def greeted(self) -> None:
        """A Hello was answered: the service is asked again."""
        with self._changed:
            self._trusted = True
            self._changed.notify_all()

    def lost(self) -> None:
        """The line broke: the service may be restarting, so that a little patience is in place."""
        with self._changed:
            self._silent_since = self._parts.clock.monotonic()

    @property
    def worth_asking(self) -> bool:
        return self._trusted and self._up()

    def hear(self, ref: VolumeRef, *, patient: bool = False) -> Word:
        """Return what the service says about the name within the time that Get has; NOTHING at once while it is away.

        ``patient``: nobody else can answer. A service that was lost, or not reached, for no longer than ``away_s`` is
        waited for until that time is over; so a thousand such calls wait no longer than one.
        """
        deadline = self._patience(patient)
        word = Word(Said.NOTHING)
        while word.said is Said.NOTHING and self._reached(deadline):
            word = self._asked(ref)
            if not patient or self._trusted:
                break
        return word

    def _asked(self, ref: VolumeRef) -> Word:
        try:
            return Word(Said.VOLUME, self.resolve(ref, self._parts.limits.get_s))
        except (NotFound, InvalidName):
            return Word(Said.ABSENT)
        except VolumeError as error:
            self._failed(error)
            return Word(Said.NOTHING)

    def resolve(self, ref: VolumeRef, seconds: float) -> VolumeInfo:
        """Ask the service for the volume of this name, and keep the answer; raises VolumeNotFound and what else it says."""
        ticket = self.ticket()
        info = self._parts.ask(GetVolume(ref), seconds)
        self.remember(ticket, info)
        self._hear_of(info.id)
        return info

    def fresh(self, volume: VolumeId) -> bool:
        """Tell whether the service is there, and its last word about the volume is younger than ``here_s``."""
        oldest = self._parts.clock.monotonic() - self._parts.limits.here_s
        with self._changed:
            heard = self._heard.get(volume)
        return heard is not None and heard > oldest and self.worth_asking

    def _hear_of(self, volume: VolumeId) -> None:
        with self._changed:
            self._heard.pop(volume, None)
            self._heard[volume] = self._parts.clock.monotonic()
            if len(self._heard) > _HEARD:
                del self._heard[next(iter(self._heard))]

    def _failed(self, error: VolumeError) -> None:
        # An error that a living service says ("the hypervisor does not answer") is no reason not to ask it again.
        if isinstance(error, ServiceUnreachable | StillWorking | ProtocolError):
            with self._changed:
                was, self._trusted = self._trusted, False
                if was:
                    self._silent_since = self._parts.clock.monotonic()
            if was:
                self._parts.log.warning("answers come from the catalogue", reason=str(error))

    def _patience(self, patient: bool) -> Deadline:
        return Deadline.after(self._parts.clock, self._parts.limits.away_s if patient else 0.0)

    def _reached(self, deadline: Deadline) -> bool:
        """Tell whether the service is worth asking, waiting for it while its silence is new."""
        with self._changed:
            while not self.worth_asking:
                silence = Deadline(deadline.clock, self._silent_since + self._parts.limits.away_s)
                left_s = min(deadline.left_s, silence.left_s)
                if left_s <= 0.0:
                    return False
                self._changed.wait(left_s)
            return True

    # --- keeping -----------------------------------------------------------------------------------------------

    def ticket(self) -> int:
        """Return what ``remember`` needs to tell an answer that was on its way when the volume was removed. Before asking."""
        with self._changed:
            return self._removals

    def remember(self, ticket: int, *infos: VolumeInfo) -> None:
        """Keep the volumes, but those removed since ``ticket``: once Remove is answered, List never shows it (C17).

        One that is being made is not kept: should that fail while the service is away, the engine would hear that it is there.
        """
        with self._changed:
            kept = [info for info in infos if self._removed.get(info.id, 0) <= ticket]
            being_made = [info for info in kept if info.state is State.PREPARING]
            made = [info for info in kept if info.state is not State.PREPARING]
            # How far its work is will be old when this is read.
            self._parts.notebook.remember(*(info if info.work is None else replace(info, work=None) for info in made))
            for info in being_made:
                known = self._parts.notebook.known(info.name)
                if known is not None and known.id != info.id:
                    # It had the name before, so it is gone.
                    self._parts.notebook.forget(known.id)

    def forget(self, volume: VolumeId) -> None:
        """Take the volume out, also of answers that are on their way."""
        with self._changed:
            self._removals += 1
            self._removed.pop(volume, None)
            self._removed[volume] = self._removals
            self._heard.pop(volume, None)
            while len(self._removed) > _REMEMBERED:
                del self._removed[next(iter(self._removed))]
            self._parts.notebook.forget(volume)

    def here(self, volume: VolumeId) -> bool:
        """Tell whether this host holds the volume or has its disk: then it is there, whatever anybody says."""
        return volume in self._parts.notebook.holdings() or volume in self._parts.mounts.mounted()

    # --- feeding -----------------------------------------------------------------------------------------------

    @property
    def filled(self) -> bool:
        """Tell whether the catalogue was complete at least once."""
        return self._parts.notebook.change() is not None

    @property
    def listed(self) -> int | None:
        """Return how many volumes of a listing under way came so far; None if none is under way."""
        walk = self._walk
        return None if walk is None else len(walk.seen)

    def feed(self, seconds: float, *, patient: bool = False) -> bool:
        """Take over what changed at the service; tell whether the catalogue is now as fresh as the service.

        One feeding at a time: whoever comes meanwhile waits for its end. What does not fit into ``seconds`` is left to the
        next one. Never raises what the service says. ``patient``: as in ``hear``.
        """
        deadline = self._patience(patient)
        while self._reached(deadline):
            if self._feed(Deadline.after(self._parts.clock, seconds), self._parts.limits.get_s):
                return True
            if not patient or self._trusted:
                break
        return False

    def refresh(self) -> float | None:
        """Feed in the background, with more patience for each answer; return in how many seconds it is to go on.

        None: all is taken over, or a Hello comes first. A walk under way goes on by itself, whatever a List thinks of the
        service meanwhile: at once if something came, else after a pause that grows. A success ends a distrust that no
        Hello has ended.
        """
        if not self._up():
            return None
        limits, before = self._parts.limits, self._pages
        whole = self._feed(Deadline.after(self._parts.clock, limits.list_s), limits.look_s)
        if whole:
            self.greeted()
        came = whole or self._pages != before
        self._rest_s = None if came else pause_after(self._rest_s)
        return None if whole else self._rest_s or 0.0

    def _feed(self, deadline: Deadline, patience_s: float) -> bool:
        before = self.listed
        with self._changed:
            while self._feeding and not deadline.passed:
                self._changed.wait(deadline.left_s)
            busy, self._feeding = self._feeding, True
        if busy:
            if self.listed == before:
                # The background, which has more patience, hears nothing either.
                self._failed(StillWorking("the service is slow to list its volumes"))
            return False
        try:
            return self._take_over(deadline, patience_s)
        except VolumeError as error:
            self._failed(error)
            return False
        finally:
            with self._changed:
                self._feeding = False
                self._changed.notify_all()

    def _take_over(self, deadline: Deadline, patience_s: float) -> bool:
        """Go on with the listing, each answer within the deadline or ``patience_s``; tell whether it came to its end."""
        notebook = self._parts.notebook
        walk = self._walk
        if walk is None:
            known = frozenset(info.id for info in notebook.catalogue())
            walk = self._walk = _Walk(self.ticket(), notebook.change(), known)
        while True:
            page = self._parts.ask(ListVolumes(walk.after, PAGE, walk.since), max(deadline.left_s, patience_s))
            walk.take(page)
            self._pages += 1
            self.remember(walk.ticket, *page.volumes)
            if page.next is None:
                break
            if deadline.passed:
                return False
        self._walk = None
        # A volume that this host has is not forgotten, since its Unmount must find it by its name. Then the same
        # changes are asked for again, until it can be.
        gone = walk.gone()
        kept = {*notebook.holdings(), *self._parts.mounts.mounted()} & gone if gone else gone
        if gone - kept:
            notebook.forget(*(gone - kept))
        if not kept:
            notebook.set_change(walk.change)
        return True
