"""A disk leaves this host: the kernel's proof that nobody has it, then the service's detach. Only ``reconcile`` and,
through it, Remove come here, inside an entry of the volume's lane."""

from __future__ import annotations

from functools import partial

from vmdkvol.clock import Deadline
from vmdkvol.errors import StaleRequest, StillMounted, TruthUnknown, VolumeError, VolumeInUse
from vmdkvol.messages import Detach
from vmdkvol.points import Point
from vmdkvol.volume import Attachment, VolumeId
from vmdkvol_guest.holders import culprits
from vmdkvol_guest.parts import Parts
from vmdkvol_guest.ports import Device, Holdings

CLAIM_S = 2.0


class Releasing:
    """Takes disks off this host, or says who keeps them here."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def release(self, volume: VolumeId) -> None:
        """Afterwards the volume is neither mounted nor attached here.

        Raises VolumeInUse naming who has it, and what the service raised; then it stays as far as it came.
        """
        noted = self._parts.notebook.holdings().get(volume, Holdings(volume))
        ids = noted.ids | self._parts.arrivals.ids(volume)
        if ids:
            raise self._in_use(volume, ids, noted.attachment)
        attachment = noted.attachment or self._parts.attached().get(volume)
        try:
            self._parts.mounts.unmount(volume)
            if attachment is not None:
                self.detach(attachment)
        except StillMounted as error:
            raise self._in_use(volume, ids, attachment) from error

    def detach(self, attachment: Attachment) -> None:
        """Afterwards the disk is not on this host, and nothing of it is noted.

        Raises StillMounted while anybody has the device, in any mount namespace; it is then attached as before.
        """
        parts, volume = self._parts, attachment.volume
        self._forget_device(attachment)
        parts.at(Point.RELEASE_FORGOTTEN)
        # No claim any more: on the local hypervisor the detach tests O_EXCL itself (corrections 3).
        try:
            parts.ask(Detach(volume, attachment.generation), parts.limits.release_s)
        except StaleRequest:
            self._detach_newer(volume)
        parts.at(Point.RELEASE_DETACHED)
        self.close(volume)
        parts.log.info("detached", volume=str(volume), generation=attachment.generation)

    def prove_unused(self, attachment: Attachment) -> None:
        """Raise StillMounted if anybody has the disk's device. A disk without a device here is used by nobody."""
        device = self._parts.present(attachment)
        if device is not None:
            with self._parts.devices.claim(device, self._claim_deadline()):
                pass

    def close(self, volume: VolumeId) -> None:
        """Forget what was noted of a volume that is not here; a Mount that waits for the lane keeps its holder."""
        parts = self._parts
        parts.growths.forget(volume)
        clear = partial(parts.notebook.note, volume, attachment=None, linger_until=None)
        parts.arrivals.unless_arriving(volume, partial(parts.notebook.close, volume), clear)

    def _forget_device(self, attachment: Attachment) -> None:
        parts = self._parts
        device: Device | None = parts.present(attachment)
        while device is not None:
            self._require_own_place(device, attachment)
            began = parts.clock.monotonic()
            with parts.devices.claim(device, self._claim_deadline()):
                parts.at(Point.RELEASE_CLAIMED)
                parts.devices.forget(device)
            if parts.clock.monotonic() - began <= parts.limits.gap_s:
                return
            # Stopped in between for so long that somebody may have mounted what is still there (F62).
            device = parts.present(attachment)

    def _require_own_place(self, device: Device, attachment: Attachment) -> None:
        """Raise TruthUnknown for a disk that is known by its place alone while another volume's was put there too.

        A detach whose answer was lost leaves its note, and the place may have been given away since; the service's list says
        which of the two is not here any more.
        """
        if device.named:
            return
        for other in self._parts.notebook.holdings().values():
            noted = other.attachment
            if noted is not None and noted.volume != attachment.volume and noted.address == attachment.address:
                raise TruthUnknown(f"{device.path} may be the disk of volume {noted.volume}, which was put at the same place")

    def _detach_newer(self, volume: VolumeId) -> None:
        """An attach of ours whose answer was lost raised the generation, and may have put the disk at another place."""
        newer = self._parts.attached().get(volume)
        if newer is not None:
            self._forget_device(newer)
            self._parts.ask(Detach(volume, newer.generation), self._parts.limits.release_s)

    def _in_use(self, volume: VolumeId, ids: frozenset[str], attachment: Attachment | None) -> VolumeInUse:
        try:
            device = None if attachment is None else self._parts.present(attachment)
        except VolumeError:
            # Not said yet who we are, or which device it is: the refusal stands without the names of processes.
            device = None
        targets = () if device is None else self._parts.mounts.users(device)
        return VolumeInUse(f"the volume is {culprits(ids, targets)} on this host", volume=str(volume))

    def _claim_deadline(self) -> Deadline:
        return Deadline.after(self._parts.clock, CLAIM_S)
