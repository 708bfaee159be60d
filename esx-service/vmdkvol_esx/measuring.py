"""What the service stands at, read when somebody asks: figures for Prometheus, in parts that fit a frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from vmdkvol import frames
from vmdkvol.clock import Clock
from vmdkvol.errors import NotFound, VolumeError
from vmdkvol.messages import Call, Request
from vmdkvol.volume import State, VolumeId
from vmdkvol.watch_messages import MetricsText, ReadMetrics
from vmdkvol_esx.expiry import Expiry
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import Datastore, Hypervisor, Log, Store
from vmdkvol_esx.records import VolumeRecord

# What a frame takes beside the rest of the answer: a name in another script has up to four bytes a character.
_PART_BYTES = frames.MAX_FRAME - 4096
# A scraper reads the parts of one moment one after the other; two scrapers have a moment each.
_MOMENTS = 8
# What the hypervisor tells is asked for no more often: a scrape each second asks it no more than one each half minute.
_DATASTORES_S = 30.0
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Tally:
    """How many volumes are in one state on one datastore in one vmgroup."""

    datastore: str
    state: str
    vmgroup: str
    count: int


@dataclass(frozen=True, slots=True)
class Quota:
    """What a vmgroup may have and has on a datastore, in bytes at capacity; ``most`` None: no limit."""

    vmgroup: str
    datastore: str
    used: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Size:
    """One volume's capacity and what its disk takes; None: not read."""

    volume: str
    datastore: str
    vmgroup: str
    capacity: int
    used: int | None


@dataclass(frozen=True, slots=True)
class Readings:
    """All of one moment; what could not be read is empty."""

    oldest_s: float
    tallies: tuple[Tally, ...]
    quotas: tuple[Quota, ...]
    datastores: tuple[Datastore, ...]
    sizes: tuple[Size, ...]
    orphans: Mapping[str, int]
    free_slots: Mapping[str, int] = field(default_factory=dict)
    certificates: Sequence[Expiry] = ()


class Render(Protocol):
    """Writes readings and all that was counted in Prometheus' text format."""

    def __call__(self, readings: Readings) -> str: ...


class Measuring:
    """For any thread."""

    def __init__(
        self,
        store: Store,
        hypervisor: Hypervisor,
        clock: Clock,
        log: Log,
        new_id: Callable[[], UUID],
        render: Render,
        unknown_disks: Callable[[], int],
        *,
        each_volume: bool,
        free_slots: Callable[[], Mapping[str, int]] = dict,
        certificates: Callable[[], Sequence[Expiry]] = tuple,
    ) -> None:
        """``unknown_disks`` tells how many disks the last scan found without a record. ``each_volume``: sizes of each.

        ``free_slots`` tells how many more disks machines can take, by name; ``certificates`` when each ends.
        """
        self._store = store
        self._hypervisor = hypervisor
        self._clock = clock
        self._log = log
        self._new_id = new_id
        self._render = render
        self._unknown_disks = unknown_disks
        self._each_volume = each_volume
        self._free_slots = free_slots
        self._certificates = certificates
        self._lock = clock.condition()
        self._moments: OrderedDict[UUID, Sequence[str]] = OrderedDict()
        self._datastores: tuple[float, tuple[Datastore, ...]] | None = None
        self._slots: tuple[float, Mapping[str, int]] | None = None

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers the request."""
        return {ReadMetrics: lambda request, _: self.part(request)}

    def part(self, request: ReadMetrics) -> MetricsText:
        """See ``ReadMetrics``."""
        scrape = request.scrape
        if scrape is None:
            scrape, parts = self._new_id(), _cut(self._render(self.read()))
            with self._lock:
                self._moments[scrape] = parts
                if len(self._moments) > _MOMENTS:
                    self._moments.popitem(last=False)
        with self._lock:
            found = self._moments.get(scrape)
        if found is None or not 0 <= request.part < len(found):
            raise NotFound("these figures are not kept any more", remedy="read them anew")
        last = request.part + 1 == len(found)
        return MetricsText(found[request.part], scrape, None if last else request.part + 1)

    def read(self) -> Readings:
        """Return what can be read; what cannot is said in the log, and lacks in the figures."""
        names = self._surely("vmgroups", self._names, {})
        records = self._surely("volumes", self._records, [])
        lost = sum(record.state is State.LOST for record in records)
        return Readings(
            self._surely("open work", self._oldest, 0.0),
            _tallies(records, names),
            self._surely("quotas", self._quotas, ()),
            self._surely("datastores", self._stores, ()),
            self._surely("sizes", lambda: self._sizes(records, names), ()) if self._each_volume else (),
            {"disk-without-record": self._unknown_disks(), "record-without-disk": lost},
            self._surely("free slots", self._room, {}),
            self._surely("certificates", self._certificates, ()),
        )

    def _surely(self, what: str, ask: Callable[[], Any], instead: Any) -> Any:
        try:
            return ask()
        except VolumeError as error:
            self._log.warning("figures not read", what=what, error=str(error))
            return instead

    def _oldest(self) -> float:
        now = self._clock.wall()
        return max((now - intent.opened_at for intent in self._store.open_intents()), default=0.0)

    def _names(self) -> Mapping[object, str]:
        return {group.vmgroup.id: group.vmgroup.name for group in self._store.groups()}

    def _records(self) -> Sequence[VolumeRecord]:
        found: list[VolumeRecord] = []
        after: VolumeId | None = None
        while page := self._store.page(None, after, _PAGE):
            found += page
            after = page[-1].id
        return found

    def _quotas(self) -> tuple[Quota, ...]:
        found = []
        for group in self._store.groups():
            used = self._store.usage(group.vmgroup.id)
            limits = {right.datastore: right.total_bytes for right in group.rights}
            for datastore in sorted({*used, *(name for name, most in limits.items() if most is not None)}):
                most = limits.get(datastore)
                found.append(Quota(group.vmgroup.name, datastore, used.get(datastore, 0), most))
        return tuple(found)

    def _stores(self) -> tuple[Datastore, ...]:
        now, last = self._clock.monotonic(), self._datastores
        if last is None or now - last[0] >= _DATASTORES_S:
            last = self._datastores = now, tuple(self._hypervisor.datastores())
        return last[1]

    def _room(self) -> Mapping[str, int]:
        now, last = self._clock.monotonic(), self._slots
        if last is None or now - last[0] >= _DATASTORES_S:
            last = self._slots = now, self._free_slots()
        return last[1]

    def _sizes(self, records: Sequence[VolumeRecord], names: Mapping[object, str]) -> tuple[Size, ...]:
        taken = self._hypervisor.allocated([disk_ref(record) for record in records])
        return tuple(
            Size(
                record.name,
                record.datastore,
                names.get(record.vmgroup, str(record.vmgroup)),
                record.size_bytes,
                taken.get(record.disk_uuid),
            )
            for record in records
        )


def _tallies(records: Sequence[VolumeRecord], names: Mapping[object, str]) -> tuple[Tally, ...]:
    counted: dict[tuple[str, str, str], int] = {}
    for record in records:
        key = record.datastore, record.state.value, names.get(record.vmgroup, str(record.vmgroup))
        counted[key] = counted.get(key, 0) + 1
    return tuple(Tally(*key, count) for key, count in sorted(counted.items()))


def _cut(text: str) -> Sequence[str]:
    """Return the text in parts that end with a line, each as long as fits into a frame."""
    parts: list[str] = []
    part: list[str] = []
    left = _PART_BYTES
    for line in text.splitlines(keepends=True):
        size = len(frames.encode(line))
        if size > left and part:
            parts.append("".join(part))
            part, left = [], _PART_BYTES
        part.append(line)
        left -= size
    return [*parts, "".join(part)]
