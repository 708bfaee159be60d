"""The service's figures for Prometheus. The only module that knows its library; names and buckets never change without a word.

Loaded when somebody asks for figures: the library costs a start 0.05 s and more. What is counted until then, ``figures`` keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from vmdkvol.errors import one_line
from vmdkvol.volume import VmId
from vmdkvol_esx.counts import OPERATION_BUCKETS, Counted, Spread
from vmdkvol_esx.measuring import Readings
from vmdkvol_esx.observing import Guest

_LABEL = 120


class Metrics:
    """Renders what was counted and read of one moment."""

    def __init__(
        self,
        *,
        version: str,
        protocol: int,
        counted: Counted,
        guests: Mapping[VmId, Guest],
        connected: Callable[[VmId], bool],
        unwritten: int,
    ) -> None:
        """``connected`` tells whether a machine's agent is there, ``unwritten`` how many records the audit lacks."""
        self._built = (version, str(protocol), "service")
        self._counted = counted
        self._guests = guests
        self._connected = connected
        self._unwritten = unwritten

    def render(self, readings: Readings) -> str:
        """Return everything in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once([*self._of_counts(), *self._of_readings(readings), *self._of_guests()]))
        return generate_latest(registry).decode()

    def _of_counts(self) -> Iterator[Metric]:
        counted, words = self._counted, "1, with the version and the newest protocol of this program."
        yield _gauge("vmdkvol_build_info", words, ("version", "protocol", "component"), {self._built: 1})
        yield _histogram(
            "vmdkvol_operation_duration_seconds",
            "How long requests took, by what came of them.",
            ("op", "result", "backend"),
            counted.operations,
        )
        in_flight = {(op,): count for op, count in counted.in_flight.items()}
        yield _gauge("vmdkvol_operations_in_flight", "Requests that are being worked on.", ("op",), in_flight)
        yield _histogram(
            "vmdkvol_lock_wait_seconds",
            "How long work waited for what was before it on the same object.",
            ("lock",),
            counted.waits,
        )
        yield _histogram(
            "vmdkvol_vsphere_request_seconds",
            "How long calls of the vSphere API took, by what came of them.",
            ("method", "result"),
            counted.vsphere,
        )

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
        guests = self._guests
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
            "vmdkvol_audit_unwritten", "Records of the audit that the database did not take.", value=self._unwritten
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


def _histogram(name: str, words: str, labels: tuple[str, ...], spreads: Mapping[tuple[str, ...], Spread]) -> Metric:
    family = HistogramMetricFamily(name, words, labels=labels)
    for key, spread in sorted(spreads.items()):
        bounds = [*map(str, OPERATION_BUCKETS), "+Inf"]
        family.add_metric(tuple(map(_label, key)), list(zip(bounds, accumulate(spread.counts), strict=True)), spread.seconds)
    return family


def _label(text: str) -> str:
    return one_line(text, _LABEL)
