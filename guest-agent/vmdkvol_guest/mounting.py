"""First holder in, last holder out: the disk onto this host, its file system to the path that Docker gets, and back.

A mount ID is noted in the caller's thread before its work enters the volume's lane, and dropped there too. The work in
the lane only ever asks "is anybody left": it may be joined, come late, or be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import CheckFailed, MissingTool, StillMounted, TruthUnknown, WrongDisk
from vmdkvol.messages import Attach, Mark
from vmdkvol.points import Point
from vmdkvol.undo import undo_on_error
from vmdkvol.volume import Attachment, Content, VolumeId, renewed_uuid
from vmdkvol_guest.formatting import Step, decide
from vmdkvol_guest.growing import Growing
from vmdkvol_guest.parts import Parts
from vmdkvol_guest.ports import Device, Probe

CLAIM_S = 2.0


class Mounting:
    """Mount and Unmount of one volume. ``wake`` tells the reconciler to look: at one volume, or for None at all."""

    def __init__(self, parts: Parts, wake: Callable[[VolumeId | None], None]) -> None:
        self._parts = parts
        self._wake = wake
        self._growing = Growing(parts)

    def mount(self, volume: VolumeId, mount_id: str, deadline: Deadline) -> str:
        """Return the path, proved to lie on the volume's disk; ``mount_id`` is a holder from now on.

        Mounts of one volume are equal work whatever their ID (corrections 7). Raises what went wrong, and StillWorking
        at the deadline: then ``mount_id`` holds nothing, and what the work brings up without a holder goes again.
        """
        parts = self._parts
        parts.at(Point.MOUNT_RECEIVED)
        with undo_on_error(partial(self._undo_failed, volume)) as undo:
            # Runs last, when it is clear what is left; a look at all volumes, since an attachment whose answer was lost
            # stands in the service's list only.
            undo.append(partial(self._wake, None))
            # Docker sends no Unmount for a Mount that failed, and comes back with another ID.
            undo.append(partial(self._give_up, volume, mount_id))
            with parts.arrivals.arriving(volume, mount_id):
                parts.notebook.hold(volume, mount_id)
                parts.at(Point.MOUNT_HELD)
                path = parts.lanes.run(volume, "mount", partial(self._bring_up, volume), deadline, "mounting")
            parts.at(Point.MOUNT_REPLYING)
        if not self._ids(volume):
            # Its Unmount came while it was under way.
            self._wake(volume)
        return path

    def unmount(self, volume: VolumeId, mount_id: str, deadline: Deadline) -> None:
        """``mount_id`` holds nothing any more; without another holder the file system is synced and unmounted.

        An unknown ID or a volume that is not mounted is fine. The disk stays attached for the linger.
        """
        parts = self._parts
        parts.at(Point.UNMOUNT_RECEIVED)
        # Docker forgets the holder whatever we answer: keeping it would block the volume for ever (docker-facts 2.7).
        parts.notebook.drop(volume, mount_id)
        parts.arrivals.left(volume, mount_id)
        parts.at(Point.UNMOUNT_DROPPED)
        with undo_on_error(partial(self._undo_failed, volume)) as undo:
            undo.append(partial(self._wake, volume))
            # Equal only to its own repeat: work of another ID may have looked before this one was dropped.
            parts.lanes.run(volume, ("unmount", mount_id), partial(self._take_down, volume), deadline, "unmounting")

    # --- in the volume's lane ----------------------------------------------------------------------------------

    def _bring_up(self, volume: VolumeId) -> str:
        path = self._mounted_already(volume)
        if path is not None:
            return path
        try:
            return self._bring_up_anew(volume)
        except WrongDisk:
            if not self._has_grown(volume):
                raise
            # While it was brought up: once more, with the size that it has now.
            return self._bring_up_anew(volume)

    def _bring_up_anew(self, volume: VolumeId) -> str:
        # What is mounted without being proved was never answered: the agent died on its way here.
        self._parts.mounts.unmount(volume)
        attachment = self._attach(volume)
        self._require_tools(attachment)
        device = self._parts.devices.find(attachment, self._within(self._parts.limits.find_s))
        self._parts.at(Point.MOUNT_FOUND)
        with undo_on_error(partial(self._undo_failed, volume)) as undo:
            self._make_mountable(attachment, device, undo)
            self._parts.at(Point.MOUNT_CHECKED)
            path = self._mount(attachment, device, undo)
        self._growing.mounted(self._noted(volume) or attachment, device)
        self._parts.log.info("mounted", volume=str(volume), device=device.path)
        return path

    def _mounted_already(self, volume: VolumeId) -> str | None:
        """Return the path if the disk is mounted and that is proved; a note that says "mounted" is never believed.

        None also for a file system that is not recorded as made: whatever a container wrote there would be taken for
        the rest of an unfinished mkfs, and made anew (I1).
        """
        noted = self._parts.notebook.holdings().get(volume)
        number = self._parts.mounts.mounted().get(volume)
        attachment = None if noted is None else noted.attachment
        if number is None or attachment is None or attachment.content is not Content.FORMATTED:
            return None
        device = self._mounted_device(attachment)
        if device.number != number:
            point = self._parts.mounts.path(volume, "root")
            raise WrongDisk(
                f"something else than {device.path} is mounted over the volume at {point}",
                remedy=f"find out what it is, then: umount {point}",
                volume=str(volume),
            )
        options = attachment.options
        return self._parts.mounts.verify(device, volume, options.layout, read_only=options.access == "read-only")

    def _mounted_device(self, attachment: Attachment) -> Device:
        """Return the disk's device, in whatever size it has by now: what is mounted is as it was."""
        try:
            return self._parts.devices.find(attachment, self._within(0.0))
        except WrongDisk:
            device = self._parts.present(attachment)
            if device is None or device.size_bytes <= attachment.size_bytes:
                raise
            self._wake(None)
            return device

    def _has_grown(self, volume: VolumeId) -> bool:
        """Tell whether this kernel has the volume's disk, and larger than the service said a moment ago."""
        noted = self._noted(volume)
        device = None if noted is None else self._parts.present(noted)
        return noted is not None and device is not None and device.size_bytes > noted.size_bytes

    def _noted(self, volume: VolumeId) -> Attachment | None:
        noted = self._parts.notebook.holdings().get(volume)
        return None if noted is None else noted.attachment

    def _attach(self, volume: VolumeId) -> Attachment:
        parts = self._parts
        parts.at(Point.MOUNT_ATTACHING)
        # Also when the disk only lingers: the answer is a new generation, so that a Detach still on its way is refused.
        attachment = parts.ask(Attach(volume), parts.limits.ask_s)
        parts.at(Point.MOUNT_ATTACHED)
        parts.notebook.note(volume, attachment=attachment, linger_until=None)
        return attachment

    def _require_tools(self, attachment: Attachment) -> None:
        fstype = attachment.options.fstype
        package = self._parts.filesystems.missing_tool(fstype)
        if package is not None:
            raise MissingTool(f"{fstype} needs the package {package} on this Docker host", package=package)

    def _make_mountable(self, attachment: Attachment, device: Device, undo: list[Callable[[], None]]) -> None:
        """Make, renew or check the file system as ``formatting`` says; a new one is mounted on return.

        A failed check is not recorded as damage: it needs an administrator to take that back, while the next Mount
        checks again, refuses just the same, and works once the file system was repaired by hand.
        """
        parts = self._parts
        busy = self._busy(device)
        recorded = Probe(attachment.options.fstype, attachment.filesystem_uuid)
        made = attachment.content is Content.FORMATTED and attachment.filesystem_uuid is not None
        probe = parts.filesystems.probe(device, recorded=recorded if made else None)
        parts.at(Point.FORMAT_PROBED)
        match decide(attachment, probe, busy=busy):
            case Step.KEEP:
                parts.filesystems.check(device, attachment.options.fstype, full=False)
            case Step.JOIN:
                parts.log.info("joined a mount of another namespace", volume=str(attachment.volume), device=device.path)
            case Step.RENEW:
                self._renew(attachment, device)
            case Step.TAKE:
                self._renew(attachment, device, probe.uuid)
            case Step.MAKE:
                self._format(attachment, device, undo)
            case Step.REMAKE:
                self._format(attachment, device, undo, blank=not probe.blank)

    def _format(self, attachment: Attachment, device: Device, undo: list[Callable[[], None]], *, blank: bool = False) -> None:
        parts, options = self._parts, attachment.options
        if blank and attachment.filesystem_uuid is not None:
            # Under the UUID on record: with a new one marked first, a crash here would leave a signature that nobody knows.
            self._mark(attachment, Content.FORMATTING, attachment.filesystem_uuid)
            self._same_disk(attachment, device)
            parts.filesystems.blank(device)
        uuid = parts.new_id()
        # Durable before mkfs: whoever finds the disk after a crash knows which signature is ours (C6). The service also
        # refuses here if the generation is not ours any more.
        self._mark(attachment, Content.FORMATTING, uuid)
        parts.at(Point.FORMAT_MARKED)
        self._same_disk(attachment, device)
        pristine = attachment.content is Content.UNFORMATTED
        parts.filesystems.make(device, options.fstype, uuid, options.mkfs_options, pristine=pristine)
        if parts.filesystems.probe(device) != Probe(options.fstype, uuid):
            raise CheckFailed(f"the new file system of volume {attachment.volume} cannot be read back")
        parts.at(Point.FORMAT_MADE)
        parts.mounts.mount(device, attachment.volume, options.fstype, options.mount_options, read_only=False)
        undo.append(partial(parts.mounts.unmount, attachment.volume))
        parts.mounts.prepare(attachment.volume, options.layout, options.uid, options.gid, options.mode)
        parts.at(Point.FORMAT_PREPARED)
        if options.access == "read-only":
            # Before it counts as made: from then on a mount that is found is taken as it is.
            parts.mounts.unmount(attachment.volume)
        self._mark(attachment, Content.FORMATTED, uuid)
        parts.at(Point.FORMAT_RECORDED)
        parts.log.info("formatted", volume=str(attachment.volume), fstype=options.fstype, uuid=str(uuid))

    def _renew(self, attachment: Attachment, device: Device, kept: UUID | None = None) -> None:
        """Give a clone, or what was taken from a machine by force, a full check and a UUID of its own, unless one is ``kept``.

        Cut off anywhere, the next Mount does it again.
        """
        parts, fstype = self._parts, attachment.options.fstype
        uuid = kept or renewed_uuid(attachment.volume)
        parts.filesystems.check(device, fstype, full=True)
        if kept is None:
            parts.filesystems.renew_uuid(device, fstype, uuid)
        self._mark(attachment, Content.FORMATTED, uuid)
        parts.log.info("checked in full", volume=str(attachment.volume), uuid=str(uuid), new=kept is None)

    def _mark(self, attachment: Attachment, content: Content, uuid: UUID) -> None:
        self._parts.ask(Mark(attachment.volume, attachment.generation, content, uuid), self._parts.limits.ask_s)
        marked = replace(attachment, content=content, filesystem_uuid=uuid, copied_uuids=())
        self._parts.notebook.note(attachment.volume, attachment=marked, linger_until=None)

    def _mount(self, attachment: Attachment, device: Device, undo: list[Callable[[], None]]) -> str:
        parts, options = self._parts, attachment.options
        read_only = options.access == "read-only"
        mount = partial(
            parts.mounts.mount, device, attachment.volume, options.fstype, options.mount_options, read_only=read_only
        )
        try:
            mount()
        except CheckFailed as error:
            # Its first block said "clean", so the rest was not read, and the kernel reads more: such as the checksums of
            # group descriptors, which e2fsck -p puts right.
            parts.log.warning("checked in full", volume=str(attachment.volume), device=device.path, reason=str(error))
            parts.filesystems.check(device, options.fstype, full=True)
            mount()
        undo.append(partial(parts.mounts.unmount, attachment.volume))
        parts.at(Point.MOUNT_MOUNTED)
        # No claim was held across check and mount, so identity is read again (corrections 10).
        self._same_disk(attachment, device)
        return parts.mounts.verify(device, attachment.volume, options.layout, read_only=read_only)

    def _take_down(self, volume: VolumeId) -> None:
        parts = self._parts
        noted = parts.notebook.holdings().get(volume)
        if (noted is not None and noted.ids) or parts.arrivals.ids(volume):
            return
        if volume in parts.mounts.mounted():
            parts.mounts.unmount(volume)
            parts.at(Point.UNMOUNT_UNMOUNTED)
            if noted is not None and noted.attachment is not None:
                linger_until = parts.clock.monotonic() + parts.limits.linger_s
                parts.notebook.note(volume, attachment=noted.attachment, linger_until=linger_until)
            parts.log.info("unmounted", volume=str(volume))
        self._wake(volume)

    # --- small steps -------------------------------------------------------------------------------------------

    def _busy(self, device: Device) -> bool:
        try:
            with self._parts.devices.claim(device, self._within(CLAIM_S)):
                return False
        except StillMounted:
            return True

    def _same_disk(self, attachment: Attachment, device: Device) -> None:
        if self._parts.devices.find(attachment, self._within(0.0)) != device:
            raise TruthUnknown(f"the disk of volume {attachment.volume} moved away from {device.path}")

    def _give_up(self, volume: VolumeId, mount_id: str) -> None:
        # Not while a second call with the same ID is under way (docker cp on a container that starts): its answer decides.
        if self._parts.arrivals.drop(volume, {mount_id}, self._parts.notebook.drop):
            self._parts.arrivals.left(volume, mount_id)

    def _ids(self, volume: VolumeId) -> frozenset[str]:
        noted = self._parts.notebook.holdings().get(volume)
        return frozenset() if noted is None else noted.ids

    def _within(self, seconds: float) -> Deadline:
        return Deadline.after(self._parts.clock, seconds)

    def _undo_failed(self, volume: VolumeId, error: Exception) -> None:
        self._parts.log.warning("undo failed", volume=str(volume), error=str(error))
