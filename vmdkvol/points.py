"""Names of the moments at which a test may end the process. The product never arms one: ``pass_by`` does nothing.

Each name stands on exactly one line of the product, just after the step that it is named for (faults.md 5).
"""

from __future__ import annotations

from enum import StrEnum


class Point(StrEnum):
    # the agent creates (C)
    GUEST_CREATE_RECEIVED = "guest.create.received"
    GUEST_CREATE_VALIDATED = "guest.create.validated"
    GUEST_CREATE_SENT = "guest.create.sent"
    GUEST_CREATE_ANSWERED = "guest.create.answered"
    # the service creates (c)
    CREATE_PARSED = "esx.create.parsed"
    CREATE_LOCKED = "esx.create.locked"
    CREATE_BEGUN = "esx.create.begun"
    CREATE_REPLYING = "esx.create.replying"
    # every change that the journal carries out (c4..c8, a6..a8, d4..d6, r5..r8)
    CHANGE_SUBMITTED = "esx.change.submitted"
    CHANGE_NOTED = "esx.change.noted"
    CHANGE_DONE = "esx.change.done"
    CHANGE_FINISHED = "esx.change.finished"
    SIDECAR_WRITTEN = "esx.sidecar.written"
    # the service attaches (a), detaches (d), removes (r)
    ATTACH_LOCKED = "esx.attach.locked"
    ATTACH_CHECKED = "esx.attach.checked"
    ATTACH_BEGUN = "esx.attach.begun"
    ATTACH_REPLYING = "esx.attach.replying"
    DETACH_LOCKED = "esx.detach.locked"
    DETACH_BEGUN = "esx.detach.begun"
    DETACH_REPLYING = "esx.detach.replying"
    REMOVE_LOCKED = "esx.remove.locked"
    REMOVE_TRASHED = "esx.remove.trashed"
    REMOVE_BEGUN = "esx.remove.begun"
    REMOVE_REPLYING = "esx.remove.replying"
    # the service resizes
    RESIZE_LOCKED = "esx.resize.locked"
    RESIZE_BEGUN = "esx.resize.begun"
    RESIZE_REPLYING = "esx.resize.replying"
    # an administrator creates for a vmgroup, restores, renames, moves, sets options, lays a policy on, takes a disk away
    COMMISSION_BEGUN = "esx.commission.begun"
    RESTORE_RECORDED = "esx.restore.recorded"
    RENAME_RECORDED = "esx.rename.recorded"
    MOVE_RECORDED = "esx.move.recorded"
    SET_RECORDED = "esx.set.recorded"
    POLICY_BEGUN = "esx.policy.begun"
    POLICY_RECORDED = "esx.policy.recorded"
    SEVER_BEGUN = "esx.sever.begun"
    SEVER_RECORDED = "esx.sever.recorded"
    # an administrator destroys a lost volume, and puts an orphan into the trash
    FORGET_CLEARED = "esx.forget.cleared"
    MEND_COPIED = "esx.mend.copied"
    # an administrator adopts a disk and releases it
    ADOPT_RECORDED = "esx.adopt.recorded"
    RELEASE_CLEARED = "esx.release.cleared"
    # the agent mounts (M) and formats (C5..C10)
    MOUNT_RECEIVED = "guest.mount.received"
    MOUNT_HELD = "guest.mount.held"
    MOUNT_ATTACHING = "guest.mount.attaching"
    MOUNT_ATTACHED = "guest.mount.attached"
    MOUNT_FOUND = "guest.mount.found"
    MOUNT_CHECKED = "guest.mount.checked"
    MOUNT_MOUNTED = "guest.mount.mounted"
    MOUNT_REPLYING = "guest.mount.replying"
    FORMAT_PROBED = "guest.format.probed"
    FORMAT_MARKED = "guest.format.marked"
    FORMAT_MADE = "guest.format.made"
    FORMAT_PREPARED = "guest.format.prepared"
    FORMAT_RECORDED = "guest.format.recorded"
    # its file system follows a disk that has grown
    GROWTH_NOTED = "guest.growth.noted"
    GROWTH_DONE = "guest.growth.done"
    # the agent unmounts (U), detaches and removes (R)
    UNMOUNT_RECEIVED = "guest.unmount.received"
    UNMOUNT_DROPPED = "guest.unmount.dropped"
    UNMOUNT_UNMOUNTED = "guest.unmount.unmounted"
    RELEASE_CLAIMED = "guest.release.claimed"
    RELEASE_FORGOTTEN = "guest.release.forgotten"
    RELEASE_DETACHED = "guest.release.detached"
    GUEST_REMOVE_RECEIVED = "guest.remove.received"
    GUEST_REMOVE_CHECKED = "guest.remove.checked"
    GUEST_REMOVE_ANSWERED = "guest.remove.answered"


def pass_by(point: Point) -> None:
    """Do nothing: what the product hands in wherever ``at`` is asked for."""
