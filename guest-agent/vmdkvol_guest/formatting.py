"""What to do with a disk before it is mounted: record and probe in, make, keep, blank, renew or a refusal out. Pure.

I1 hangs on this table: a file system is made only on a disk whose record says that no container ever had it, and that
carries no signature but the one we were about to put there.
"""

from __future__ import annotations

from enum import Enum

from vmdkvol.errors import CheckFailed, ForeignContent, StillMounted, VolumeError
from vmdkvol.volume import Attachment, Content, renewed_uuid
from vmdkvol_guest.ports import Probe


class Step(Enum):
    """``KEEP``: check, then mount. ``JOIN``: another namespace has it mounted; mount the same superblock, never check it.

    ``MAKE``: the disk never held anything. ``REMAKE``: our own unfinished file system is on it; blank it first.
    ``RENEW``: a clone; full check and a UUID of its own. ``TAKE``: an adopted disk; full check, and the UUID that it has.
    """

    KEEP = "keep"
    JOIN = "join"
    MAKE = "make"
    REMAKE = "remake"
    RENEW = "renew"
    TAKE = "take"


def decide(attachment: Attachment, probe: Probe, *, busy: bool) -> Step:
    """Return the next step, or raise why there is none. ``busy``: the claim of the device failed just now.

    A busy device is only ever joined: below it an mkfs of a killed agent may run, although nothing is to be seen yet
    (corrections 10).
    """
    if attachment.content is not Content.FORMATTED:
        return _unfinished(attachment, probe, busy=busy)
    refusal = _not_ours(attachment, probe)
    if refusal is not None:
        raise refusal
    if attachment.filesystem_uuid is None:
        if busy:
            raise _held(attachment)
        return Step.TAKE if attachment.keep_uuid and probe.uuid is not None else Step.RENEW
    return Step.JOIN if busy else Step.KEEP


def _unfinished(attachment: Attachment, probe: Probe, *, busy: bool) -> Step:
    if busy:
        raise _held(attachment)
    if attachment.content is Content.UNFORMATTED:
        if probe.blank:
            return Step.MAKE
        raise ForeignContent(
            f"the disk of volume {attachment.volume} should be blank and holds {probe.kind}", volume=str(attachment.volume)
        )
    if probe.blank:
        return Step.REMAKE
    # No Mount was ever answered on it: Mount waits for Mark(formatted). So nothing of anybody is lost (corrections 26).
    if attachment.filesystem_uuid is not None and probe == Probe(attachment.options.fstype, attachment.filesystem_uuid):
        return Step.REMAKE
    raise ForeignContent(
        f"the disk of volume {attachment.volume} holds {probe.kind} {probe.uuid or 'without UUID'}, "
        f"not the file system that was being made there",
        volume=str(attachment.volume),
    )


def _not_ours(attachment: Attachment, probe: Probe) -> VolumeError | None:
    """Return why the probed content is not the file system on record; None if it is."""
    volume, fstype = attachment.volume, attachment.options.fstype
    if probe.blank:
        # Never taken for a new disk: the record says that a container had it (I1, field case C19).
        return CheckFailed(f"the disk of volume {volume} has no file system where {fstype} was", volume=str(volume))
    if probe.kind != fstype:
        # An administrator said so of an adopted disk, whose content nobody had looked at.
        remedy = f"release it, and adopt it with fstype={probe.kind} if that is right" if attachment.keep_uuid else None
        text = f"the disk of volume {volume} holds {probe.kind}, not {fstype}"
        return ForeignContent(text, remedy=remedy, volume=str(volume))
    if attachment.filesystem_uuid is not None and probe.uuid != attachment.filesystem_uuid:
        return ForeignContent(
            f"the disk of volume {volume} holds the file system {probe.uuid}, not {attachment.filesystem_uuid}",
            volume=str(volume),
        )
    return _not_copied(attachment, probe) if attachment.filesystem_uuid is None else None


def _not_copied(clone: Attachment, probe: Probe) -> VolumeError | None:
    """Return why a clone before its first mount has not its source's file system; None if it has, or nothing is known of it.

    Its own UUID is on it already if the agent died before that was recorded.
    """
    if not clone.copied_uuids or probe.uuid in (*clone.copied_uuids, renewed_uuid(clone.volume)):
        return None
    return ForeignContent(
        f"the disk of volume {clone.volume} holds the file system {probe.uuid}, not its source's, {clone.copied_uuids[0]}",
        volume=str(clone.volume),
    )


def _held(attachment: Attachment) -> StillMounted:
    return StillMounted(
        f"the disk of volume {attachment.volume} is in exclusive use, perhaps by a mkfs that has not ended",
        remedy="try again when it has ended",
        volume=str(attachment.volume),
    )
