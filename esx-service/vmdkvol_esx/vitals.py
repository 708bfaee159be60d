"""Whether the service can do its work, and what somebody should look after before it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol.findings import FAIL, OK, WARN, Finding, of_error
from vmdkvol.messages import Call, Request
from vmdkvol.watch_messages import ReadVitals, Vitals
from vmdkvol_esx.expiry import Expiry, finding
from vmdkvol_esx.ports import Hypervisor, Store
from vmdkvol_esx.trail import Trail

# Without these two nothing can be carried out; all else is for somebody to look at.
DATABASE, HYPERVISOR = "database", "hypervisor"
_VITAL = frozenset({DATABASE, HYPERVISOR})
_FEW_BYTES, _FEWEST_BYTES = 1 << 30, 64 << 20
_FULL = 0.85
# Work on a disk that takes longer has a cause, and somebody waits for it.
STUCK_S = 300.0
# So many rounds may be missed before that is told.
_ROUNDS = 5
_OPEN_DOCS = "see the service's log; `vmdkvol task ls` shows what is under way"


@dataclass(frozen=True, slots=True)
class Looks:
    """What is looked at beside the ports. ``free_bytes``: under the database. ``ends``: when each certificate ends.

    ``scanned_at`` is when housekeeping ended its last round (monotonic), ``every_s`` how often it has one.
    """

    check_writable: Callable[[], None]
    free_bytes: Callable[[], int]
    ends: Callable[[], Sequence[Expiry]]
    scanned_at: Callable[[], float]
    every_s: float
    unwritten: Callable[[], int]


class Checking:
    """For any thread."""

    def __init__(self, store: Store, hypervisor: Hypervisor, trail: Trail, clock: Clock, looks: Looks) -> None:
        self._store = store
        self._hypervisor = hypervisor
        self._trail = trail
        self._clock = clock
        self._looks = looks

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers the request."""
        return {ReadVitals: lambda *_: self.vitals()}

    def vitals(self) -> Vitals:
        """See ``ReadVitals``. A check that cannot be made is one that failed."""
        found: list[Finding] = []
        for check, look in (
            (DATABASE, self._database),
            (HYPERVISOR, self._machines),
            ("work", self._work),
            ("audit", self._audit),
            ("certificates", self._certificates),
        ):
            try:
                found += look()
            except VolumeError as error:
                found.append(of_error(check, error))
        found.append(self._scan())
        return Vitals(not any(each.status == FAIL and each.check in _VITAL for each in found), tuple(found))

    def _database(self) -> Iterator[Finding]:
        self._looks.check_writable()
        free = self._looks.free_bytes()
        told = f"writable, {_room(free)} free under it"
        status = OK if free >= _FEW_BYTES else WARN if free >= _FEWEST_BYTES else FAIL
        yield Finding(status, DATABASE, told, "" if status == OK else "free space under the service's state directory")

    def _machines(self) -> Iterator[Finding]:
        stores = self._hypervisor.datastores()
        yield Finding(OK, HYPERVISOR, f"answers, and shows {len(stores)} datastores")
        for store in stores:
            check = f"datastore {store.name}"
            if store.problem is not None:
                yield Finding(FAIL, check, store.problem, "look at it in the hypervisor, or take it out of the settings")
            elif not store.writable:
                yield Finding(FAIL, check, "is read-only", "make it writable")
            elif store.capacity_bytes and 1 - store.free_bytes / store.capacity_bytes > _FULL:
                fix = "remove volumes, or add space to it"
                yield Finding(WARN, check, f"{1 - store.free_bytes / store.capacity_bytes:.0%} full", fix)
            else:
                yield Finding(OK, check, f"{_room(store.free_bytes)} free")

    def _work(self) -> Iterator[Finding]:
        intents = self._store.open_intents()
        oldest = max((self._clock.wall() - intent.opened_at for intent in intents), default=0.0)
        told = f"{len(intents)} changes of disks are under way, the oldest for {oldest:.0f} s"
        yield Finding(WARN, "work", told, _OPEN_DOCS) if oldest > STUCK_S else Finding(OK, "work", told)

    def _audit(self) -> Iterator[Finding]:
        extent, lost = self._trail.extent(), self._looks.unwritten()
        missing = max(0, extent.last - extent.first + 1 - extent.count)
        if missing or lost:
            told = f"{missing} records are missing, {lost} were not written"
            yield Finding(WARN, "audit", told, "see docs/how-to/audit.md, and the service's log")
        else:
            yield Finding(OK, "audit", f"{extent.count} records")

    def _scan(self) -> Finding:
        age, every = self._clock.monotonic() - self._looks.scanned_at(), self._looks.every_s
        told = f"the last round ended {age:.0f} s ago"
        late = age > max(_ROUNDS * every, 600.0)
        return Finding(WARN, "housekeeping", told, "see the service's log") if late else Finding(OK, "housekeeping", told)

    def _certificates(self) -> Iterator[Finding]:
        now = self._clock.wall()
        return (finding(each, now) for each in self._looks.ends())


def _room(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GB"
