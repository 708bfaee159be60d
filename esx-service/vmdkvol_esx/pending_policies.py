"""A policy that was ordered while no machine had the disk: the next attach carries it, and whether it did is looked at then.

Where only a machine's disk is under a policy, each attach names the one on record, and not only the one that waits: what a
server knows of a disk's policy it forgets when the disk leaves its machine.
"""

from __future__ import annotations

from dataclasses import replace

from vmdkvol.errors import VolumeError
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.storage_policies import Followed


def wish(record: VolumeRecord) -> str | None:
    """Return what an attach says of the disk's policy, as ``AttachDisk.policy``."""
    return record.options.policy or ("" if record.policy_pending else None)


class PendingPolicies:
    """For any thread; each call is within the volume's lane."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._log = parts.log

    def attached(self, record: VolumeRecord) -> None:
        """A machine has got the disk: its policy waits no more if it is seen to be laid on. Raises nothing: else it waits."""
        if not record.policy_pending:
            return
        try:
            seen = self._hypervisor.followed([disk_ref(record)]).get(record.disk_uuid)
            if isinstance(seen, Followed) and seen.is_under(record.options.policy):
                self.settled(record)
            else:
                self._log.warning("its policy was not laid on", volume=record.name, policy=record.options.policy)
        except VolumeError as error:
            self._log.warning("its policy still waits", volume=record.name, error=str(error))

    def settled(self, record: VolumeRecord) -> VolumeRecord:
        """The disk was seen under the policy of its record. Return that, with nothing pending."""
        if not record.policy_pending:
            return record
        done = replace(record, policy_pending=False)
        self._store.update(done, expect=record.generation)
        return done
