"""What an administrator may ask about the site's datastores, and order for them, and the answers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Order, Query


@dataclass(frozen=True, slots=True)
class CordonInfo:
    """By whose order a datastore takes no new volumes, since when (UTC seconds since 1970), and why."""

    by: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class DatastoreRow:
    """One datastore. ``capacity_bytes`` and ``free_bytes`` are the hypervisor's, None: it does not show the datastore now.

    ``provisioned_bytes`` is the sum of the capacities of our ``volumes`` on it, with those in the trash; ``used_bytes`` is what
    their disks take, None: not read. ``overcommit`` is provisioned by capacity. ``problem``: why it cannot be used at all.
    ``warnings`` are one line each.
    """

    name: DatastoreName
    capacity_bytes: int | None
    free_bytes: int | None
    provisioned_bytes: int
    used_bytes: int | None
    overcommit: float | None
    volumes: int
    writable: bool
    problem: str | None
    cordon: CordonInfo | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatastoreRows:
    """Some datastores in the order of their names. ``next`` is the ``after`` of the next page, None on the last."""

    datastores: tuple[DatastoreRow, ...]
    next: DatastoreName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDatastores(Query[DatastoreRows]):
    """All datastores that the hypervisor shows, and those that have volumes or a cordon."""

    after: DatastoreName | None = None
    limit: int = 100
    answer: ClassVar[type] = DatastoreRows


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDatastore(Query[DatastoreRow]):
    """One datastore by its exact name; raises DatastoreNotFound."""

    name: str
    answer: ClassVar[type] = DatastoreRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CordonDatastore(Order):
    """Afterwards, and after a restart, no volume is made on the datastore; those on it go on. Another reason replaces the old.

    Raises DatastoreNotFound for one that there is not.
    """

    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UncordonDatastore(Order):
    """Afterwards the datastore takes new volumes, as far as a cordon kept it from that. Not cordoned is fine."""

    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    name: str


SITE_REQUESTS: tuple[type[Request[object]], ...] = (ListDatastores, GetDatastore, CordonDatastore, UncordonDatastore)
