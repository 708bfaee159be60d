"""Whose identity a listing asks for again. Pure but for what it remembers: when it chose whom.

A disk that is written to has another size and time in each listing; asked for each of them, ten thousand volumes in use would
cost ten thousand calls a minute.
"""

from __future__ import annotations

from collections.abc import Collection

from vmdkvol_esx.ports import DiskPath

# In one listing: a second's work of a usual server.
LIMIT = 100


class Anew:
    """Not safe for several threads at once."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._times = 0
        self._chosen: dict[DiskPath, int] = {}

    def chosen(self, changed: Collection[DiskPath]) -> frozenset[DiskPath]:
        """Return up to ``limit`` of these, whoever was chosen longest ago first: of those that stay, each has its turn."""
        self._times += 1
        found = sorted(changed, key=lambda path: (self._chosen.get(path, 0), path.datastore, path.path))[: self._limit]
        self._chosen |= dict.fromkeys(found, self._times)
        return frozenset(found)

    def forget(self, path: DiskPath) -> None:
        """The disk is not there any more."""
        self._chosen.pop(path, None)
