"""What Get and List may say. Pure: what the service said and what we know, in; fresh, stale, absent or hang up, out.

An Err in Get means "does not exist" to the engine: it drops labels, options and the in-use references of the volume.
Only a connection that breaks says "I do not know" (docker-facts 2.3, 2.6).
"""

from __future__ import annotations

from enum import Enum

from vmdkvol.volume import LIVE_STATES, State, VolumeInfo


class Said(Enum):
    """What the service said about a name: not asked, no answer and "cannot tell" are all NOTHING."""

    VOLUME = "volume"
    ABSENT = "absent"
    NOTHING = "nothing"


class Answer(Enum):
    FRESH = "fresh"
    STALE = "stale"
    ABSENT = "absent"
    HANG_UP = "hang up"


def may_say(said: Said, *, known: bool, here: bool, anonymous: bool) -> Answer:
    """Return what Get answers. ``known``: in the catalogue; ``here``: that volume is held, mounted or attached on this host.

    ``anonymous``: the name is one that Docker makes up itself.
    """
    match said:
        case Said.VOLUME:
            return Answer.FRESH
        case Said.ABSENT:
            # A volume that this kernel has is not absent, whatever the service lost (D11).
            return Answer.STALE if known and here else Answer.ABSENT
        case Said.NOTHING:
            if known:
                return Answer.STALE
            # The catalogue mirrors all names, so that a name nobody but Docker makes up is not ours. Hanging up would
            # cost 15 s for each anonymous volume of any driver (corrections 4).
            return Answer.ABSENT if anonymous else Answer.HANG_UP


def listed(info: VolumeInfo) -> bool:
    """Tell whether List shows the volume: Get alone shows one that is being made (corrections 11)."""
    return info.state in LIVE_STATES and info.state is not State.PREPARING
