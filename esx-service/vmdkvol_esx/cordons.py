"""Datastores that take no new volumes, and what lies on each: what the service asks of its record of them. Values and a port.

Every promise is a test in tests/contract/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vmdkvol.errors import NotPermitted
from vmdkvol.names import DatastoreName

if TYPE_CHECKING:
    from vmdkvol_esx.ports import DiskRef


@dataclass(frozen=True, slots=True)
class Cordon:
    """A datastore that takes no new volumes; those on it go on. By whose order, since when (UTC seconds), and why."""

    datastore: DatastoreName
    by: str
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A volume's disk, in any state, by its record."""

    disk: DiskRef
    size_bytes: int


def takes_none(datastore: DatastoreName) -> NotPermitted:
    """Return the error for a new volume on a datastore that is cordoned."""
    return NotPermitted(
        f"datastore {datastore} takes no new volumes now",
        remedy="use another datastore, or ask an administrator to uncordon it",
        datastore=datastore,
        cordoned=True,
    )


class Cordons(Protocol):
    """Part of the store. One transaction each."""

    def cordons(self) -> Sequence[Cordon]:
        """Return all of them in the order of their datastores' names."""
        ...

    def cordon(self, cordon: Cordon) -> None:
        """Durable: from now on ``Store.begin`` makes no volume on the datastore. An earlier one is replaced."""
        ...

    def uncordon(self, datastore: DatastoreName) -> None:
        """Durable: the datastore takes new volumes. Not cordoned is fine."""
        ...

    def placed(self) -> Sequence[Placed]:
        """Return the disks of all volumes, the trash included."""
        ...
