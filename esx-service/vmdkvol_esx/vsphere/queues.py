"""What waits for a machine: one of those who wait carries out what all of them wait for, then the next one.

No thread of its own: whoever comes first leads, the others wait for how it ends. What comes while a reconfigure is under way
is taken together by the next one. Nobody waits for those who may come; for those who are on their way, a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Busy, VolumeError
from vmdkvol_esx.ports import AttachDisk, TaskId
from vmdkvol_esx.vsphere.batches import MAX_CHANGES, Move


@dataclass(eq=False, slots=True)
class Member:
    """One change that waits. ``path`` is the disk's, as the server writes it; ``alone``: it goes in a reconfigure of its own;
    ``again``: it failed before, so the machine is to be read anew; ``profile``: see ``specs``.

    Afterwards ``error`` is set, or ``task`` is, or neither: then it is done already. ``shared``: it went with others.
    """

    move: Move
    operation: str
    path: str = ""
    alone: bool = False
    again: bool = False
    profile: str | None = None
    task: TaskId | None = None
    error: VolumeError | None = None
    shared: bool = False
    ended: bool = False
    # A leader has it, so it ends when that one's calls do.
    carried: bool = False

    @property
    def goes_without(self) -> bool:
        """Tell whether it is an attach that was tried before and is now tried without its storage policy."""
        without = isinstance(self.move, AttachDisk) and self.move.policy is not None and self.profile is None
        return without and self.again and not self.alone


@dataclass(eq=False, slots=True)
class Arrival:
    """Of one who is expected; ``done`` when he is there, or does not come."""

    done: bool = False


class Queue:
    """Of one machine. ``flight`` is the task of the last reconfigure, as long as its end was not seen."""

    def __init__(self, clock: Clock) -> None:
        self._changed = clock.condition()
        self._waiting: list[Member] = []
        self._leading = False
        self._expected = 0
        self.flight: TaskId | None = None

    @property
    def waiting(self) -> int:
        with self._changed:
            return len(self._waiting)

    @contextmanager
    def expecting(self) -> Iterator[Arrival]:
        """Somebody looks at his disk and comes then: whoever leads meanwhile waits a moment for him."""
        arrival = Arrival()
        with self._changed:
            self._expected += 1
        try:
            yield arrival
        finally:
            with self._changed:
                self._arrived(arrival)

    def through(
        self, member: Member, lead: Callable[[Queue], None], deadline: Deadline, arrival: Arrival | None = None
    ) -> None:
        """Return when the member has ended. ``lead`` takes a ``batch`` and ends its members; it may end only some.

        Busy if the deadline comes before anybody took it: then nothing was done for it.
        """
        with self._changed:
            self._waiting.append(member)
            self._arrived(arrival)
        while self._must_lead(member, deadline):
            try:
                lead(self)
            except BaseException:
                self._leave(member)
                raise
            finally:
                self._led()

    def gather(self, deadline: Deadline) -> None:
        """Wait for those who are expected, as long as there is room for them, until the deadline at most.

        With an attach that was perhaps refused for its policy: those that failed together with it come again too.
        """
        with self._changed:
            while self._is_expecting() and len(self._waiting) < MAX_CHANGES and not deadline.passed:
                self._changed.wait(deadline.left_s)

    def batch(self) -> Sequence[Member]:
        """Return those who go next; all that wait, or the one that is to go alone."""
        with self._changed:
            alone = [each for each in self._waiting if each.alone][:1]
            taken = alone or list(self._waiting)
            for each in taken:
                each.carried = True
            return taken

    def end(
        self, member: Member, *, task: TaskId | None = None, error: VolumeError | None = None, shared: bool = False
    ) -> None:
        """Say how it ended."""
        with self._changed:
            member.task, member.error, member.shared = task, error, shared
            member.ended = True
            self._waiting.remove(member)
            self._changed.notify_all()

    def landed(self, task: TaskId) -> None:
        """The task has ended."""
        with self._changed:
            if self.flight == task:
                self.flight = None

    def _leave(self, member: Member) -> None:
        """Nobody is to carry it out any more: who asked for it has gone."""
        with self._changed:
            if not member.ended:
                member.ended = True
                self._waiting.remove(member)

    def _arrived(self, arrival: Arrival | None) -> None:
        """He is here, or does not come; the lock is held."""
        if arrival is not None and not arrival.done:
            arrival.done = True
            self._expected -= 1
            self._changed.notify_all()

    def _is_expecting(self) -> bool:
        return self._expected > 0 or any(each.goes_without for each in self._waiting)

    def _led(self) -> None:
        with self._changed:
            self._leading = False
            for each in self._waiting:
                each.carried = False
            self._changed.notify_all()

    def _must_lead(self, member: Member, deadline: Deadline) -> bool:
        with self._changed:
            while not member.ended and self._leading:
                if deadline.passed and not member.carried:
                    self._waiting.remove(member)
                    raise Busy(f"{member.move.disk.path}: other changes of its virtual machine have not ended")
                # Carried, it has the time of its leader's calls, which are bounded.
                self._changed.wait(None if member.carried else deadline.left_s)
            self._leading = not member.ended or self._leading
            return not member.ended
