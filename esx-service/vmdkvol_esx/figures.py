"""What the service counts from its start on, and how it is rendered for Prometheus when somebody asks. Composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vmdkvol.clock import Clock
from vmdkvol.errors import BY_CODE
from vmdkvol.volume import VmId
from vmdkvol_esx.counts import Counted, Spread
from vmdkvol_esx.measuring import Readings
from vmdkvol_esx.observing import INTERNAL, OK, Guest

_RESULTS = frozenset({OK, INTERNAL, *BY_CODE})
_Spreads = dict[tuple[str, ...], Spread]


class Figures:
    """``Meter``, and what renders readings. For any thread. Of one service: two in one process count apart."""

    def __init__(
        self,
        clock: Clock,
        *,
        version: str,
        protocol: int,
        backend: str,
        connected: Callable[[VmId], bool],
        unwritten: Callable[[], int],
    ) -> None:
        """``connected`` tells whether a machine's agent is there, ``unwritten`` how many records the audit lacks."""
        self._version, self._protocol = version, protocol
        self._backend = backend
        # The agents that said Hello; set by whoever knows them.
        self.guests: Callable[[], Mapping[VmId, Guest]] = dict
        self._connected = connected
        self._unwritten = unwritten
        self._lock = clock.condition()
        self._operations: _Spreads = {}
        self._in_flight: dict[str, int] = {}
        self._waits: _Spreads = {}
        self._vsphere: _Spreads = {}

    # --- told as it happens --------------------------------------------------------------------------------------

    def began(self, op: str) -> None:
        with self._lock:
            self._in_flight[op] = self._in_flight.get(op, 0) + 1

    def ended(self, op: str, result: str, seconds: float) -> None:
        told = result if result in _RESULTS else INTERNAL
        with self._lock:
            self._in_flight[op] = self._in_flight.get(op, 0) - 1
            _of(self._operations, op, told, self._backend).add(seconds)

    def waited(self, lock: str, seconds: float) -> None:
        """Work waited so long for its turn."""
        with self._lock:
            _of(self._waits, lock).add(seconds)

    def asked_vsphere(self, method: str, result: str, seconds: float) -> None:
        """vSphere was asked for one of the methods that our own code calls; ``result`` is a word of our code, too."""
        with self._lock:
            _of(self._vsphere, method, result).add(seconds)

    # --- read when asked -----------------------------------------------------------------------------------------

    def render(self, readings: Readings) -> str:
        """Return everything in Prometheus' text format."""
        # Here and not above: a start does not pay for what nobody may ever ask for.
        from vmdkvol_esx.metrics import Metrics

        return Metrics(
            version=self._version,
            protocol=self._protocol,
            counted=self._counted(),
            guests=self.guests(),
            connected=self._connected,
            unwritten=self._unwritten(),
        ).render(readings)

    def _counted(self) -> Counted:
        with self._lock:
            return Counted(_copy(self._operations), dict(self._in_flight), _copy(self._waits), _copy(self._vsphere))


def _of(spreads: _Spreads, *key: str) -> Spread:
    found = spreads.get(key)
    if found is None:
        found = spreads[key] = Spread()
    return found


def _copy(spreads: _Spreads) -> _Spreads:
    return {key: spread.copy() for key, spread in spreads.items()}
