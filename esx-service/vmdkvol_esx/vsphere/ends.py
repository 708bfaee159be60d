"""Whether a task has ended, and how. Pure: what was read of it, in; its end, or None while it goes on, out."""

from __future__ import annotations

from dataclasses import dataclass

from vmdkvol_esx.vsphere.faults import Meaning, Trouble, Where


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a task; None is what was not said. ``state`` in the server's words."""

    state: str | None
    result: object = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class End:
    """``gone``: the server does not know the task, which says nothing of what it did."""

    result: object = None
    trouble: Trouble | None = None
    gone: bool = False


def goes_on(state: str | None) -> bool | None:
    """Tell whether a task in this state has not ended; None if nothing was said. An unknown state counts as an end."""
    return None if state is None else state in ("queued", "running")


def end_of(seen: Seen) -> End | None:
    """Return how the task ended; None while it is queued or running, or nothing was said of it.

    A failure without a fault, and a state that is not known here, leave in doubt what was done.
    """
    if goes_on(seen.state) is not False:
        return None
    if seen.state == "success":
        return End(seen.result)
    if seen.state == "error":
        return End(trouble=seen.trouble or Trouble(Meaning.OTHER, "the task failed without a fault", Where.TASK))
    return End(trouble=Trouble(Meaning.OTHER, f"task state {seen.state!r}", Where.TASK))
