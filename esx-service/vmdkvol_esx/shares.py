"""How much of the one thread that owns all connections each machine gets: what it uses beyond its share, it waits for (T7).

Measured in time of that thread, not in requests: also what is no request, such as a thousand empty records of TLS, takes
time from the others. A machine that is alone is never held back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

# Of the thread's time, beside others. A request takes a tenth of a millisecond of it: two thousand of one machine in a second.
SHARE = 0.2
# So much at once before that: a thousand requests, as when a host with many containers starts.
BURST_S = 0.1
# How far a machine that went faster while it was alone may fall behind.
DEBT_S = 0.5
# A machine that used some in this time is there, and what it sends next must not wait.
PRESENT_S = 5.0
# Accounts of machines that were there last. One that is forgotten owes nothing.
_KEPT = 4096


@dataclass(slots=True)
class _Account:
    """``paid_until`` is the moment up to which this machine's share is used; ``came`` when it last used some."""

    paid_until: float
    came: float


class Shares:
    """Used by one thread."""

    def __init__(self) -> None:
        # Those that used some last are at the end.
        self._accounts: OrderedDict[Hashable, _Account] = OrderedDict()

    def used(self, who: Hashable, seconds: float, now: float) -> None:
        """``who`` took ``seconds`` of the thread, until ``now`` (monotonic)."""
        account = self._accounts.get(who)
        if account is None:
            account = self._accounts[who] = _Account(now, now)
            if len(self._accounts) > _KEPT:
                self._accounts.popitem(last=False)
        paid = max(account.paid_until, now) + seconds / SHARE
        account.paid_until, account.came = min(paid, now + BURST_S / SHARE + DEBT_S), now
        self._accounts.move_to_end(who)

    def rest_s(self, who: Hashable, now: float) -> float:
        """Return for how long ``who`` is to be left waiting; 0 while no other machine is there."""
        account = self._accounts.get(who)
        if account is None or account.paid_until - BURST_S / SHARE <= now or not self._others(who, now):
            return 0.0
        return account.paid_until - BURST_S / SHARE - now

    def _others(self, who: Hashable, now: float) -> bool:
        for other in reversed(self._accounts):
            if other != who:
                return now - self._accounts[other].came < PRESENT_S
        return False
