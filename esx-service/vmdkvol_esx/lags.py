"""File systems that did not follow their disks, as the agents tell it: for people to read, nothing is decided by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vmdkvol.errors import one_line
from vmdkvol.sizes import compared, format_size
from vmdkvol.volume import Lag, VmId, VolumeId
from vmdkvol_esx.records import VolumeRecord

# More than a machine has places for disks; a hostile one shall not fill the memory. Its reason stands in a line beside others.
MOST_KEPT = 256
_MAX_REASON = 200


class Lags:
    """For any thread. Of one process: agents tell it again to the next one (``messages.Lagging``)."""

    def __init__(self) -> None:
        self._told: dict[VmId, dict[VolumeId, Lag]] = {}

    def told(self, vm: VmId, lags: Sequence[Lag]) -> None:
        """This is all that the machine has now."""
        # One step for whoever reads meanwhile.
        self._told[vm] = {lag.volume: replace(lag, reason=one_line(lag.reason, _MAX_REASON)) for lag in lags[:MOST_KEPT]}

    def volumes(self) -> Sequence[VolumeId]:
        """Return the volumes that any machine has named; ``of`` says whether it counts."""
        return sorted({volume for lags in tuple(self._told.values()) for volume in lags}, key=str)

    def of(self, record: VolumeRecord) -> Lag | None:
        """Return what the machine says that the volume was attached to last: another one's word about it is worth nothing."""
        if record.last_vm is None:
            return None
        lag = self._told.get(record.last_vm, {}).get(record.id)
        # A disk is never smaller than its record says: such a word is of another time.
        return lag if lag is not None and lag.disk_bytes <= record.size_bytes else None


def in_words(lag: Lag, host: str) -> str:
    """Return it as a line of trouble."""
    if lag.size_bytes is None:
        has = f"of {format_size(lag.disk_bytes)}"
    else:
        has = "and has {} of {}".format(*compared(lag.size_bytes, lag.disk_bytes))
    return one_line(f"its file system on {host} did not grow with its disk {has}: {lag.reason}")
