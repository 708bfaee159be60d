"""A sysfs of SCSI controllers and disks in a directory, laid out and behaving as the kernel's: what is written to it is done.

The paths, links and attributes are those that Linux 6.1 has for vmw_pvscsi and sd.
"""

from __future__ import annotations

import itertools
import shutil
import string
from dataclasses import dataclass, replace
from pathlib import Path

from vmdkvol.volume import DiskUuid, ScsiAddress

SECTOR = 512


def identification(uuid: DiskUuid) -> bytes:
    """Page 0x83 as a VMware disk has it: one NAA designator of 16 bytes for the logical unit."""
    return bytes([0, 0x83, 0, 20, 1, 3, 0, 16]) + uuid.bytes


def serial(text: str) -> bytes:
    """Page 0x80 with this serial number."""
    return bytes([0, 0x80, 0, len(text)]) + text.encode()


@dataclass(frozen=True, slots=True)
class Virtual:
    """A disk as the hypervisor has it. Pages that are None are not there, as on a disk that the kernel asks for none."""

    number: tuple[int, int]
    size_bytes: int
    sequence: int | None = None
    identification: bytes | None = None
    serial: bytes | None = None


class ScsiSysfs:
    """``root`` is what /sys would be. A test has the hypervisor attach and detach, the agent writes with ``tell``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[tuple[str, str]] = []
        # Attached by the hypervisor; the kernel need not have noticed yet.
        self.attached: dict[ScsiAddress, Virtual] = {}
        # A kernel that does not let go of a disk: a write that never ends.
        self.stuck = False
        self._hosts: dict[int, int] = {}
        self._numbers = itertools.count(2)
        for directory in ("block", "class/scsi_host", "bus/pci/slots"):
            (root / directory).mkdir(parents=True, exist_ok=True)

    # --- the hypervisor --------------------------------------------------------------------------------------------

    def controller(self, bus: int, *, driver: str = "vmw_pvscsi", label: str = "", slot: int | None = None) -> int:
        """A controller appears; return the kernel's number of it."""
        host = next(self._numbers)
        pci = self.root / "devices/pci0000:00" / f"0000:00:{21 + bus:02x}.0" / f"0000:{3 + bus:02x}:00.0"
        shown = pci / f"host{host}" / "scsi_host" / f"host{host}"
        shown.mkdir(parents=True)
        (shown / "proc_name").write_text(f"{driver}\n")
        (shown / "scan").touch()
        if label:
            (pci / "label").write_text(f"{label}\n")
        if slot is not None:
            (self.root / f"bus/pci/slots/{slot}").mkdir()
            (self.root / f"bus/pci/slots/{slot}/address").write_text(f"0000:{3 + bus:02x}:00\n")
        (self.root / f"class/scsi_host/host{host}").symlink_to(shown)
        self._hosts[bus] = host
        return host

    def attach(self, address: ScsiAddress, disk: Virtual, *, seen: bool = True) -> None:
        """The hypervisor attaches a disk; ``seen``: the kernel notices."""
        self.attached[address] = disk
        if seen:
            self._appear(address)

    def detach(self, address: ScsiAddress, *, seen: bool = True) -> None:
        self.attached.pop(address, None)
        if seen:
            self._vanish(self._path(address))

    def swap(self, address: ScsiAddress, disk: Virtual) -> None:
        """Another disk sits at the address, and the kernel has not noticed: it shows what the first one said."""
        self.attached[address] = disk

    def give_up(self, address: ScsiAddress, state: str = "offline") -> None:
        """The kernel has this state for the disk, after errors that would not end."""
        (self._path(address) / "state").write_text(f"{state}\n")

    def grow(self, address: ScsiAddress, size_bytes: int) -> None:
        """The disk is larger, and the kernel has not noticed."""
        self.attached[address] = replace(self.attached[address], size_bytes=size_bytes)

    # --- the kernel ------------------------------------------------------------------------------------------------

    def tell(self, attribute: Path, text: str) -> None:
        """What a write to an attribute does."""
        self.told.append((str(attribute.relative_to(self.root)), text))
        if attribute.name == "delete":
            # OSError for a disk that is not there, as the kernel's.
            path = (attribute.parent).resolve(strict=True)
            if not self.stuck:
                self._vanish(path)
        elif attribute.name == "rescan":
            path = attribute.parent.resolve(strict=True)
            (disk,) = (disk for address, disk in self.attached.items() if self._path(address) == path)
            (size,) = path.glob("block/*/size")
            size.write_text(f"{disk.size_bytes // SECTOR}\n")
        elif attribute.name == "scan":
            (bus,) = (bus for bus, host in self._hosts.items() if f"host{host}" == attribute.parent.name)
            _, unit, _ = text.split()
            self._appear(ScsiAddress(bus, int(unit)))

    def names(self) -> set[str]:
        """The disks that the kernel shows."""
        return {entry.name for entry in (self.root / "block").iterdir()}

    def _path(self, address: ScsiAddress) -> Path:
        host = self._hosts[address.bus]
        pci = (self.root / f"class/scsi_host/host{host}").resolve().parents[2]
        return pci / f"host{host}" / f"target{host}:0:{address.unit}" / f"{host}:0:{address.unit}:0"

    def _appear(self, address: ScsiAddress) -> None:
        path, disk = self._path(address), self.attached.get(address)
        if path.exists() or disk is None:
            return
        # The lowest letter that is free, as the kernel does: a letter is used again at once.
        name = next(name for letter in string.ascii_lowercase if (name := f"sd{letter}") not in self.names())
        # Complete before it is seen at all.
        made = self.root / f".{name}"
        shown = made / "block" / name
        shown.mkdir(parents=True)
        (shown / "dev").write_text(f"{disk.number[0]}:{disk.number[1]}\n")
        (shown / "size").write_text(f"{disk.size_bytes // SECTOR}\n")
        if disk.sequence is not None:
            (shown / "diskseq").write_text(f"{disk.sequence}\n")
        for page, content in (("vpd_pg83", disk.identification), ("vpd_pg80", disk.serial)):
            if content is not None:
                (made / page).write_bytes(content)
        (made / "delete").touch()
        (made / "state").write_text("running\n")
        (shown / "device").symlink_to(f"../../../{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        made.rename(path)
        (self.root / "block" / name).symlink_to(path / "block" / name)

    def _vanish(self, path: Path) -> None:
        if not path.exists():
            return
        for entry in (path / "block").iterdir():
            (self.root / "block" / entry.name).unlink()
        shutil.rmtree(path)


def mute(disk: Virtual) -> Virtual:
    """The same disk on a machine without disk.EnableUUID."""
    return replace(disk, identification=bytes([0, 0x83, 0, 0]), serial=None)
