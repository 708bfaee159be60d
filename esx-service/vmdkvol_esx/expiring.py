"""Certificates end: the service's own is renewed before, and who stays connected on one that is over is closed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import VolumeError
from vmdkvol.volume import VmId
from vmdkvol_esx.identities import Identities
from vmdkvol_esx.ports import Log

EVERY_S = 60.0


class Expiring:
    """Looks every minute. ``start`` and ``stop`` once."""

    def __init__(
        self,
        records: Identities,
        clock: Clock,
        log: Log,
        connected: Callable[[VmId], bool],
        close: Callable[[VmId, Collection[str]], None],
        renew: Callable[[], bool],
        every_s: float = EVERY_S,
    ) -> None:
        """``close`` closes what is connected by another certificate than those with these fingerprints.

        ``renew`` renews the service's own if it is due, and tells whether.
        """
        self._records = records
        self._clock = clock
        self._log = log
        self._connected = connected
        self._close = close
        self._renew = renew
        self._every_s = every_s
        self._changed = clock.condition()
        self._stopped = False
        self._worker: Worker | None = None
        self._troubles: dict[str, str] = {}

    def start(self) -> None:
        self._worker = self._clock.start("expiring", self._run)

    def stop(self, deadline: Deadline) -> bool:
        """End; tell whether the look that was under way ended before the deadline."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._worker is None:
            return True
        self._worker.join(deadline.left_s)
        return not self._worker.is_alive()

    def look(self) -> None:
        """Close what is over, and renew what is due. What cannot be read or written is tried again at the next look."""
        self._try("connections", self._close_over)
        self._try("the service's certificate", self._renew_own)

    def _close_over(self) -> None:
        # All that are connected, and each time: a connection may have come just before the end.
        now = self._clock.wall()
        counts: dict[VmId, set[str]] = defaultdict(set)
        for each in self._records.identities():
            counts[each.vm] |= {each.fingerprint} if each.revoked_at is None and each.not_after > now else set()
        for vm, fingerprints in counts.items():
            if self._connected(vm):
                self._close(vm, fingerprints)

    def _renew_own(self) -> None:
        if self._renew():
            self._log.info("the service has a new certificate")

    def _try(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
            self._troubles.pop(what, None)
        except (VolumeError, OSError) as error:
            if self._troubles.get(what) != str(error):
                self._troubles[what] = str(error)
                self._log.error("certificates are not looked after", of=what, error=str(error))

    def _run(self) -> None:
        while not self._stopped:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - top of a thread: a bug here must not leave certificates to end
                self._log.error("the look at certificates failed by a bug", error=f"{type(error).__name__}: {error}")
            self._pause()

    def _pause(self) -> None:
        deadline = Deadline.after(self._clock, self._every_s)
        with self._changed:
            while not self._stopped and not deadline.passed:
                self._changed.wait(deadline.left_s)
