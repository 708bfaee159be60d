"""A mounted file system follows its disk, which has grown. Each call is in its volume's lane, and none stands in a mount's way:
what fails is told, logged, and tried again later."""

from __future__ import annotations

from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError, WrongDisk
from vmdkvol.messages import Lagging
from vmdkvol.points import Point
from vmdkvol.sizes import format_size
from vmdkvol.volume import Attachment
from vmdkvol_guest.parts import Parts
from vmdkvol_guest.ports import Device

# Less than this is no growth: a file system ends on a block, and where a last group of blocks is worth its own tables.
LEAST_BYTES = 1 << 20


class Growing:
    """Enlarges what is mounted here. Killed in the middle, the file system is whole and of a size between; it goes on later."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # Whether the service may believe that there are any: it may have heard so from the agent that was here before.
        self._told = True

    def follow(self, noted: Attachment, told: Attachment | None) -> None:
        """Let the mounted file system have the size of its disk, as ``told`` by the service just now, or else ``noted``.

        The new attachment is noted as soon as this kernel has the disk in its new size.
        """
        parts, attachment = self._parts, noted
        if told is not None and told.size_bytes > noted.size_bytes and told.generation >= noted.generation:
            attachment = told
        try:
            device = parts.devices.find(attachment, Deadline.after(parts.clock, parts.limits.find_s))
            if parts.mounts.mounted().get(attachment.volume) != device.number:
                raise WrongDisk(f"what is mounted for volume {attachment.volume} is not {device.path}")
            if attachment is not noted:
                parts.notebook.note(attachment.volume, attachment=attachment, linger_until=None)
                parts.at(Point.GROWTH_NOTED)
        except VolumeError as error:
            self._left(attachment, None, error.text)
            return
        self.mounted(attachment, device)

    def mounted(self, attachment: Attachment, device: Device) -> None:
        """As ``follow``, for a volume that is mounted from ``device``."""
        size_bytes: int | None = None
        try:
            size_bytes = self._size(attachment, device)
            if attachment.size_bytes - size_bytes < LEAST_BYTES:
                self._parts.growths.spanned(attachment.volume, attachment.size_bytes)
            elif attachment.options.access == "read-only":
                self._left(attachment, size_bytes, "the volume's access is read-only", now=float("inf"))
            elif attachment.keep_uuid and attachment.size_bytes == attachment.options.size_bytes:
                # Its maker may have kept the rest free for something else, and nobody could take it back.
                self._left(attachment, size_bytes, "somebody else made it, and no resize was ordered", now=float("inf"))
            else:
                self._grow(attachment, device, size_bytes)
        except VolumeError as error:
            self._left(attachment, size_bytes, error.text)

    def tell(self) -> None:
        """Tell the service which file systems are smaller than their disks: administrators see no Status of Docker's.

        A hint: what the service did not hear it is told the next time.
        """
        parts = self._parts
        mounted = parts.mounts.mounted()
        lags = tuple(lag for lag in parts.growths.lags() if lag.volume in mounted)
        if not (lags or self._told) or not parts.up() or parts.speaks() < Lagging.since:
            return
        try:
            parts.ask(Lagging(lags), parts.limits.list_s)
        except VolumeError as error:
            parts.log.info("not told which file systems did not grow", error=str(error))
        else:
            self._told = bool(lags)

    def _grow(self, attachment: Attachment, device: Device, was: int) -> None:
        parts, volume = self._parts, attachment.volume
        parts.filesystems.grow(device, attachment.options.fstype, parts.mounts.path(volume, "root"))
        parts.at(Point.GROWTH_DONE)
        parts.growths.spanned(volume, attachment.size_bytes)
        parts.log.info("file system grown", volume=str(volume), was=was, size_bytes=self._size(attachment, device))

    def _size(self, attachment: Attachment, device: Device) -> int:
        point = self._parts.mounts.path(attachment.volume, "root")
        return self._parts.filesystems.size(device, attachment.options.fstype, point)

    def _left(self, attachment: Attachment, size_bytes: int | None, reason: str, *, now: float | None = None) -> None:
        parts, volume = self._parts, attachment.volume
        now = parts.clock.monotonic() if now is None else now
        if parts.growths.left(volume, attachment.size_bytes, size_bytes, reason, now):
            has = "not known" if size_bytes is None else format_size(size_bytes)
            disk = format_size(attachment.size_bytes)
            parts.log.warning("file system is smaller than its disk", volume=str(volume), disk=disk, has=has, reason=reason)
