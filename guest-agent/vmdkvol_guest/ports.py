"""What the agent needs of its kernel and its disk, in our words. Every promise is a test in tests/contract/."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.volume import Attachment, DiskUuid, VmId, VolumeId, VolumeInfo


@dataclass(frozen=True, slots=True)
class Device:
    """A block device of this kernel that was verified to be a certain disk. ``number`` is (major, minor).

    ``sequence`` tells this appearance of a disk from a later one under the same number; None where the kernel does not
    count. ``named``: the disk says its UUID itself; False for one that is known by its place alone. ``sure``: False for one
    whose place is a guess.
    """

    path: str
    number: tuple[int, int]
    disk_uuid: DiskUuid
    size_bytes: int
    sequence: int | None = None
    named: bool = True
    sure: bool = True


class Devices(Protocol):
    def find(self, attachment: Attachment, deadline: Deadline) -> Device:
        """Return the device of an attached disk, waiting for it to appear.

        Identity and size are verified: WrongDisk if another disk sits there and stays, TruthUnknown if none appears in
        time. A disk that says no UUID is taken by its place and size alone, and only where a mistake cannot reach what is
        on another disk: the place is certain, or the file system's UUID is on record (D8).
        """
        ...

    def claim(self, device: Device, deadline: Deadline) -> AbstractContextManager[None]:
        """Hold the device open O_RDONLY|O_EXCL while the context is entered, or raise StillMounted.

        Proves that no file system and no exclusive opener is directly on it, in any mount namespace (D7). A busy
        device is tried again for about a second: starting containers copy all mounts for a moment (corrections J).
        Never hold it across make, check or mount: they need the device for themselves (corrections 10).
        """
        ...

    def forget(self, device: Device) -> None:
        """Take the device out of this kernel before a detach; one that is gone already is fine. Loops: nothing to do.

        Nothing for a device that is not ``sure`` either: it may be somebody else's. Only while it is claimed.
        Raises TruthUnknown if it stays.
        """
        ...

    def present(self, vm: VmId, attachment: Attachment) -> Device | None:
        """Return the device of the attachment's disk if this kernel has it for ``vm`` at this moment, else None.

        Never waits for one. Raises TruthUnknown, or WrongDisk, if which device it is cannot be said.
        """
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """What both ends of a device say. ``kind`` is blkid's TYPE or PTTYPE; both None means provably blank."""

    kind: str | None
    uuid: UUID | None

    @property
    def blank(self) -> bool:
        return self.kind is None


class Filesystems(Protocol):
    def missing_tool(self, fstype: str) -> str | None:
        """Return the Debian package that this host lacks to make and check ``fstype``, or None."""
        ...

    def probe(self, device: Device, *, recorded: Probe | None = None) -> Probe:
        """Read the signatures in the first and last MiB; an unreadable device raises TruthUnknown, never 'blank'.

        An ambivalent result (two signatures) is a kind of its own, never blank. ``recorded`` is what the record says is
        there: if it is, and was unmounted in order, it is answered without looking for anything else.
        """
        ...

    def make(self, device: Device, fstype: str, uuid: UUID, options: tuple[str, ...], *, pristine: bool) -> None:
        """Make a file system with this UUID, flushed to the disk on return; label = the UUID's first 8 digits.

        ``pristine``: the disk never held data, so lazy journal initialisation is safe (corrections 21).
        Raises NoSpace or TruthUnknown; the caller probes again before it trusts anything.
        """
        ...

    def blank(self, device: Device) -> None:
        """Remove the signatures at both ends, flushed. Only ever called for a `formatting` record with our UUID."""
        ...

    def check(self, device: Device, fstype: str, *, full: bool) -> None:
        """Preen (ext4) and replay the journal; ``full`` forces a complete check (a clone's first mount).

        Raises CheckFailed for damage that preening may not repair, and NoSpace when an I/O error came from a full
        datastore (corrections 22; the caller tells by ``device``'s state, the adapter by the check's output).
        """
        ...

    def renew_uuid(self, device: Device, fstype: str, uuid: UUID) -> None:
        """Give a checked, unmounted clone its own file-system UUID and label, read back afterwards (corrections 34)."""
        ...

    def size(self, device: Device, fstype: str, point: str) -> int:
        """Return the bytes that the file system mounted at ``point`` from the device spans; TruthUnknown if it does not say.

        WrongDisk if something else is mounted there.
        """
        ...

    def grow(self, device: Device, fstype: str, point: str) -> None:
        """Let the mounted file system span its device, as far as its kind can; spanning it already is success.

        Nobody who uses it notices, and killed at any moment it is whole. Raises NotPermitted, NoSpace, StillMounted while it
        grows already, TruthUnknown; it has its old size then, or one between.
        """
        ...


@dataclass(frozen=True, slots=True)
class MountTarget:
    """One place where a device is mounted: in which process's namespace, at which path, of which sub-directory."""

    pid: int
    path: str
    root: str


class Mounts(Protocol):
    """File systems under the mount root. ``/run/vmdkvol/mnt/<volume>`` is the root of one, ``.../data`` what Docker gets."""

    def mount(self, device: Device, volume: VolumeId, fstype: str, options: tuple[str, ...], *, read_only: bool) -> None:
        """Mount nosuid,nodev at the volume's root; verified by major:minor afterwards. Mounted right already: done.

        Another device mounted there raises WrongDisk. Device full or damaged: NoSpace, CheckFailed.
        """
        ...

    def unmount(self, volume: VolumeId) -> None:
        """syncfs, then umount, never lazy; afterwards nothing is mounted there and the mount point is removed.

        Not mounted is a success. Busy raises StillMounted, and it stays mounted.
        """
        ...

    def mounted(self) -> Mapping[VolumeId, tuple[int, int]]:
        """Return what is mounted under the mount root in this namespace, with the device's (major, minor)."""
        ...

    def users(self, device: Device) -> Collection[MountTarget]:
        """Return every mount of the device in any process's namespace that can be seen, our own root excluded."""
        ...

    def prepare(self, volume: VolumeId, layout: str, uid: int, gid: int, mode: int) -> None:
        """Make the sub-directory (or use the root, for layout ``root``), set owner and mode, flush. Once, at format."""
        ...

    def path(self, volume: VolumeId, layout: str) -> str:
        """Return the path that Docker gets, mounted or not; never empty."""
        ...

    def verify(self, device: Device, volume: VolumeId, layout: str, *, read_only: bool = False) -> str:
        """Return ``path`` after proof that it lies on the device: opened O_DIRECTORY|O_NOFOLLOW, st_dev compared.

        A mount that somebody made read-only or writable by hand is as it should be afterwards. Raises WrongDisk if
        something else lies there, TruthUnknown if nothing is mounted (corrections 8), or NoSpace or TruthUnknown if the file
        system takes no writes any more (F29).
        """
        ...


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the agent noted about one volume. All of it is a hint; the kernel decides.

    ``ids``: Docker's mount IDs. ``generation``: of the last Attachment. ``linger_until`` and ``released_at`` are
    monotonic seconds of this boot (None: no linger running). ``attachment`` is the last one told by the service.
    """

    volume: VolumeId
    ids: frozenset[str] = frozenset()
    attachment: Attachment | None = None
    linger_until: float | None = None


class Notebook(Protocol):
    """The agent's own records: holders of this boot, and the durable catalogue of names. Durable on return."""

    def hold(self, volume: VolumeId, mount_id: str) -> None:
        """Add a mount ID; a known one is fine. Ends a linger."""
        ...

    def drop(self, volume: VolumeId, mount_id: str) -> None:
        """Remove a mount ID; an unknown one is fine."""
        ...

    def note(self, volume: VolumeId, *, attachment: Attachment | None, linger_until: float | None) -> None:
        """Remember what is attached and until when it lingers."""
        ...

    def close(self, volume: VolumeId) -> None:
        """Forget ids, attachment and linger of a volume that is no longer attached here."""
        ...

    def holdings(self) -> Mapping[VolumeId, Holdings]:
        """Return all of this boot; records of an earlier boot id are dropped when the notebook opens (corrections 5, F)."""
        ...

    def remember(self, *infos: VolumeInfo) -> None:
        """Put volumes into the catalogue, in one write, replacing what was there under the same ids; a stale id under one of
        the names goes."""
        ...

    def forget(self, *volumes: VolumeId) -> None:
        """Take volumes out of the catalogue, in one write."""
        ...

    def known(self, name: str) -> VolumeInfo | None:
        """Return the catalogue's volume of exactly this name."""
        ...

    def catalogue(self) -> Collection[VolumeInfo]:
        """Return the whole catalogue, in the order of names."""
        ...

    def change(self) -> int | None:
        """Return the service's change number up to which the catalogue is complete, or None: list everything."""
        ...

    def set_change(self, change: int | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate counts, UTC seconds since 1970."""

    not_before: float
    not_after: float

    @property
    def renew_at(self) -> float:
        """When a third of the time is left: that is for trying."""
        return self.not_after - (self.not_after - self.not_before) / 3


class Credentials(Protocol):
    """This machine's key and certificate. One user at a time: whoever changes them is ``alone``."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold them; Busy if another process of this machine does."""
        ...

    def exist(self) -> bool:
        """Tell whether there are any, whole or not."""
        ...

    def validity(self) -> Validity | None:
        """Return how long the certificate counts; None if there is none. MetadataDamaged if that cannot be read."""
        ...

    def request(self) -> str:
        """Return a signing request (PEM) for a new key; the same one until it is installed, should an answer be lost."""
        ...

    def install(self, certificate_pem: str, ca_pem: str) -> None:
        """Put the request's key, its certificate and the authority in the place of those that are there, each whole.

        BadFrame, and nothing is changed, if the certificate is not of that key.
        """
        ...


class Log(Protocol):
    """Where a use case says what changed (info), what an administrator should look at (warning), what is wrong (error)."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...
