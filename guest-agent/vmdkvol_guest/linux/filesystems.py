"""Makes, reads and checks file systems with the host's own tools; each device is verified before a tool gets it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from uuid import UUID

from vmdkvol.errors import CheckFailed, ForeignContent, InvalidSize, MissingTool, NoSpace, TruthUnknown, VolumeError
from vmdkvol.options import PACKAGES
from vmdkvol_guest.linux import enlarging, kernel, superblock
from vmdkvol_guest.linux.commands import Commands, Finished, which
from vmdkvol_guest.linux.loop_devices import out_of_space
from vmdkvol_guest.linux.opening import opened
from vmdkvol_guest.ports import Device, Probe

# Signatures that matter lie within this much of an end (RAID and GPT have theirs in the last).
_END_BYTES = 1 << 20
_BLKFLSBUF = 0x1261

# What a device with nothing on it can take. A repair has as long as it needs within reason: the call that waits for
# it is answered "still working" long before, and cutting it would harm.
_PROBE_S = 30.0
_MAKE_S = 600.0
_CHECK_S = 6 * 3600.0

# Every ext4 since e2fsprogs 1.43 and Linux 4.4 knows these. Without "none" the host's mke2fs.conf would add features
# (orphan_file, metadata_csum_seed) that an older host of the site can neither check nor mount (D6).
_EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)
TOOLS = {
    "ext4": ("mkfs.ext4", "e2fsck", "tune2fs", "blkid"),
    "xfs": ("mkfs.xfs", "xfs_repair", "xfs_admin", "blkid"),
}
# e2fsck(8): 1 = corrected, 2 = corrected and the system should be rebooted, which says nothing of an unmounted disk.
_E2FSCK_FINE = {0, 1, 2, 3}
_E2FSCK_UNCORRECTED, _E2FSCK_OPERATIONAL = 4, 8
_BLKID_NOTHING, _BLKID_AMBIVALENT = 2, 8
AMBIVALENT = "ambivalent"


class LinuxFilesystems:
    """The ``Filesystems`` port with e2fsprogs, xfsprogs and util-linux."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def missing_tool(self, fstype: str) -> str | None:
        return None if all(which(tool) for tool in TOOLS[fstype]) else PACKAGES[fstype]

    def probe(self, device: Device, *, recorded: Probe | None = None) -> Probe:
        with opened(device) as descriptor:
            if recorded is not None and _clean(descriptor, device) == recorded:
                return recorded
            _read_ends(descriptor, device)
            return self._probe(device)

    def make(self, device: Device, fstype: str, uuid: UUID, options: tuple[str, ...], *, pristine: bool) -> None:
        self._require(fstype)
        with opened(device) as descriptor:
            # The caller has decided by a probe of its own; between that and now nothing else may have come (I1).
            _read_ends(descriptor, device)
            found = self._probe(device)
            if not found.blank:
                raise ForeignContent(f"{device.path} has a signature ({found.kind}), so no file system is made on it")
            command = _mkfs_ext4(uuid, pristine=pristine) if fstype == "ext4" else _mkfs_xfs(uuid)
            done = self._commands.run([*command, *options, device.path], seconds=_MAKE_S, dies_with_us=True)
            if done.code != 0:
                raise _io_or(TruthUnknown, device, f"mkfs.{fstype} of {device.path} failed: {done.last_line}")
            if "too small for a journal" in done.output:
                raise InvalidSize(f"{device.path} is too small for a journal with these mkfs options")
            _flush(descriptor, device)

    def blank(self, device: Device) -> None:
        with opened(device):
            try:
                # Exclusive: an orphan mkfs, or a mount that nobody knows of, must not lose its superblock to us.
                descriptor = os.open(device.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
            except OSError as error:
                raise TruthUnknown(f"{device.path} cannot be opened for writing: {error.strerror}") from error
            try:
                _zero_ends(descriptor, device)
                _flush(descriptor, device)
            finally:
                os.close(descriptor)

    def check(self, device: Device, fstype: str, *, full: bool) -> None:
        with opened(device) as descriptor:
            found = None if full else _clean(descriptor, device)
            if found is not None and found.kind == fstype:
                # What e2fsck -p would only say itself, and for xfs the mount does.
                return
            self._require(fstype)
            if fstype == "ext4":
                self._check_ext4(device, full=full)
            else:
                self._check_xfs(device, full=full)

    def renew_uuid(self, device: Device, fstype: str, uuid: UUID) -> None:
        self._require(fstype)
        label = _label(uuid)
        with opened(device) as descriptor:
            if fstype == "ext4":
                # tune2fs wants a full check that is newer than the last mount, and rewrites every checksum.
                self._check_ext4(device, full=True)
                done = self._commands.run(["tune2fs", "-U", str(uuid), "-L", label, device.path], seconds=_CHECK_S)
            else:
                # xfs_admin refuses a dirty log, and ends with 0 all the same (corrections 34).
                _replay_xfs(device)
                done = self._commands.run(["xfs_admin", "-U", str(uuid), "-L", label, device.path], seconds=_CHECK_S)
            _flush(descriptor, device)
            if done.code != 0 or self._probe(device).uuid != uuid:
                raise _io_or(TruthUnknown, device, f"the file system on {device.path} kept its UUID: {done.last_line}")

    def size(self, device: Device, fstype: str, point: str) -> int:
        return enlarging.size(device, fstype, point)

    def grow(self, device: Device, fstype: str, point: str) -> None:
        enlarging.grow(device, fstype, point)

    def _probe(self, device: Device) -> Probe:
        done = self._commands.run(["blkid", "-p", "-o", "export", device.path], seconds=_PROBE_S)
        if done.code == _BLKID_NOTHING:
            return Probe(None, None)
        if done.code == _BLKID_AMBIVALENT:
            return Probe(AMBIVALENT, None)
        if done.code != 0:
            raise TruthUnknown(f"blkid could not read {device.path}: {done.last_line}")
        values = dict(line.partition("=")[::2] for line in done.output.splitlines())
        kind = values.get("TYPE") or values.get("PTTYPE") or values.get("USAGE")
        if not kind:
            # A signature that has no name is no blank disk either.
            raise TruthUnknown(f"blkid's answer for {device.path} has no type: {done.last_line}")
        return Probe(kind, _uuid(values.get("UUID", "")))

    def _check_ext4(self, device: Device, *, full: bool) -> None:
        done = self._commands.run(["e2fsck", *(["-f"] if full else []), "-p", device.path], seconds=_CHECK_S)
        if done.code in _E2FSCK_FINE:
            return
        text = f"e2fsck of {device.path} ended with {done.code}: {_sentence(done)}"
        damaged = done.code & _E2FSCK_UNCORRECTED or _bad_superblock(done)
        raise _io_or(CheckFailed if damaged else TruthUnknown, device, text)

    def _check_xfs(self, device: Device, *, full: bool) -> None:
        found = self._probe(device)
        if found.kind != "xfs":
            raise CheckFailed(f"{device.path} has no xfs superblock (found: {found.kind or 'nothing'})")
        if not full:
            # The mount replays the log and refuses what is damaged; xfs has no preening.
            return
        _replay_xfs(device)
        done = self._commands.run(["xfs_repair", "-n", device.path], seconds=_CHECK_S)
        if done.code != 0:
            raise _io_or(CheckFailed, device, f"xfs_repair -n of {device.path} ended with {done.code}: {done.last_line}")

    def _require(self, fstype: str) -> None:
        package = self.missing_tool(fstype)
        if package is not None:
            raise MissingTool(
                f"the tools of {fstype} are not installed on this Docker host",
                remedy=f"install the package {package} (apt-get install {package})",
                package=package,
            )


def _clean(descriptor: int, device: Device) -> Probe | None:
    """Return the file system on the open device if it was unmounted in order and needs no check, else None."""
    try:
        return superblock.clean(os.pread(descriptor, superblock.BLOCK_BYTES, 0), device.size_bytes)
    except OSError:
        # The tools say what is wrong with it.
        return None


def _label(uuid: UUID) -> str:
    return uuid.hex[:8]


def _mkfs_ext4(uuid: UUID, *, pristine: bool) -> Sequence[str]:
    # Without discard: it would send UNMAP for the whole disk to an array. The journal may stay as it is only on a
    # disk that reads as zeros: an old journal's blocks could be replayed (corrections 21).
    lazy = f"nodiscard,lazy_itable_init=1,lazy_journal_init={int(pristine)}"
    return ["mkfs.ext4", "-q", "-m", "0", "-O", _EXT4_FEATURES, "-E", lazy, "-U", str(uuid), "-L", _label(uuid)]


def _mkfs_xfs(uuid: UUID) -> Sequence[str]:
    return ["mkfs.xfs", "-q", "-K", "-m", f"uuid={uuid}", "-L", _label(uuid)]


def _replay_xfs(device: Device) -> None:
    """Mount and unmount, so that the log is clean; nouuid, since a clone's source may be mounted beside (corrections 34)."""
    try:
        with kernel.mounted_unseen(device.path, "xfs", "nouuid"):
            pass
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENOSYS):
            raise MissingTool(f"this host's kernel cannot mount xfs unseen: {error.strerror}") from error
        kind = CheckFailed if error.errno in kernel.DAMAGE else TruthUnknown
        raise _io_or(kind, device, f"the log of {device.path} could not be replayed: {error.strerror}") from error


def _bad_superblock(done: Finished) -> bool:
    """Tell whether e2fsck stopped because what it read is no ext4, which is damage, not trouble with the device."""
    return done.code & _E2FSCK_OPERATIONAL != 0 and any(
        words in done.output for words in ("Bad magic number", "superblock is corrupt", "Superblock checksum does not match")
    )


def _sentence(done: Finished) -> str:
    """The first line of e2fsck's output that says what is wrong; the rest is advice."""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    told = [line for line in lines if "UNEXPECTED" in line or line.startswith("e2fsck:")]
    return (told or lines or ["no output"])[0]


def _io_or(kind: type[VolumeError], device: Device, text: str) -> VolumeError:
    """Return NoSpace if the datastore is full, for then any tool may fail without damage (corrections 22), else ``kind``."""
    return NoSpace(f"{text} (the datastore is full)") if out_of_space(device) else kind(text)


def _read_ends(descriptor: int, device: Device) -> None:
    """Raise TruthUnknown unless both ends can be read: blkid takes an unreadable disk for a blank one."""
    for offset in (0, max(0, device.size_bytes - _END_BYTES)):
        wanted = min(_END_BYTES, device.size_bytes)
        try:
            got = len(os.pread(descriptor, wanted, offset))
        except OSError as error:
            raise TruthUnknown(f"{device.path} cannot be read at {offset}: {error.strerror}") from error
        if got != wanted:
            raise TruthUnknown(f"{device.path} gave {got} of {wanted} bytes at {offset}")


def _zero_ends(descriptor: int, device: Device) -> None:
    wanted = min(_END_BYTES, device.size_bytes)
    # The end first: a crash between the two leaves the superblock, with the UUID that says whose it is.
    for offset in (device.size_bytes - wanted, 0):
        try:
            written = os.pwrite(descriptor, bytes(wanted), offset)
        except OSError as error:
            raise _io_or(TruthUnknown, device, f"{device.path} cannot be blanked: {error.strerror}") from error
        if written != wanted:
            raise TruthUnknown(f"{device.path} took {written} of {wanted} bytes at {offset}")


def _flush(descriptor: int, device: Device) -> None:
    """Afterwards all is on the disk, and the next reader reads the disk instead of an old page."""
    try:
        os.fsync(descriptor)
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
    except OSError as error:
        raise _io_or(TruthUnknown, device, f"{device.path} could not be flushed: {error.strerror}") from error


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        # vfat, ntfs and others have short identifiers of their own.
        return None
