"""What the next page begins with, after a change: kept here, and not in an address that anybody could write. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

_MOST = 1000


class Notes:
    """For any thread: every operation of the dictionary is one step. ``new_id`` returns what nobody can guess."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._notes: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def put(self, whose: str, text: str) -> str:
        """Return the id under which ``text`` is told once, to ``whose``."""
        made = self._new_id()
        self._notes[made] = whose, text
        while len(self._notes) > _MOST:
            self._notes.popitem(last=False)
        return made

    def take(self, whose: str, note: str) -> str:
        """Return the text, empty if there is none of this id any more, or it is for somebody else."""
        owner, text = self._notes.pop(note, ("", ""))
        return text if owner == whose else ""
