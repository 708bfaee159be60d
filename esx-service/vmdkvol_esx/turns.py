"""Whose change may begin when: a virtual machine that sends many of them waits for itself, and not the others for it (T7).

All changes share one database and one processor. With sixty changes of one machine under way, one of another took a
hundred times as long. A machine that is alone is never held back.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from vmdkvol.clock import Clock

# Changes of one machine in a second, beside others. A mount and its unmount are four, a busy host has some such a second.
RATE = 25.0
# So many come at once before that: 64 volumes that are mounted for the first time.
BURST = 256
# How far a machine that went faster while it was alone may fall behind.
DEBT_S = 3.0
# A machine that had a change in this time is there, and what it sends next must not wait.
PRESENT_S = 5.0


@dataclass(slots=True)
class _Account:
    """``paid_until`` is the moment up to which this machine's share is used; ``came`` when its last change came."""

    paid_until: float
    came: float


class Turns:
    """Shared by the crews of all machines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = clock.condition()
        self._accounts: dict[Hashable, _Account] = {}

    def came(self, machine: Hashable) -> float:
        """A change of ``machine`` has come; return the moment (monotonic) at which its share lets it begin."""
        now = self._clock.monotonic()
        with self._changed:
            account = self._accounts.setdefault(machine, _Account(now, now))
            account.came = now
            begins = max(account.paid_until, now)
            account.paid_until = min(begins + 1.0 / RATE, now + BURST / RATE + DEBT_S)
            return begins - BURST / RATE

    def wait_s(self, machine: Hashable, begins: float) -> float:
        """Return how long a change waits that may begin at ``begins``: not at all while no other machine sends any."""
        now = self._clock.monotonic()
        with self._changed:
            others = any(now - each.came < PRESENT_S for other, each in self._accounts.items() if other != machine)
        return max(0.0, begins - now) if others else 0.0
