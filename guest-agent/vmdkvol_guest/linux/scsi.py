"""The SCSI disks of this kernel as sysfs shows them: no udev, no links under /dev/disk, no letters (D8, F44).

A disk is known by the UUID that it says it has. One that says none sits at a controller and unit, and a controller's
number is certain only where the firmware tells it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import DiskUuid, ScsiAddress
from vmdkvol_guest.linux import inquiry, vpd

SYSFS = Path("/sys")
PVSCSI = "vmw_pvscsi"
# Drivers of the controllers that vSphere counts as SCSI bus 0 to 3; the numbers of SATA and NVMe are their own.
_DRIVERS = frozenset({PVSCSI, "mptspi", "mptsas", "BusLogic"})
# VMware's firmware names a controller so (SMBIOS, onboard devices; vsphere-facts 7).
_LABEL = r"SCSI(\d+)"
# The kernel's words (scsi_sysfs.c) for a disk that it sends nothing to any more.
_OFFLINE = frozenset({"offline", "transport-offline"})
# Behind all slots that have a number.
_NO_SLOT = 1 << 31
_SECTOR = 512
# A disk is out of the kernel as soon as its last write is done, or the controller has given it up.
_GONE_S = 30.0
_GONE_STEP_S = 0.02
# A disk that goes while it is read is out of sysfs within this.
_READ_S = 0.5


@dataclass(frozen=True, slots=True)
class ScsiDisk:
    """One disk. ``place`` is the kernel's number of the controller and the unit; ``uuid`` is None if it says none.

    ``sequence`` is counted up with each disk that appears in this kernel; None before Linux 5.15.
    """

    name: str
    place: tuple[int, int]
    number: tuple[int, int]
    size_bytes: int
    sequence: int | None
    uuid: DiskUuid | None


@dataclass(frozen=True, slots=True)
class Controller:
    """One SCSI controller. ``bus`` is its number as the firmware tells it, None if it does not; ``slot`` orders them."""

    host: int
    driver: str
    bus: int | None
    slot: tuple[int, str]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where an address is in this kernel. ``certain``: told, or the only controller there is; else a guess by the order."""

    place: tuple[int, int]
    certain: bool


def tell(attribute: Path, text: str) -> None:
    """Write to an attribute of sysfs. OSError on failure."""
    descriptor = os.open(attribute, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


class ScsiTree:
    """What sysfs says of SCSI disks and controllers just now. ``ask`` asks an open disk for its UUID.

    ``node`` returns the path of a device's node under /dev, made if need be.
    """

    def __init__(
        self,
        clock: Clock,
        node: Callable[[str, tuple[int, int]], str],
        *,
        sysfs: Path = SYSFS,
        ask: Callable[[int], DiskUuid | None] = inquiry.disk_uuid,
        tell: Callable[[Path, str], None] = tell,
    ) -> None:
        self._clock = clock
        self._node = node
        self._sysfs = sysfs
        self._ask = ask
        self._tell = tell
        # By name, as they were when they were read; the kernel's count of appearances tells whether that still holds.
        self._known: dict[str, ScsiDisk] = {}

    def disks(self) -> list[ScsiDisk]:
        """Return every disk; one that comes or goes at this moment may be missing.

        Raises TruthUnknown for one that stays and cannot be read: without it nobody could say that a disk is not here.
        """
        found = (self._there(entry) for entry in sorted(self._sysfs.glob("block/sd*")))
        return [disk for disk in found if disk is not None]

    def controllers(self) -> list[Controller]:
        """Return the controllers of the kinds that vSphere numbers, in the order of their slots."""
        slots = self._slots()
        found = [each for entry in self._hosts() if (each := self._controller(entry, slots)) is not None]
        return sorted(found, key=lambda controller: controller.slot)

    def seat(self, address: ScsiAddress) -> Seat | None:
        """Return where the address is, None if this kernel has no such controller."""
        controllers = self.controllers()
        told = [each for each in controllers if each.bus == address.bus]
        if told:
            return Seat((told[0].host, address.unit), certain=len(told) == 1)
        if any(each.bus is not None for each in controllers) or address.bus >= len(controllers):
            return None
        return Seat((controllers[address.bus].host, address.unit), certain=len(controllers) == 1)

    def places(self, address: ScsiAddress) -> list[tuple[int, int]]:
        """Return where a disk with this address may come: on PVSCSI, and at one place where that is certain.

        At the same unit of another controller there may be a disk that just leaves: a scan would bring it back.
        """
        seat = self.seat(address)
        found = [(each.host, address.unit) for each in self.controllers() if each.driver == PVSCSI]
        return [place for place in found if seat is None or not seat.certain or place == seat.place]

    def scan(self, place: tuple[int, int]) -> None:
        """Let the controller look for a disk at this unit; one that is there already stays as it is."""
        host, unit = place
        # Channel, target, logical unit: PVSCSI has each disk as a target of its own.
        self._try(self._sysfs / f"class/scsi_host/host{host}/scan", f"0 {unit} 0")

    def rescan(self, name: str) -> None:
        """Let the kernel read the disk's size anew; it stays what it is for everybody who has it."""
        self._try(self._sysfs / "block" / name / "device/rescan", "1")

    def offline(self, name: str) -> bool:
        """Tell whether the kernel has given the disk up after errors: it lets nobody open it, until it is taken out."""
        try:
            return _text(self._sysfs / "block" / name / "device/state") in _OFFLINE
        except OSError:
            return False

    def holders(self, name: str) -> list[str]:
        """Return the devices that the kernel has built on a disk, such as ``dm-0 (mpatha)``: each keeps it busy."""
        found = []
        for entry in sorted(self._sysfs.glob(f"block/{name}/holders/*")):
            try:
                found.append(f"{entry.name} ({_text(entry / 'dm/name')})")
            except OSError:
                found.append(entry.name)
        return found

    def forget(self, name: str, number: tuple[int, int]) -> None:
        """Take the disk out of this kernel; done already is fine. Whoever calls holds it open: its name is nobody else's.

        Raises TruthUnknown if it stays.
        """
        entry = self._sysfs / "block" / name
        if not _is(entry, number):
            return
        try:
            self._tell(entry / "device" / "delete", "1")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                remedy = "sysfs must be writable for the agent" if error.errno == errno.EROFS else ""
                raise TruthUnknown(f"{name} cannot be taken out of the kernel: {error.strerror}", remedy=remedy) from error
        deadline = Deadline.after(self._clock, _GONE_S)
        while _is(entry, number):
            if deadline.passed:
                raise TruthUnknown(f"{name} did not leave the kernel within {_GONE_S:.0f} s")
            self._clock.sleep(_GONE_STEP_S)

    def _try(self, attribute: Path, text: str) -> None:
        try:
            self._tell(attribute, text)
        except OSError:
            # A controller or disk that goes, or a read-only sysfs: the disk then comes by itself, or not at all.
            return

    def _there(self, entry: Path) -> ScsiDisk | None:
        deadline = Deadline.after(self._clock, _READ_S)
        while True:
            try:
                return self._disk(entry)
            except (OSError, ValueError) as error:
                if not entry.exists():
                    return None
                if deadline.passed:
                    raise TruthUnknown(f"disk {entry.name} cannot be looked at: {error}") from error
            self._clock.sleep(_GONE_STEP_S)

    def _disk(self, entry: Path) -> ScsiDisk:
        # .../host2/target2:0:9/2:0:9:0
        host, _, target, _ = (int(part) for part in os.path.basename(os.readlink(entry / "device")).split(":"))
        sequence = _sequence(entry)
        size_bytes = int(_text(entry / "size")) * _SECTOR
        known = self._known.get(entry.name)
        if known is None or known.uuid is None or sequence is None or known.sequence != sequence:
            number = _number(entry)
            known = ScsiDisk(entry.name, (host, target), number, size_bytes, sequence, self._uuid(entry, number))
            self._known[entry.name] = known
        # What a disk is stays as long as it is there; it may grow.
        return known if known.size_bytes == size_bytes else replace(known, size_bytes=size_bytes)

    def _uuid(self, entry: Path, number: tuple[int, int]) -> DiskUuid | None:
        pages = [_page(entry / "device" / name) for name in ("vpd_pg83", "vpd_pg80")]
        if pages == [None, None]:
            # The kernel reads no pages of a disk that claims to be as old as SCSI-2, as those of old machine versions do.
            return self._asked(entry.name, number)
        return vpd.disk_uuid(*(page or b"" for page in pages))

    def _asked(self, name: str, number: tuple[int, int]) -> DiskUuid | None:
        """Return what the disk itself answers; one that does not answer says nothing, but it is there."""
        try:
            return self._answer(name, number)
        except OSError:
            return None

    def _answer(self, name: str, number: tuple[int, int]) -> DiskUuid | None:
        descriptor = os.open(self._node(name, number), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor).st_rdev
            return self._ask(descriptor) if (os.major(found), os.minor(found)) == number else None
        finally:
            os.close(descriptor)

    def _hosts(self) -> Iterator[Path]:
        yield from sorted(self._sysfs.glob("class/scsi_host/host*"))

    def _controller(self, entry: Path, slots: dict[str, int]) -> Controller | None:
        try:
            driver = _text(entry / "proc_name")
        except OSError:
            return None
        if driver not in _DRIVERS:
            return None
        # .../0000:03:00.0/host2/scsi_host/host2
        device = Path(os.path.realpath(entry)).parents[2]
        try:
            label = re.fullmatch(_LABEL, _text(device / "label"), re.IGNORECASE)
        except OSError:
            label = None
        slot = slots.get(device.name.rpartition(".")[0], _NO_SLOT)
        return Controller(int(entry.name.removeprefix("host")), driver, int(label[1]) if label else None, (slot, str(device)))

    def _slots(self) -> dict[str, int]:
        """Return the number of each PCI slot by the address in it; VMware's of SCSI controllers are 160, 192, 224, 256."""
        found = {}
        for entry in self._sysfs.glob("bus/pci/slots/*"):
            if not entry.name.isdecimal():
                continue
            try:
                found[_text(entry / "address")] = int(entry.name)
            except OSError:
                continue
        return found


def _sequence(entry: Path) -> int | None:
    try:
        return int(_text(entry / "diskseq"))
    except FileNotFoundError:
        return None


def _page(attribute: Path) -> bytes | None:
    """Return a page of the disk's vital product data as the kernel read it, None if it has none."""
    try:
        return attribute.read_bytes()
    except OSError:
        return None


def _is(entry: Path, number: tuple[int, int]) -> bool:
    try:
        return _number(entry) == number
    except (OSError, ValueError):
        return False


def _number(entry: Path) -> tuple[int, int]:
    major, _, minor = _text(entry / "dev").partition(":")
    return int(major), int(minor)


def _text(attribute: Path) -> str:
    return attribute.read_text("ascii", "replace").strip()
