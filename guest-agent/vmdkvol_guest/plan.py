"""What to do about one volume on this host: what is wanted, what the kernel and the service say, in; one step out. Pure.

When two sources disagree the disk stays attached (docker-facts 7.1.9). Detaching is decided here and proved by the
claim: this table says that nothing of ours needs the disk, the kernel that nobody else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# A device that is held elsewhere is tried again after 1, 2, 4 ... 30 s (F12).
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Said(Enum):
    """What the service's list of this host's disks says of one volume. UNKNOWN: not asked, or could not be read."""

    HERE = "here"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Step(Enum):
    """``ROLL_BACK``: drop the holders of a Mount that was never answered. ``ADOPT``: note an attachment that only the
    service knew. ``DETACH``: claim, forget, ask. ``FORGET``: nothing is left here."""

    STAY = "stay"
    ROLL_BACK = "roll back"
    GROW = "grow"
    UNMOUNT = "unmount"
    ADOPT = "adopt"
    DETACH = "detach"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Facts:
    """One volume, just looked at.

    ``held``: a mount ID is noted. ``arriving``: a Mount is under way. ``mounted``: at our path, in our namespace.
    ``noted``: we know its attachment. ``lingering``: its time is not over. ``wanted``: somebody waits for the disk.
    ``resting``: the device was busy at the last try, and the pause after that is not over. ``short``: the disk may be larger
    than the file system on it.
    """

    held: bool
    arriving: bool
    mounted: bool
    noted: bool
    said: Said
    lingering: bool = False
    wanted: bool = False
    resting: bool = False
    short: bool = False


def next_step(facts: Facts) -> Step:
    """Return the one step that brings the volume nearer to where it should be."""
    if facts.held and facts.mounted and facts.noted and facts.short:
        return Step.GROW
    if facts.arriving or (facts.held and facts.mounted):
        return Step.STAY
    if facts.held:
        return _held_unmounted(facts)
    if facts.mounted:
        return Step.STAY if facts.resting else Step.UNMOUNT
    if not facts.noted:
        return Step.ADOPT if facts.said is Said.HERE else Step.FORGET
    if facts.said is Said.ABSENT:
        return Step.FORGET
    if facts.lingering and not facts.wanted:
        return Step.STAY
    # No holder, not mounted here, yet the claim was busy: a container that `docker cp` or a killed engine took the
    # holder from still runs on it. It keeps its disk (corrections F).
    return Step.STAY if facts.resting else Step.DETACH


def _held_unmounted(facts: Facts) -> Step:
    """A holder without our mount: the agent died inside Mount, or somebody took the mount away under a container."""
    if facts.noted:
        return Step.STAY if facts.resting else Step.ROLL_BACK
    match facts.said:
        case Said.HERE:
            return Step.ADOPT
        case Said.ABSENT:
            return Step.ROLL_BACK
        case Said.UNKNOWN:
            return Step.STAY


def pause_after(previous_s: float | None) -> float:
    """Return how long to leave a busy device alone; ``previous_s`` is the pause before, None the first time."""
    return FIRST_PAUSE_S if previous_s is None else min(previous_s * 2, LONGEST_PAUSE_S)
