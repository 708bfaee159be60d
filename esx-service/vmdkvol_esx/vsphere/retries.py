"""Whether a change of a machine that the server refused is tried again, and when. Each try plans anew, from a new read."""

from __future__ import annotations

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import HypervisorUnreachable, OutcomeUnknown, StillWorking, UnknownTask, VolumeError
from vmdkvol_esx.vsphere.faults import Meaning

# While somebody else works on the machine; a snapshot or a migration takes as long as it takes.
AGAIN_S = 60.0
MAX_REPLANS = 5
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 2.0

# Somebody else is at work there, and will end.
_PASSES = frozenset({Meaning.BUSY.name, Meaning.STATE.name})
# What was planned does not fit the machine any more.
_REPLAN = frozenset({Meaning.MOVED.name, Meaning.BAD_SPEC.name, Meaning.GONE.name})
# The machine's own trouble, whatever was to be changed: those that went together may go together again.
_OF_MACHINE = _PASSES | {Meaning.MOVED.name, Meaning.GONE.name}
# Whether it was done is not known, or not yet: settled by reading, never by doing it again.
IN_DOUBT = (OutcomeUnknown, UnknownTask, StillWorking, HypervisorUnreachable)


def anothers(error: VolumeError, *, shared: bool) -> bool:
    """Tell whether a fault may be that of another change which went along."""
    return shared and error.fields.get("meaning") not in _OF_MACHINE


def has_ended(error: VolumeError, *, shared: bool) -> bool:
    """Tell whether a task that is waited for has ended, with this, so that the change may be looked at and tried again.

    A fault that is not known here leaves in doubt how much was done; of one of several changes that is for a look to tell,
    and alone it may have a fault that is known.
    """
    if isinstance(error, OutcomeUnknown):
        return shared and error.fields.get("meaning") == Meaning.OTHER.name
    return not isinstance(error, IN_DOUBT)


class Tries:
    """The tries of one change that failed. ``made`` counts them; ``alone``: it goes without others from now on."""

    def __init__(self, clock: Clock, deadline: Deadline) -> None:
        self._clock = clock
        self.deadline = deadline.at_most(AGAIN_S)
        self.made = 0
        self.alone = False
        self._replans = 0
        self._pause_s = _FIRST_PAUSE_S

    def again(self, error: VolumeError, *, shared: bool, another: bool = False) -> bool:
        """Tell, after a pause where one helps, whether it is tried again.

        ``shared``: it went with others. ``another``: what may have been refused is not asked for any more.
        """
        self.made += 1
        if self.deadline.passed:
            return False
        if another:
            return True
        if anothers(error, shared=shared):
            self.alone = True
            return True
        meaning = error.fields.get("meaning")
        if meaning in _REPLAN:
            self._replans += 1
        if meaning not in _PASSES and (meaning not in _REPLAN or self._replans > MAX_REPLANS):
            return False
        self._clock.sleep(min(self._pause_s, self.deadline.left_s))
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        return not self.deadline.passed
