"""Loop devices as the attachments of one machine: bound to a VMDK's extent, tagged, locked, and let go on proof only.

``lo_file_name`` carries our tag (VM and disk) and is the device list; ``flock`` on the extent's descriptor, which the
kernel keeps open as long as the loop device is bound, is the lock of VMFS (corrections 2).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import HypervisorUnreachable, NoFreeSlot, StillMounted, TruthUnknown
from vmdkvol.volume import FIRST_LOOP, DiskUuid, VmId, loop_tag, parse_loop_tag
from vmdkvol_esx.local import loop_device
from vmdkvol_esx.local.loop_numbers import Numbers

# A starting container copies all mounts for a moment: a short EBUSY says nothing (corrections J).
PATIENCE_S = 1.0
# Where the files of another service's disks lie: its loop devices are not opened.
_IN_A_DATASTORE = re.compile(r"/vmdkvol/[0-9a-f-]{36}/[^/]+-flat\.vmdk$")
# How long an opener that is not exclusive, such as a probe by udev, may delay the end of a detach.
_UNBIND_S = 3.0


@dataclass(frozen=True, slots=True)
class Loop:
    """A bound loop device over a file of our datastores, or with the tag of a VM of ours. ``owner`` is None without one."""

    number: int
    file: str
    owner: tuple[VmId, DiskUuid] | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read of the binding ``at``, 0 if it may read otherwise the next moment. ``loop`` is None if it is not ours."""

    at: int
    file: str | None
    loop: Loop | None

    def stands(self, number: int, at: int | None) -> bool:
        """Tell whether it need not be read again: a file that nobody of us has locked may have got another name."""
        if self.at != at or self.file is None:
            return False
        locked = _IN_A_DATASTORE.search(self.file) if self.loop is None else self.loop.owner
        return bool(locked) or loop_device.backing_file(number) == self.file


class Loops:
    """The loop devices over files below ``roots``, and those of ``vms`` whose file was moved away meanwhile."""

    def __init__(self, clock: Clock, roots: Sequence[str], vms: Collection[VmId] = ()) -> None:
        self._clock = clock
        self._vms = frozenset(vms)
        self._roots = tuple(os.path.realpath(root) + "/" for root in roots)
        self._numbers = Numbers(clock)
        # What was read of each binding, by the binding's number in the kernel: which file and tag it has never changes.
        self._known: dict[int, _Seen] = {}

    def bound(self) -> list[Loop]:
        """Return every bound loop device over a file of ours; TruthUnknown if one of them cannot be read.

        The kernel is asked each time which devices are bound; a binding that was read before is not read again, so that
        the list costs one stat a device: an attach looks at it four times, beside as many disks as there are. Only of
        those that somebody bound by hand the file's name is read each time.
        """
        bindings = {number: at for number in loop_device.numbers() if (at := loop_device.binding(number)) is not None}
        known = {number: seen for number, seen in self._known.items() if seen.stands(number, bindings.get(number))}
        for number, at in bindings.items():
            if number not in known:
                known[number] = self._look(number, at)
        self._known = known
        return [seen.loop for seen in known.values() if seen.loop is not None]

    def _look(self, number: int, at: int) -> _Seen:
        """Return what the device is bound to, with ``at`` if that is sure to be what this binding has for good, else 0.

        While it is being bound or let go the kernel names no file, which says nothing of the next moment.
        """
        loop = self._read(number)
        file = loop_device.backing_file(number)
        sure = file is not None and (not file.startswith(self._roots) if loop is None else file == loop.file)
        return _Seen(at if sure and loop_device.binding(number) == at else 0, file, loop)

    def _read(self, number: int) -> Loop | None:
        """Return the loop device if it is bound over a file of ours, with file and tag of one and the same binding.

        They are read one after the other, and meanwhile the number may be bound anew. And while it is being unbound,
        sysfs still has the file but GET_STATUS64 says ENXIO (seen on 6.18): a moment, not a device that cannot be read.
        """
        deadline, pause = Deadline.after(self._clock, PATIENCE_S), 0.0005
        file = loop_device.backing_file(number)
        while file is not None and file.startswith(self._roots):
            tag, before = loop_device.tag_of(number), file
            file = loop_device.backing_file(number)
            if tag is not None and file == before:
                return Loop(number, before, parse_loop_tag(tag))
            if file is not None and deadline.passed:
                raise TruthUnknown(f"loop{number} is bound to {file}, but its device cannot be opened")
            self._clock.sleep(pause)
            pause = min(2 * pause, 0.05)
        return None if file is None else self._moved(number, file)

    def _moved(self, number: int, file: str) -> Loop | None:
        """Return the device if its tag says that a VM of ours has it, although its file lies elsewhere.

        The VM goes on writing to a file that was renamed under it: for another VM, a copy in its place would be a second
        disk of the same name. A device of others that cannot be read is none of ours.
        """
        if number < FIRST_LOOP or not self._vms or _IN_A_DATASTORE.search(file):
            return None
        try:
            owner = parse_loop_tag(loop_device.tag_of(number) or "")
        except TruthUnknown:
            return None
        if owner is None or owner[0] not in self._vms or loop_device.backing_file(number) != file:
            return None
        return Loop(number, file, owner)

    def attach(self, extent: int, tag: str, *, offset_bytes: int, size_bytes: int, keep_blocks: bool) -> int:
        """Bind a loop device to the open, locked ``extent`` and return its number.

        It has exactly ``size_bytes``, and direct I/O if the file system under it can. With ``keep_blocks`` it takes no
        discards: fstrim would give back the blocks of a thick disk (corrections 35). On an error nothing is bound.
        """
        try:
            for number in self._numbers.take(fresh=keep_blocks):
                if self._bound_to(number, extent, tag, offset_bytes, size_bytes, keep_blocks=keep_blocks):
                    return number
        except OSError as error:
            raise HypervisorUnreachable(
                f"no loop device could be made: {error.strerror}",
                remedy="the service must run as root, with the kernel's loop driver",
            ) from error
        raise NoFreeSlot("this machine has no free loop device")

    def enlarge(self, loop: Loop, size_bytes: int, what: str) -> None:
        """Afterwards the device has ``size_bytes`` at least, unless it ended at this moment; whoever uses it goes on."""
        if loop_device.size_of(loop.number) >= size_bytes:
            return
        device = loop_device.open_device(loop.number, os.O_RDWR)
        if device is None:
            return
        try:
            if loop_device.tag_in(device) == _text(loop):
                loop_device.resize(device, size_bytes)
                loop_device.check_size(loop.number, size_bytes)
        except OSError as error:
            raise TruthUnknown(f"{what}: /dev/loop{loop.number} cannot be enlarged: {error.strerror}") from error
        finally:
            os.close(device)

    def detach(self, loop: Loop, what: str) -> None:
        """Afterwards the device is unbound and its number given back; gone before is fine.

        StillMounted while anybody has it open in a way that keeps it; it is then bound as before. LOOP_CLR_FD on such
        a device would return 0 and only mark it, so the exclusive open comes first (corrections 3).
        """
        device = self._claim(loop.number, what)
        if device is None:
            return
        try:
            if loop_device.tag_in(device) != _text(loop):
                return
            loop_device.unbind(device)
        except OSError as error:
            raise TruthUnknown(f"{what}: /dev/loop{loop.number} cannot be unbound: {error.strerror}") from error
        finally:
            os.close(device)
        if not self._unbound(loop):
            _keep_bound(loop)
            raise StillMounted(f"{what} is still open on /dev/loop{loop.number}")
        self._numbers.give_back(loop.number)

    def close(self) -> None:
        """Give back the numbers of detached devices, and those that a killed process left."""
        self._numbers.close()

    def _bound_to(self, number: int, extent: int, tag: str, offset_bytes: int, size_bytes: int, *, keep_blocks: bool) -> bool:
        """Bind this number; False if somebody took it or took it away at this moment."""
        device = loop_device.open_device(number, os.O_RDWR)
        if device is None:
            return False
        try:
            if keep_blocks:
                # Before the binding too, which keeps it (seen on 6.18): killed in between, the disk stays thick.
                with suppress(OSError):
                    loop_device.limit_discards(number, "0")
            if not loop_device.bind(device, extent, tag, offset_bytes, size_bytes):
                return False
            try:
                loop_device.prepare(number, size_bytes, keep_blocks=keep_blocks)
            except BaseException:
                loop_device.unbind(device)
                raise
        except BaseException:
            self._numbers.give_back(number)
            raise
        finally:
            os.close(device)
        return True

    def _claim(self, number: int, what: str) -> int | None:
        """Return the device held exclusively: proof that no file system and no other exclusive user is on it.

        Read-only, since closing a writable descriptor makes udev probe the device again (corrections 39).
        """
        deadline = Deadline.after(self._clock, PATIENCE_S)
        while True:
            try:
                return loop_device.open_device(number, os.O_RDONLY | os.O_EXCL)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise TruthUnknown(f"/dev/loop{number} cannot be opened: {error.strerror}") from error
                if deadline.passed:
                    raise StillMounted(f"{what} is in use on /dev/loop{number}") from error
            self._clock.sleep(0.02)

    def _unbound(self, loop: Loop) -> bool:
        """Wait until the device is no longer this loop, for ``bound`` too; the number may be another's already."""
        deadline = Deadline.after(self._clock, _UNBIND_S)
        pause = 0.0005
        while loop_device.binding(loop.number) is not None and loop_device.tag_of(loop.number) in (_text(loop), None):
            if deadline.passed:
                return False
            self._clock.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True


def _text(loop: Loop) -> str | None:
    return None if loop.owner is None else loop_tag(*loop.owner)


def _keep_bound(loop: Loop) -> None:
    """Let the attachment stay, unless it ended at this moment."""
    device = loop_device.open_device(loop.number, os.O_RDWR)
    if device is None:
        return
    try:
        if loop_device.tag_in(device) == _text(loop):
            loop_device.keep_bound(device)
    finally:
        os.close(device)
