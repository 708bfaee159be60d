"""What the service needs of its database for people alone: work that has ended, and how many volumes there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from vmdkvol.volume import State, VolumeId
from vmdkvol_esx.records import Intent


@dataclass(frozen=True, slots=True)
class Ended:
    """A closed intent. ``done``: its change has happened; else nothing is left of it."""

    intent: Intent
    at: float
    done: bool


class Ledger(Protocol):
    def ended(self, volume: VolumeId | None, limit: int) -> Sequence[Ended]:
        """Return up to ``limit`` pieces of work that have ended within a day, of that volume or of all, the latest first."""
        ...

    def work(self, intent: UUID) -> Intent | Ended | None:
        """Return the work of this id; None if there is none, or it ended more than a day ago."""
        ...

    def states(self) -> Mapping[State, int]:
        """Return how many volumes are in each state; states without any are left out."""
        ...
