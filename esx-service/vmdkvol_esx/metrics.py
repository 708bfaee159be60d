"""The service's figures for Prometheus. The only module that knows its library; names and buckets never change without a word.

Everything here belongs to one registry that is made here: nothing is the process's, so two services in one process count apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from vmdkvol.errors import BY_CODE, one_line
from vmdkvol.volume import VmId
from vmdkvol_esx.measuring import Readings
from vmdkvol_esx.observing import INTERNAL, OK, Guest

# 50 and 110 are when Docker is answered at the latest.
OPERATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 50.0, 110.0, 180.0)
_LABEL = 120
_RESULTS = frozenset({OK, INTERNAL, *BY_CODE})


class Metrics:
    """``Meter``, and what renders readings. For any thread."""

    def __init__(
        self,
        *,
        version: str,
        protocol: int,
        backend: str,
        connected: Callable[[VmId], bool],
        unwritten: Callable[[], int],
    ) -> None:
        """``connected`` tells whether a machine's agent is there, ``unwritten`` how many records the audit lacks."""
        self._backend = backend
        # The agents that said Hello; set by whoever knows them.
        self.guests: Callable[[], Mapping[VmId, Guest]] = dict
        self._connected = connected
        self._unwritten = unwritten
        self._registry = registry = CollectorRegistry(auto_describe=False)
        Gauge(
            "vmdkvol_build_info",
            "1, with the version and the newest protocol of this program.",
            ["version", "protocol", "component"],
            registry=registry,
        ).labels(version, str(protocol), "service").set(1)
        self._operations = Histogram(
            "vmdkvol_operation_duration_seconds",
            "How long requests took, by what came of them.",
            ["op", "result", "backend"],
            buckets=OPERATION_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge("vmdkvol_operations_in_flight", "Requests that are being worked on.", ["op"], registry=registry)
        self._waits = Histogram(
            "vmdkvol_lock_wait_seconds",
            "How long work waited for what was before it on the same object.",
            ["lock"],
            buckets=OPERATION_BUCKETS,
            registry=registry,
        )

        self._vsphere = Histogram(
            "vmdkvol_vsphere_request_seconds",
            "How long calls of the vSphere API took, by what came of them.",
            ["method", "result"],
            buckets=OPERATION_BUCKETS,
            registry=registry,
        )

    # --- told as it happens --------------------------------------------------------------------------------------

    def began(self, op: str) -> None:
        self._in_flight.labels(op).inc()

    def ended(self, op: str, result: str, seconds: float) -> None:
        self._in_flight.labels(op).dec()
        self._operations.labels(op, result if result in _RESULTS else INTERNAL, self._backend).observe(seconds)

    def waited(self, lock: str, seconds: float) -> None:
        """Work waited so long for its turn."""
        self._waits.labels(lock).observe(seconds)

    def asked_vsphere(self, method: str, result: str, seconds: float) -> None:
        """vSphere was asked for one of the methods that our own code calls; ``result`` is a word of our code, too."""
        self._vsphere.labels(method, result).observe(seconds)

    # --- read when asked -----------------------------------------------------------------------------------------

    def render(self, readings: Readings) -> str:
        """Return everything in Prometheus' text format."""
        text = "".join(_lines(generate_latest(self._registry).decode()))
        once = CollectorRegistry(auto_describe=False)
        once.register(_Once([*self._of_readings(readings), *self._of_guests()]))
        return text + generate_latest(once).decode()

    def _of_readings(self, readings: Readings) -> Iterator[Metric]:
        oldest = {(): readings.oldest_s}
        yield _gauge("vmdkvol_oldest_operation_seconds", "Age of the oldest change of a disk that has not ended.", (), oldest)
        yield _gauge(
            "vmdkvol_volumes",
            "Volumes by where they are, their state, and whose they are.",
            ("datastore", "state", "vmgroup"),
            {(each.datastore, each.state, each.vmgroup): each.count for each in readings.tallies},
        )
        labels = ("vmgroup", "datastore")
        limited = {(each.vmgroup, each.datastore): each.most for each in readings.quotas if each.most is not None}
        yield _gauge("vmdkvol_quota_bytes", "What a vmgroup may have on a datastore.", labels, limited)
        used = {(each.vmgroup, each.datastore): each.used for each in readings.quotas}
        yield _gauge("vmdkvol_quota_used_bytes", "What a vmgroup's volumes take on a datastore, at capacity.", labels, used)
        usable = [each for each in readings.datastores if each.problem is None]
        size = {(each.name,): each.capacity_bytes for each in usable}
        yield _gauge("vmdkvol_datastore_capacity_bytes", "Size of a datastore.", ("datastore",), size)
        free = {(each.name,): each.free_bytes for each in usable}
        yield _gauge("vmdkvol_datastore_free_bytes", "Free space of a datastore.", ("datastore",), free)
        yield _gauge(
            "vmdkvol_orphans",
            "Disks without a record, and records without a disk.",
            ("kind",),
            {(kind,): count for kind, count in readings.orphans.items()},
        )
        slots = {(name,): free for name, free in readings.free_slots.items()}
        yield _gauge("vmdkvol_vm_free_slots", "How many more disks can be attached to a machine.", ("vm",), slots)
        ends = {(each.kind,): each.not_after for each in readings.certificates if each.not_after is not None}
        yield _gauge("vmdkvol_certificate_expiry_timestamp_seconds", "When a certificate ends.", ("certificate",), ends)
        yield from self._of_sizes(readings)

    def _of_sizes(self, readings: Readings) -> Iterator[Metric]:
        labels = ("volume", "datastore", "vmgroup")
        sizes = {(each.volume, each.datastore, each.vmgroup): each for each in readings.sizes}
        capacity = {key: each.capacity for key, each in sizes.items()}
        used = {key: each.used for key, each in sizes.items() if each.used is not None}
        yield _gauge("vmdkvol_volume_capacity_bytes", "Size of a volume.", labels, capacity)
        yield _gauge("vmdkvol_volume_used_bytes", "What a volume's disk takes on its datastore.", labels, used)

    def _of_guests(self) -> Iterator[Metric]:
        guests = self.guests()
        yield _gauge(
            "vmdkvol_guest_info",
            "1 for each agent that is connected.",
            ("vm", "version", "protocol"),
            {(each.name, each.agent, str(each.protocol)): 1 for vm, each in guests.items() if self._connected(vm)},
        )
        yield _gauge(
            "vmdkvol_guest_last_seen_timestamp_seconds",
            "When an agent asked something last.",
            ("vm",),
            {(each.name,): each.seen_at for each in guests.values()},
        )
        again = CounterMetricFamily(
            "vmdkvol_channel_reconnects", "How often an agent came back after its first connection.", labels=["vm"]
        )
        for name, count in sorted({each.name: each.connects - 1 for each in guests.values()}.items()):
            again.add_metric([_label(name)], count)
        yield again
        yield CounterMetricFamily(
            "vmdkvol_audit_unwritten", "Records of the audit that the database did not take.", value=self._unwritten()
        )


class _Once:
    """Metrics of one moment, as a registry takes them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauge(name: str, words: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    # Cut labels may be one: the last one stands, a name twice would make the whole scrape void.
    told = {tuple(map(_label, key)): value for key, value in values.items()}
    family = GaugeMetricFamily(name, words, labels=labels)
    for key, value in sorted(told.items()):
        family.add_metric(key, value)
    return family


def _label(text: str) -> str:
    return one_line(text, _LABEL)


def _lines(text: str) -> Iterator[str]:
    created = False
    for line in text.splitlines(keepends=True):
        # When a counter began, as a figure of its own, is of no use here, and a second name for each.
        created = line.split(" ")[2].endswith("_created") if line.startswith("#") else created
        if not created:
            yield line
