"""Whether a call that failed is made again. Pure: the one place that says so.

A read is made again once after a broken connection (an answer that breaks off is one) and once after a new login. A change
is made again only if it certainly was not carried out: nothing was sent, or the server refused it for want of a session
before any work.
"""

from __future__ import annotations

from enum import StrEnum

from vmdkvol_esx.vsphere.faults import Kind, Meaning


class Step(StrEnum):
    REPEAT = "ask again on a new connection"
    LOG_IN = "log in and ask again"
    GIVE_UP = "say what went wrong"


def next_step(kind: Kind, meaning: Meaning, done: frozenset[Step]) -> Step:
    """Return what follows a call that was answered with ``meaning``; each step is taken once at most, ``done`` are those."""
    if meaning is Meaning.LOGGED_OUT:
        step = Step.LOG_IN
    elif meaning is Meaning.NOT_SENT or (kind is Kind.READ and meaning in (Meaning.LOST, Meaning.NOT_UNDERSTOOD)):
        step = Step.REPEAT
    else:
        step = Step.GIVE_UP
    return Step.GIVE_UP if step in done else step
