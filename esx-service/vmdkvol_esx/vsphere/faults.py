"""What went wrong at the vSphere API, in our words. Pure, and total: every fault, every failed connection has its row.

A fault comes as the names of its class and of those above it, the nearest first: what a newer server says is then
known by what it derives from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from vmdkvol.errors import (
    Busy,
    HypervisorUnreachable,
    Internal,
    InvalidSize,
    MetadataDamaged,
    NameConflict,
    NoFreeSlot,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeLost,
)


class Kind(StrEnum):
    """What a call is: repeating a read does no harm, sending a change twice may."""

    READ = "read"
    CHANGE = "change"


class Where(StrEnum):
    """Who said it: the call was answered with it, or the task that it had started ended with it."""

    CALL = "call"
    TASK = "task"


class Meaning(StrEnum):
    # The server's answer.
    BUSY = "another task works on the object"
    MOVED = "the configuration changed meanwhile"
    BAD_SPEC = "the device is not as was said, or its place is taken"
    HELD = "somebody else holds the disk"
    EXISTS = "the file is there already"
    ABSENT = "the file is not there"
    DAMAGED = "the disk's descriptor cannot be read as one"
    TOO_LARGE = "the datastore takes no file of this size"
    NO_DATASTORE = "the datastore has another name now, or cannot be reached"
    GONE = "the object is not there any more"
    STATE = "the object's state does not allow it now"
    LOGGED_OUT = "the session has ended"
    WRONG_LOGIN = "the account or its password is wrong"
    OUT_OF_REACH = "the host cannot be reached by its vCenter"
    FULL = "the datastore is full"
    FORBIDDEN = "the account lacks a privilege"
    LICENCE = "the host's licence does not allow it"
    NO_SLOT = "the virtual machine takes no further device"
    NO_SUCH_CALL = "the server does not know this call"
    BAD_REQUEST = "the server refuses the request as malformed"
    OTHER = "the server says something that is not known here"
    # No answer of the server's.
    NOT_SENT = "no connection"
    LOST = "the connection broke before the answer"
    CERTIFICATE = "the server's certificate is not to be trusted"
    NOT_UNDERSTOOD = "the answer cannot be read"
    LATE = "no time was left to ask"


_NAMED: Mapping[str, Meaning] = MappingProxyType(
    {
        "TaskInProgress": Meaning.BUSY,
        "VAppTaskInProgress": Meaning.BUSY,
        "ConcurrentAccess": Meaning.MOVED,
        "InvalidDeviceSpec": Meaning.BAD_SPEC,
        "FileLocked": Meaning.HELD,
        "ResourceInUse": Meaning.HELD,
        "FileAlreadyExists": Meaning.EXISTS,
        "FileNotFound": Meaning.ABSENT,
        "InvalidDiskFormat": Meaning.DAMAGED,
        "FileTooLarge": Meaning.TOO_LARGE,
        "InvalidDatastore": Meaning.NO_DATASTORE,
        "ManagedObjectNotFound": Meaning.GONE,
        "InvalidState": Meaning.STATE,
        "InvalidPowerState": Meaning.STATE,
        "NotAuthenticated": Meaning.LOGGED_OUT,
        "InvalidLogin": Meaning.WRONG_LOGIN,
        "HostCommunication": Meaning.OUT_OF_REACH,
        "HostNotConnected": Meaning.OUT_OF_REACH,
        "NetworkDisruptedAndConfigRolledBack": Meaning.OUT_OF_REACH,
        "NoDiskSpace": Meaning.FULL,
        "InsufficientStorageSpace": Meaning.FULL,
        "NoPermission": Meaning.FORBIDDEN,
        "RestrictedVersion": Meaning.LICENCE,
        "TooManyDevices": Meaning.NO_SLOT,
        "MethodNotFound": Meaning.NO_SUCH_CALL,
        "NotSupported": Meaning.NO_SUCH_CALL,
        "NotImplemented": Meaning.NO_SUCH_CALL,
        "InvalidRequest": Meaning.BAD_REQUEST,
        "InvalidArgument": Meaning.BAD_REQUEST,
        "InvalidProperty": Meaning.BAD_REQUEST,
    }
)
# What some servers say in words alone, under a name that says little.
_WORDS = (
    ("failed to lock the file", Meaning.HELD),
    ("failed to add disk", Meaning.HELD),
    ("not allowed in the current state", Meaning.STATE),
)


def meaning_of(lineage: Sequence[str], text: str = "") -> Meaning:
    """Return what a fault means: by its nearest known name, else by its words, else ``OTHER``."""
    for name in lineage:
        if name in _NAMED:
            return _NAMED[name]
    lowered = text.lower()
    return next((meaning for words, meaning in _WORDS if words in lowered), Meaning.OTHER)


# A path of ours has up to 250 characters, a text 220: a meaning and the begin of what the server says must fit behind it.
_MAX_WHAT = 130
# What OpenSSL says of a certificate that neither another authority nor a pin would make right.
_CERTIFICATES = (
    ("has expired", "renew it on the server, and compare the clocks of both machines"),
    ("not yet valid", "compare the clocks of both machines"),
    ("mismatch", "write a name that the certificate has into the settings as the server's, or pin the certificate"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """``error``: what a read, or a change that certainly was not made, is told with; ``remedy`` None is the class's own.

    ``refused``: as the answer to a change it says that nothing was done; ``undone``: as the end of its task too.
    """

    error: type[VolumeError]
    remedy: str | None = None
    refused: bool = True
    undone: bool = True


_BUG = "this is a bug: please report it with the server's version and the log lines of this request"
_ACCOUNT = "check the account's name, and the password where it comes from"

ROWS: Mapping[Meaning, Row] = MappingProxyType(
    {
        Meaning.BUSY: Row(Busy),
        Meaning.MOVED: Row(Busy),
        Meaning.BAD_SPEC: Row(Internal, _BUG),
        Meaning.HELD: Row(VolumeInUse),
        Meaning.EXISTS: Row(NameConflict, "an administrator must look whose file it is; it was not touched"),
        Meaning.ABSENT: Row(VolumeLost),
        Meaning.DAMAGED: Row(MetadataDamaged),
        Meaning.TOO_LARGE: Row(InvalidSize, "use another datastore, or a smaller size"),
        Meaning.NO_DATASTORE: Row(TruthUnknown),
        Meaning.GONE: Row(TruthUnknown, undone=False),
        Meaning.STATE: Row(Busy),
        Meaning.LOGGED_OUT: Row(HypervisorUnreachable, undone=False),
        Meaning.WRONG_LOGIN: Row(HypervisorUnreachable, f"{_ACCOUNT}; it is tried again every 30 s at most"),
        Meaning.OUT_OF_REACH: Row(HypervisorUnreachable, "look at the host in vCenter", refused=False, undone=False),
        Meaning.FULL: Row(NoSpace),
        Meaning.FORBIDDEN: Row(NotPermitted, "give the service's role this privilege, on this object"),
        Meaning.LICENCE: Row(NotPermitted, "the API may only read under this licence: use vCenter or a full licence of ESXi"),
        Meaning.NO_SLOT: Row(NoFreeSlot),
        Meaning.NO_SUCH_CALL: Row(Internal, "use a vSphere version that vmdkvol supports, and report this one"),
        Meaning.BAD_REQUEST: Row(Internal, _BUG),
        Meaning.OTHER: Row(TruthUnknown, refused=False, undone=False),
        Meaning.NOT_SENT: Row(HypervisorUnreachable, "check name, port, network and firewall, and that the server runs"),
        Meaning.LOST: Row(HypervisorUnreachable, "check that the server runs; it is tried again", refused=False, undone=False),
        Meaning.CERTIFICATE: Row(
            HypervisorUnreachable, "compare it with the one on the server's console; if it is genuine, give its CA or pin it"
        ),
        Meaning.NOT_UNDERSTOOD: Row(TruthUnknown, "report it with the server's version", refused=False, undone=False),
        Meaning.LATE: Row(HypervisorUnreachable, "try again"),
    }
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One failure: what it means, and the server's or the kernel's own words, which may be anything."""

    meaning: Meaning
    detail: str
    where: Where = Where.CALL


def certain(kind: Kind, trouble: Trouble) -> bool:
    """Tell whether the trouble leaves no doubt: for a change, that nothing was changed by it."""
    row = ROWS[trouble.meaning]
    return kind is Kind.READ or (row.refused if trouble.where is Where.CALL else row.undone)


def error_of(kind: Kind, trouble: Trouble, what: str) -> VolumeError:
    """Return the error for ``what``, such as "attaching [ds1] db.vmdk on vc1:443": one line, and OutcomeUnknown in doubt."""
    row = ROWS[trouble.meaning]
    cause = f"{shortened(what)}: {trouble.meaning.value}" + (f" ({trouble.detail})" if trouble.detail else "")
    if not certain(kind, trouble):
        return OutcomeUnknown(cause, remedy="it is settled by looking; try again", meaning=trouble.meaning.name)
    return row.error(cause, remedy=_remedy(trouble), meaning=trouble.meaning.name)


def shortened(what: str) -> str:
    """Return it with its middle left out if it is so long that the cause behind it would be cut off."""
    return what if len(what) <= _MAX_WHAT else f"{what[: _MAX_WHAT // 2]}…{what[1 - _MAX_WHAT // 2 :]}"


def _remedy(trouble: Trouble) -> str | None:
    words = _CERTIFICATES if trouble.meaning is Meaning.CERTIFICATE else ()
    return next((remedy for said, remedy in words if said in trouble.detail), ROWS[trouble.meaning].remedy)


class Failed(Exception):
    """A call that ended in trouble; raised where the trouble is seen, and made an error of ours where the call was asked for.

    ``asked``: of a login: the password was sent.
    """

    def __init__(self, trouble: Trouble, *, asked: bool = False) -> None:
        super().__init__(f"{trouble.meaning.value}: {trouble.detail}")
        self.trouble = trouble
        self.asked = asked
