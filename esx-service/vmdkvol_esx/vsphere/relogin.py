"""When to log in again. Pure: what is known of the last tries, and the time.

A wrong password that is tried by every caller locks the account, on vCenter after five tries by default; so there is one
try at a time for all, and 30 s between two that the server refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

REFUSED_S = 30.0
# After every other failure: a server that is gone is not asked by each caller anew.
FAILED_S = 1.0


@dataclass(frozen=True, slots=True)
class Tries:
    """``generation`` counts logins that succeeded; 0 is none yet. ``held_until`` is a monotonic time."""

    generation: int = 0
    under_way: bool = False
    held_until: float = 0.0


class Advice(StrEnum):
    USE = "somebody logged in since: use that session"
    JOIN = "somebody is logging in: wait for how that ends"
    HOLD = "not yet: the last try failed a moment ago"
    LOG_IN = "log in"


def advise(tries: Tries, seen: int, now: float) -> Advice:
    """Return what a caller does whose session, of generation ``seen``, has ended; ``seen`` is 0 if it had none."""
    if tries.generation > seen:
        return Advice.USE
    if tries.under_way:
        return Advice.JOIN
    return Advice.HOLD if now < tries.held_until else Advice.LOG_IN


def succeeded(tries: Tries) -> Tries:
    """Return the state after a login."""
    return Tries(tries.generation + 1)


def failed(tries: Tries, now: float, *, asked: bool) -> Tries:
    """Return the state after a try that failed; ``asked``: the password was sent.

    An answer that was lost may have been a refusal: it counts as one on the server.
    """
    return Tries(tries.generation, held_until=now + (REFUSED_S if asked else FAILED_S))
