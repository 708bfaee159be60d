"""The second copy of a record, where an order is done without it: written if that goes now, else by housekeeping (faults 5)."""

from __future__ import annotations

from vmdkvol.errors import VolumeError
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.ports import Log
from vmdkvol_esx.records import VolumeRecord


def written(journal: Journal, record: VolumeRecord, log: Log) -> bool:
    """Write the copy and tell whether it is there. The record is the first copy, so a failure is logged and undoes nothing."""
    try:
        journal.write_sidecar(record)
    except VolumeError as error:
        log.warning("sidecar not written", volume=record.name, error=str(error))
        return False
    return True
