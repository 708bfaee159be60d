"""The one taxonomy of errors: what went wrong, what the reader can do, a code that never changes.

A class exists for each reaction of a caller, not for each cause. The code on the wire and in the docs is the
class name in kebab-case. A text is one line and names the object and the cause; the remedy follows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from vmdkvol.visible import escaped

Field = str | int | bool | None

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
# N22: an error stays within 300 characters, whatever a guest sent as a name.
MAX_LINE = 300
# So that a remedy and the code still fit behind the longest text.
MAX_TEXT = 220


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Return ``text`` with everything escaped that cannot be seen, cut to ``limit`` characters.

    Docker prints it as it is: a control character or a change of direction in it would forge lines in a terminal or a log.
    """
    # Cut first: a megabyte of text is not escaped for the sake of its first line.
    clean = escaped(text[:limit])
    return clean if len(clean) <= limit and len(text) <= limit else clean[: limit - 1] + "…"


def quoted(value: object, limit: int = 60) -> str:
    """Return ``value`` in quotes and escaped, as foreign text stands in a message; the cause after it must still fit."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class VolumeError(Exception):
    """Anything that the product refuses or cannot do. ``str()`` is one line of at most 300 characters: cause; remedy [code]."""

    code: ClassVar[str] = "volume-error"
    exit_code: ClassVar[int] = 1
    remedy: str = ""
    explanation: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.code = _WORDS.sub("-", cls.__name__).lower()
        BY_CODE[cls.code] = cls

    def __init__(self, text: str, /, *, remedy: str | None = None, **fields: Field) -> None:
        super().__init__(text)
        self.text = one_line(text, MAX_TEXT)
        if remedy is not None:
            self.remedy = one_line(remedy)
        self.fields: dict[str, Field] = fields

    def __str__(self) -> str:
        room = MAX_LINE - len(f"{self.text};  [{self.code}]")
        remedy = f"; {one_line(self.remedy, room)}" if self.remedy else ""
        return f"{self.text}{remedy} [{self.code}]"


BY_CODE: dict[str, type[VolumeError]] = {}


def from_code(code: str, text: str, fields: Mapping[str, Field], remedy: str = "") -> VolumeError:
    """Return the error that the other side raised; an unknown code (a newer peer's) becomes ``Internal``."""
    kind = BY_CODE.get(code)
    if kind is None:
        error: VolumeError = Internal(f"code {quoted(code, 40)} of a newer version: {text}", remedy=remedy)
    else:
        error = kind(text, remedy=remedy or None)
    # Not as keywords: the names come from a peer, and one may be called "remedy".
    error.fields = dict(fields)
    return error


class Internal(VolumeError):
    """A bug of ours. Nobody raises it on purpose but the last handler of a request or a thread."""

    remedy = "this is a bug: please report it with the log lines of this request"
    explanation = "The product met a case it does not know. The request was not carried out further; data is kept."


# --- the request itself is wrong -------------------------------------------------------------------------------


class BadRequest(VolumeError):
    """What was asked can never work as it was written."""

    exit_code = 2


class InvalidName(BadRequest):
    """The text is not a volume or datastore name."""

    remedy = "use 1 to 100 printable characters in Unicode NFC, without / and \\"
    explanation = (
        "A volume name has 1 to 100 printable characters (Unicode in NFC), no '/', no '\\', no control characters, "
        "and is not '.' or '..'. An '@' separates the datastore: name@datastore."
    )


class InvalidOption(BadRequest):
    """A ``-o`` option is unknown, or its value is not allowed."""

    remedy = "see `docker volume create -d vsphere -o help x` for the options"
    explanation = "An option of `docker volume create -o` is unknown or has a value that is not allowed; nothing was made."


class InvalidSize(BadRequest):
    """The size cannot be read, or is out of bounds for the file system or the datastore."""

    remedy = "write a number with a unit, such as size=20gb (kb, mb, gb, tb; 1 gb = 1024 mb)"
    explanation = "A size is a number with a binary unit: 500mb, 20gb, 1.5tb. Each file system has a smallest size."


class EmptyRequest(BadRequest):
    """The request has no body or no volume name; dockerd repeats a broken call like this (docker-facts 2.4)."""

    remedy = "run the command again"
    explanation = "Docker repeats a request whose connection broke with an empty body. Nothing was done for the empty one."


class MissingTool(BadRequest):
    """A program that the request needs is not installed on this Docker host."""

    remedy = "install the package that is named, on this Docker host"
    explanation = "A program (mkfs, openssl) or a file system of the kernel is not on this Docker host. The message names it."


# --- the object is not there -----------------------------------------------------------------------------------


class NotFound(VolumeError):
    """Positively absent: the side that owns the truth said so."""

    exit_code = 4


class VolumeNotFound(NotFound):
    """No volume has exactly this name in the caller's vmgroup."""

    remedy = "see `docker volume ls` for the names"
    explanation = "No volume of your vmgroup has exactly this name. A volume has one name, the one it was created with."


class DatastoreNotFound(NotFound):
    """No datastore has this name, or the caller may not use it."""

    remedy = "name a datastore that is there, as in -o datastore=NAME"
    explanation = "The datastore does not exist or may not be used. The message lists the known ones."


class PolicyNotFound(NotFound):
    """No storage policy has this name."""

    remedy = "name a storage policy that is there"
    explanation = (
        "No storage policy has this name, or the vmgroup may not use it, or it is none that a disk can have; nothing was done. "
        "The message lists those that are known. They are vCenter's, a single ESXi host has none; where disks are files, an "
        "administrator makes them (`vmdkvol policy create`)."
    )


# --- somebody else has it --------------------------------------------------------------------------------------


class Conflict(VolumeError):
    """The object is there, but its present use forbids the request."""

    exit_code = 5


class NameConflict(Conflict):
    """A volume of this name exists with other options, or on another datastore."""

    remedy = "use another name, or leave out the options that differ"
    explanation = "A volume of this name exists and differs from what was asked. It was not touched."


class VolumeInUse(Conflict):
    """The volume is mounted or attached; the message names the holder."""

    remedy = "stop the containers that use it there first"
    explanation = (
        "A disk can be used by one Docker host at a time, and a mounted volume cannot be removed or cloned. "
        "The message names the holder. Swarm services need update-order stop-first."
    )


class StillMounted(Conflict):
    """The block device is held by a mount, in this or another mount namespace."""

    remedy = "stop what has it mounted (another mount namespace may hold it); it is tried again by itself"
    explanation = "The kernel says that the block device is still in exclusive use, so it is not detached."


class SnapshotPresent(Conflict):
    """The disk is part of a snapshot chain of a virtual machine."""

    remedy = "remove the virtual machine's snapshots first"
    explanation = "A snapshot of the virtual machine contains this disk; detaching it would lose the newer data."


class StaleRequest(Conflict):
    """The request belongs to an older generation or revision of its object."""

    remedy = "run the command again"
    explanation = "Something else changed the volume since this request was made. The older request was refused."


# --- not allowed -----------------------------------------------------------------------------------------------


class Denied(VolumeError):
    """The caller may not do this."""

    exit_code = 7


class NotPermitted(Denied):
    """The caller, its token, or the account that a program runs under has no right to do this."""

    remedy = "ask an administrator for the right"
    explanation = "Your vmgroup, token or account has no right to do this, or a datastore or file cannot be written."


class QuotaExceeded(Denied):
    """The vmgroup's quota does not allow it."""

    remedy = "remove volumes, or ask an administrator for more"
    explanation = "The vmgroup's total or per-volume limit would be exceeded."


class NotEnrolled(Denied):
    """The calling machine has no certificate, or none that counts for the service."""

    remedy = "run `vmdkvol vm enroll NAME` at the service, then `vmdkvol-agent enroll TOKEN` here"
    explanation = "This machine has no certificate that counts for the service: none, revoked, over, or newer than its backup."


class IdentityConflict(Denied):
    """Two machines speak with the identity of one: the second is refused while the first is there."""

    remedy = "enrol one of the two again: a copied machine must not keep the other's key"
    explanation = "Two running machines use one certificate: one is a copy. The service's log names both."


class UnknownCaller(Denied):
    """The channel gives no proof of who calls, or the proof is not of an allowed user."""

    remedy = "call as root, on the socket of this machine"
    explanation = "The caller did not prove who it is (at a socket: root), or what answers is not this site's service."


# --- nothing left ----------------------------------------------------------------------------------------------


class Exhausted(VolumeError):
    """A resource is used up."""


class NoSpace(Exhausted):
    """The datastore, or another file system that the message names, has no room for this."""

    remedy = "free space on the datastore, or use another one"
    explanation = "The datastore, or the file system that the message names, is full. Nothing was made; existing data is kept."


class NoFreeSlot(Exhausted):
    """The virtual machine has no free disk slot."""

    remedy = "unmount a volume on this host first"
    explanation = "The virtual machine has no free disk slot (4 controllers, 15 disks each)."


# --- try again -------------------------------------------------------------------------------------------------


class Unavailable(VolumeError):
    """Nothing is known to be wrong with the request: repeat it later."""

    exit_code = 6
    remedy = "try again"


class ServiceUnreachable(Unavailable):
    """No answer from the service: whether the request was carried out is unknown."""

    remedy = "check that the service runs (`vmdkvol doctor`), then try again"
    explanation = "The agent cannot reach the service. A repeated request is safe: it is carried out once."


class HypervisorUnreachable(Unavailable):
    """The service cannot reach the hypervisor."""

    explanation = "The service cannot reach the hypervisor."


class StillWorking(Unavailable):
    """The time limit came before the end; the work goes on, and the same request joins it."""

    remedy = "it goes on in the background; run the same command again to wait for it"
    explanation = (
        "The time limit came before the end. It goes on in the service, the same command joins it. On vSphere it outlives "
        "a restart of the service; on VMDK files in directories it is undone then, and the same command begins it anew. "
        "The message says how far it is; `vmdkvol volume wait NAME` shows it as it goes."
    )


class Busy(Unavailable):
    """Another piece of work on the same object has not ended yet, or there is no room for one more."""

    explanation = "Another operation on this volume, or connection of this machine, has not ended, or there are too many."


class TruthUnknown(Unavailable):
    """It could not be read, so it is neither there nor absent; nothing was changed."""

    explanation = "A fact that the decision needs could not be read, so nothing was changed."


class OutcomeUnknown(Unavailable):
    """A change was sent and its result is not known; it is settled by reading, never by sending it again."""

    explanation = "A change was sent and its result is not known yet; the service settles it by looking."


class UnknownTask(Unavailable):
    """The hypervisor does not know this task any more: settle by reading."""

    explanation = "The hypervisor has forgotten the task; the service settles it by looking."


# --- the two sides do not understand each other ----------------------------------------------------------------


class ProtocolError(VolumeError):
    """The other side broke the protocol."""

    exit_code = 6


class BadFrame(ProtocolError):
    """Bytes that are not a message: too long, not JSON, unknown keys, wrong types."""

    remedy = "if agent and service differ in version, upgrade the older one; else please report it"
    explanation = "The bytes on the channel are not a message of this protocol; the connection was closed."


class ProtocolVersion(ProtocolError):
    """No common protocol version."""

    remedy = "upgrade the older side"
    explanation = "Agent and service have no protocol version in common. The message names both ranges."


# --- data is at risk: nothing is touched -----------------------------------------------------------------------


class AtRisk(VolumeError):
    """Going on could lose data: everything is kept as it is until a person decides."""

    remedy = "an administrator must look; nothing was changed"


class WrongDisk(AtRisk):
    """The device that was found is not the disk of this volume."""

    explanation = "The device found is not the disk of this volume (identity or size differs). It was not touched."


class ForeignContent(AtRisk):
    """The disk holds something that this product did not put there."""

    explanation = "The disk holds a signature that this product did not write, so it is neither formatted nor mounted."


class CheckFailed(AtRisk):
    """The file system has damage that a preening check does not repair."""

    explanation = "The file system's check found damage it may not repair by itself. The disk is kept; repair by hand."


class MetadataDamaged(AtRisk):
    """A descriptor, extent, sidecar, database or the site's authority cannot be read as what it should be."""

    explanation = "A descriptor, extent, sidecar, database or authority is damaged. The data is kept; the message says where."


class VolumeLost(AtRisk):
    """The record exists, the disk was not found."""

    explanation = "The volume is recorded, but its disk was not found on the datastore."
