"""What is known of the changes under way: which, since when, how far; and who waits to hear of it.

Of this process only: after a restart the journal follows the open intents again, and says so here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import assert_never
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol.volume import Doing, VmgroupId, VolumeId, Work
from vmdkvol_esx.ports import (
    AttachDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    DeleteDisk,
    DetachDisk,
    GrowDisk,
    Progress,
)
from vmdkvol_esx.records import Intent, VolumeRecord

# Whoever waits hears of a piece of work at most so often, however fast it goes.
TELL_EVERY_S = 0.5
# More than fail while somebody looks for why.
_FAILURES = 1000

# A volume by its id, or by its name before the caller can know the id; of a vmgroup, since others' do not exist for it (I7).
Subject = tuple[VmgroupId, VolumeId | str]


@dataclass(slots=True)
class _Entry:
    """``first`` is when this process heard the first percent and how many that were: the pace is counted from there."""

    intent: UUID
    name: tuple[VmgroupId, str]
    doing: Doing
    since: float
    percent: int = 0
    first: tuple[float, int] | None = None
    changed_at: float = 0.0
    told_at: float | None = None


class Underway:
    """Shared by the journal, which tells, and whoever answers or waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = clock.condition()
        self._entries: dict[VolumeId, _Entry] = {}
        self._failures: OrderedDict[UUID, tuple[VolumeError, str]] = OrderedDict()
        self._waiting: dict[Subject, list[Callable[[int], None]]] = {}

    def started(self, intent: Intent, record: VolumeRecord) -> Progress:
        """The work of ``intent`` goes on from now, perhaps again; return what its progress is to be told to."""
        with self._changed:
            entry = self._entries.get(record.id)
            if entry is None or entry.intent != intent.id:
                name = (record.vmgroup, record.name)
                self._entries[record.id] = _Entry(intent.id, name, doing(intent.change), intent.opened_at)
        return partial(self._progress, record.id, intent.id)

    def ended(self, volume: VolumeId) -> None:
        """Nothing is under way for the volume; it may not have been before."""
        with self._changed:
            self._entries.pop(volume, None)

    def failed(self, intent: UUID, error: VolumeError, name: str) -> None:
        """Remember why this piece of work did not happen, for who did not wait for it; the latest ones alone."""
        with self._changed:
            self._failures[intent] = error, name
            while len(self._failures) > _FAILURES:
                self._failures.popitem(last=False)

    def failure(self, intent: UUID) -> tuple[VolumeError | None, str | None]:
        """Return why this piece of work did not happen, and its volume's name, as far as they are known."""
        with self._changed:
            return self._failures.get(intent, (None, None))

    def of(self, volume: VolumeId) -> Work | None:
        """Return what is being done to the volume at this moment."""
        if not self._entries:
            # Nothing to anybody: a listing asks ten thousand times.
            return None
        with self._changed:
            entry = self._entries.get(volume)
            return None if entry is None else self._work(entry)

    def find(self, subject: Subject) -> tuple[str, Work] | None:
        """Return the volume's name and what is being done to it at this moment."""
        with self._changed:
            entry = self._entry(subject)
            return None if entry is None else (entry.name[1], self._work(entry))

    @contextmanager
    def watched(self, subject: Subject, tell: Callable[[int], None]) -> Iterator[None]:
        """While entered, ``tell`` hears how far the subject's work is: at once if that is known, then as it changes.

        At most twice a second, on the thread that follows the work; it must not wait.
        """
        with self._changed:
            entry = self._entry(subject)
            percent = 0 if entry is None else entry.percent
            self._waiting.setdefault(subject, []).append(tell)
        if percent > 0:
            tell(percent)
        try:
            yield
        finally:
            with self._changed:
                self._waiting[subject].remove(tell)
                if not self._waiting[subject]:
                    del self._waiting[subject]

    def _progress(self, volume: VolumeId, intent: UUID, percent: int) -> None:
        now = self._clock.monotonic()
        with self._changed:
            entry = self._entries.get(volume)
            if entry is None or entry.intent != intent or percent <= entry.percent:
                return
            entry.percent, entry.changed_at = percent, now
            entry.first = entry.first or (now, percent)
            if entry.told_at is not None and now - entry.told_at < TELL_EVERY_S:
                return
            entry.told_at = now
            group = entry.name[0]
            waiting = [*self._waiting.get((group, volume), ()), *self._waiting.get(entry.name, ())]
        for tell in waiting:
            tell(percent)

    def _entry(self, subject: Subject) -> _Entry | None:
        group, which = subject
        if isinstance(which, str):
            return next((entry for entry in self._entries.values() if entry.name == subject), None)
        entry = self._entries.get(which)
        return entry if entry is not None and entry.name[0] == group else None

    def _work(self, entry: _Entry) -> Work:
        return Work(entry.doing, entry.percent, entry.since, self._left(entry))

    def _left(self, entry: _Entry) -> int | None:
        """Return how long the work still takes at the pace so far; None until there is one."""
        if entry.first is None or entry.percent <= entry.first[1] or entry.changed_at <= entry.first[0]:
            return None
        pace = (entry.percent - entry.first[1]) / (entry.changed_at - entry.first[0])
        return round(max(0.0, (100 - entry.percent) / pace - (self._clock.monotonic() - entry.changed_at)))


def doing(change: Change) -> Doing:
    """Return the word for what is done to the disk."""
    match change:
        case CreateDisk():
            return Doing.CREATE
        case CloneDisk():
            return Doing.CLONE
        case DeleteDisk():
            return Doing.DELETE
        case AttachDisk():
            return Doing.ATTACH
        case DetachDisk():
            return Doing.DETACH
        case GrowDisk():
            return Doing.GROW
        case ChangePolicy():
            return Doing.POLICY
        case _:
            assert_never(change)
