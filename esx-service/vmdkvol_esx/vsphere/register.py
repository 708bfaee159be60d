"""Which disks are being worked on by this process: one change of one disk at a time, and nothing on what a copy reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vmdkvol.clock import Clock
from vmdkvol.errors import Busy, OutcomeUnknown, VolumeInUse
from vmdkvol_esx.ports import Change, CloneDisk, DiskPath
from vmdkvol_esx.vsphere.receipts import Receipt

# So long after an answer was lost the call may still be on its way, with no task of it to be seen.
DOUBT_S = 60.0


@dataclass(slots=True)
class _Work:
    """``receipt`` is None until its task is known; ``doubtful_until``: nobody knows whether it was started."""

    change: Change
    receipt: Receipt | None = None
    doubtful_until: float | None = None


class Register:
    """Safe for any number of threads. After a restart it is empty: then the server's own locks, and our intents, are left."""

    def __init__(self, clock: Clock, ended: Callable[[Receipt], bool]) -> None:
        """``ended`` tells whether a task has ended, as the server has it now: work that nobody waited for to its end."""
        self._clock = clock
        self._changed = clock.condition()
        self._ended = ended
        self._works: dict[DiskPath, _Work] = {}

    def begin(self, change: Change) -> Receipt | None:
        """Take the disk for ``change``, or return the receipt of the same change that is under way.

        Busy if another one is, VolumeInUse if the disk is being copied.
        """
        self._sweep(change)
        with self._changed:
            known = self._works.get(change.disk.path)
            if known is not None and known.change == change and known.receipt is not None:
                return known.receipt
            self._check(change)
            self._works[change.disk.path] = _Work(change)
            return None

    def check(self, change: Change) -> None:
        """Raise as ``begin``; nothing is taken."""
        self._sweep(change)
        with self._changed:
            self._check(change)

    def started(self, change: Change, receipt: Receipt) -> Receipt:
        """Note the task of ``change``; the disk is taken until ``end``."""
        with self._changed:
            self._works[change.disk.path] = _Work(change, receipt)
        return receipt

    @contextmanager
    def sending(self, change: Change) -> Iterator[None]:
        """Within, ``change`` is sent to the server. If its answer is lost, nobody has the disk for ``DOUBT_S``."""
        try:
            yield
        except OutcomeUnknown:
            with self._changed:
                self._works[change.disk.path] = _Work(change, None, self._clock.monotonic() + DOUBT_S)
            raise

    def release(self, path: DiskPath) -> None:
        """Give the disk back, unless its change was started or is in doubt."""
        with self._changed:
            known = self._works.get(path)
            if known is not None and known.receipt is None and known.doubtful_until is None:
                del self._works[path]

    def end(self, path: DiskPath) -> None:
        """Give the disk back; not taken is fine."""
        with self._changed:
            self._works.pop(path, None)

    def in_doubt(self, path: DiskPath) -> bool:
        """Tell whether a change of the disk may be on its way of which no task is known."""
        with self._changed:
            known = self._works.get(path)
            until = None if known is None else known.doubtful_until
            return until is not None and self._clock.monotonic() < until

    def tasks(self) -> frozenset[str]:
        """Return the server's ids of the tasks that are known here."""
        with self._changed:
            return frozenset(work.receipt.task for work in self._works.values() if work.receipt is not None)

    def _sweep(self, change: Change) -> None:
        """Give back what stands in the way of ``change`` and has ended; the server is asked without the lock."""
        with self._changed:
            blocking = [(path, work) for path, work in self._works.items() if _concerns(work.change, change)]
        for path, work in [each for each in blocking if self._over(each[1], change)]:
            with self._changed:
                if self._works.get(path) is work:
                    del self._works[path]

    def _over(self, work: _Work, change: Change) -> bool:
        if work.doubtful_until is not None:
            return self._clock.monotonic() >= work.doubtful_until
        # Whoever asks for the same change waits for the same task, and does what follows it.
        return work.receipt is not None and work.change != change and self._ended(work.receipt)

    def _check(self, change: Change) -> None:
        for path, work in self._works.items():
            told = f"{type(work.change).__name__} of {path}"
            if path == change.disk.path:
                raise Busy(f"{told} has not ended")
            if isinstance(work.change, CloneDisk) and work.change.source.path == change.disk.path:
                raise VolumeInUse(f"{change.disk.path} is being copied to {path}", remedy="try again later")
            if isinstance(change, CloneDisk) and path == change.source.path:
                raise Busy(f"{told} has not ended")


def _concerns(known: Change, change: Change) -> bool:
    sources = {each.source.path for each in (known, change) if isinstance(each, CloneDisk)}
    return known.disk.path == change.disk.path or known.disk.path in sources or change.disk.path in sources
