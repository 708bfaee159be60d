"""Numbers of loop devices: one that was let go a moment ago serves the next disk, what nobody needs goes back to the kernel.

LOOP_CTL_REMOVE waits some 45 ms for the kernel's readers, and each LOOP_CTL_ADD waits behind it (seen on 6.18): given
back at once, the numbers of the disks that leave would hold up those that come.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol_esx.local import loop_device

# For how long a number is kept for the next disk. After a second, as it once was, what eight disks had left behind was
# often given back just when the next ones came: Mounts, and Gets beside them, then took 40 ms longer.
KEPT_S = 5.0


class Numbers:
    """Used from any thread. ``close`` it when no disk comes or goes any more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = clock.condition()
        # With each number, whether the next disk may have it.
        self._kept: dict[int, bool] = {}
        self._closing = False
        # Whether a disk ever came or went here.
        self._used = False
        self._sweeper: Worker | None = None

    def take(self, *, fresh: bool) -> Iterator[int]:
        """Yield numbers until the caller could bind one; ``fresh``: new ones only.

        A disk whose discards are to be switched off takes a fresh one, and nobody gets it after: that stays with a
        number as long as it exists.
        """
        self._used = True
        while not fresh and (number := self._take_kept()) is not None:
            yield number
        yield from loop_device.added()

    def give_back(self, number: int) -> None:
        """Take a number that is bound no more. It goes back to the kernel in a moment, on a thread of its own."""
        fit = loop_device.takes_discards(number)
        with self._changed:
            self._used = True
            self._kept[number] = fit
            if self._sweeper is None:
                self._sweeper = self._clock.start("loop-numbers", self._sweep)

    def close(self) -> None:
        """Give back what is kept, and what a killed process left; nothing where no disk ever came or went."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            sweeper = self._sweeper
        if sweeper is not None:
            sweeper.join()
        for number in loop_device.left_over() if self._used else ():
            loop_device.remove(number)

    def _take_kept(self) -> int | None:
        with self._changed:
            number = next((number for number, fit in self._kept.items() if fit), None)
            if number is not None:
                del self._kept[number]
            return number

    def _sweep(self) -> None:
        while (old := self._old()) is not None:
            for number in old:
                loop_device.remove(number)

    def _old(self) -> list[int] | None:
        """Return, after a while, the numbers that nobody needed through it; None when nothing is kept any more."""
        with self._changed:
            before, until = set(self._kept), Deadline.after(self._clock, KEPT_S)
            while not self._closing and not until.passed:
                self._changed.wait(until.left_s)
            old = [number for number in self._kept if number in before or self._closing]
            for number in old:
                del self._kept[number]
            if not old and not self._kept:
                self._sweeper = None
                return None
            return old
