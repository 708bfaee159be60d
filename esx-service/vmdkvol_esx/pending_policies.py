"""A policy that was ordered while no machine had the disk: the next attach carries it, and who looks later sees if it did.

Where only a machine's disk is under a policy, each attach names the one on record, and not only the one that waits: what a
server knows of a disk's policy it forgets when the disk leaves its machine. No attach looks: a container does not wait for
what only administrators read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, Change
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.storage_policies import Followed, Unseen

# Who looks waits so long for a volume's lane; the next look comes.
_NOTE_S = 1.0


def wish(record: VolumeRecord) -> str | None:
    """Return what an attach says of the disk's policy, as ``AttachDisk.policy``."""
    return record.options.policy or ("" if record.policy_pending else None)


class PendingPolicies:
    """For any thread."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._log = parts.log

    def followed(
        self, records: Sequence[VolumeRecord], deadline: Deadline | None = None
    ) -> Mapping[DiskUuid, Followed | Unseen]:
        """Return how their disks stand, none if that cannot be read now. A policy that waited and is seen waits no more."""
        try:
            seen = self._hypervisor.followed([disk_ref(record) for record in records], deadline) if records else {}
        except VolumeError as error:
            # What is on record is told all the same.
            self._log.warning("compliance not read", error=str(error))
            return {}
        for record in records:
            found = seen.get(record.disk_uuid)
            if record.policy_pending and isinstance(found, Followed) and found.is_under(record.options.policy):
                self._note(record)
        return seen

    def after(self, change: Change, done: VolumeRecord | None) -> VolumeRecord | None:
        """Return the record as it stands after the change: an attach that went without the policy it named leaves that to wait.

        So does one of which nobody knows it: the next look tells.
        """
        if done is None or not isinstance(change, AttachDisk) or change.policy is None:
            return done
        return done if self._hypervisor.carried(change.disk.uuid) else replace(done, policy_pending=True)

    def looked_at(self, record: VolumeRecord) -> VolumeRecord:
        """Return the record after a look at its disk, if its policy waits: as it stands now."""
        if not record.policy_pending:
            return record
        self.followed([record])
        return self._store.volume(record.id) or record

    def settled(self, record: VolumeRecord) -> VolumeRecord:
        """The disk was seen under the policy of its record. Return that, with nothing pending. Within the volume's lane."""
        if not record.policy_pending:
            return record
        done = replace(record, policy_pending=False)
        self._store.update(done, expect=record.generation)
        return done

    def _note(self, looked_at: VolumeRecord) -> None:
        def note() -> None:
            # What was seen is true of the record that was looked at: each attach, detach and order makes it another one.
            if self._store.volume(looked_at.id) == looked_at and self._store.open_intent(looked_at.id) is None:
                self.settled(looked_at)
                self._log.info("policy seen to be laid on", volume=looked_at.name, id=str(looked_at.id))

        equal, soon = ("policy", looked_at.generation), Deadline.after(self._clock, _NOTE_S)
        try:
            self._lanes.run(looked_at.id, equal, note, soon, f"noting the policy of volume {looked_at.name}")
        except VolumeError as error:
            self._log.info("its policy still waits", volume=looked_at.name, error=str(error))
