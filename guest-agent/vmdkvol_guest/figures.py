"""The agent's figures for Prometheus. Alone in the agent it knows the library, and it is not loaded unless they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vmdkvol.clock import Clock
from vmdkvol.errors import BY_CODE

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

# As the service's: 50 and 110 are when Docker is answered at the latest.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 50.0, 110.0, 180.0)
_PREFIX = "/VolumeDriver."
_OPS = frozenset({"create", "remove", "mount", "unmount", "get", "list", "path", "capabilities"})
OK, INTERNAL, HUNG_UP, OTHER = "ok", "internal", "hung-up", "other"
_RESULTS = frozenset({OK, INTERNAL, HUNG_UP, *BY_CODE})


class Figures:
    """For any thread. Belongs to one worker: what it counts begins anew with it."""

    def __init__(self, clock: Clock, *, version: str, protocol: int, up: Callable[[], bool]) -> None:
        """``up`` tells whether the service answers."""
        self._clock = clock
        self._up = up
        self._registry = registry = CollectorRegistry(auto_describe=False)
        labels = ["version", "protocol", "component"]
        words = "1, with the version and the newest protocol of this program."
        Gauge("vmdkvol_build_info", words, labels, registry=registry).labels(version, str(protocol), "agent").set(1)
        self._operations = Histogram(
            "vmdkvol_operation_duration_seconds",
            "How long requests took, by what came of them.",
            ["op", "result", "backend"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge("vmdkvol_operations_in_flight", "Requests that are being worked on.", ["op"], registry=registry)
        self._waits = Histogram(
            "vmdkvol_lock_wait_seconds",
            "How long work waited for what was before it on the same object.",
            ["lock"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._channel = Gauge("vmdkvol_channel_up", "1 while the service answers.", registry=registry)
        self._connects = -1
        self._reconnects = Counter(
            "vmdkvol_channel_reconnects", "How often the service was reached again after the first time.", registry=registry
        )

    def connected(self) -> None:
        """The service was reached, again."""
        self._connects += 1
        if self._connects:
            self._reconnects.inc()

    def waited(self, lock: str, seconds: float) -> None:
        """Work waited so long for its turn."""
        self._waits.labels(lock).observe(seconds)

    def around(self, app: Wsgi) -> Wsgi:
        """Return ``app``, observed. What it answered stands in ``vmdkvol.result``, see ``app``."""

        def observed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            op, began, result = _op(environ.get("PATH_INFO", "")), self._clock.monotonic(), INTERNAL
            self._in_flight.labels(op).inc()
            try:
                answer = app(environ, start_response)
                result = environ.get("vmdkvol.result", OK)
                return answer
            finally:
                self._in_flight.labels(op).dec()
                told = result if result in _RESULTS else INTERNAL
                self._operations.labels(op, told, "docker").observe(self._clock.monotonic() - began)

        return observed

    def render(self) -> str:
        """Return everything in Prometheus' text format."""
        self._channel.set(1 if self._up() else 0)
        return "".join(_lines(generate_latest(self._registry).decode()))


def _op(path: str) -> str:
    op = path.removeprefix(_PREFIX).lower() if path.startswith(_PREFIX) else ""
    return op if op in _OPS else OTHER


def _lines(text: str) -> Iterator[str]:
    created = False
    for line in text.splitlines(keepends=True):
        # When a counter began, as a figure of its own, is of no use here, and a second name for each.
        created = line.split(" ")[2].endswith("_created") if line.startswith("#") else created
        if not created:
            yield line
