"""What ``docker volume create -o KEY=VALUE`` may say. The only list of options; validated once, at the edge. Pure."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vmdkvol.errors import InvalidOption, InvalidSize, quoted
from vmdkvol.names import DatastoreName, VolumeRef, datastore_name
from vmdkvol.sizes import MAX_SIZE, SECTOR, format_size, parse_size
from vmdkvol.tuning import MINIMUM_SIZE, check_mkfs_options, check_mount_option, check_mount_option_of_clone, smallest

__all__ = ["ALIASES", "MINIMUM_SIZE", "OPTIONS", "PACKAGES", "CreateOptions", "Option", "check_mount_option", "help_text"]

# vDVS's default (vdvs-facts 4); scripts that rely on it exist.
DEFAULT_SIZE = 100 << 20
# The Debian package that brings mkfs for a file system; named when the tool is missing.
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}

DISKFORMATS = ("thin", "zeroedthick", "eagerzeroedthick")
ACCESS = ("read-write", "read-only")
ATTACH_AS = ("independent_persistent", "persistent")
LAYOUTS = ("data", "root")
FSTYPES = tuple(PACKAGES)
MAX_LABELS = 32
MAX_LABEL_TEXT = 255

MAX_POLICY = 80
SHARES = ("low", "normal", "high")
# What vSphere takes as a disk's own number of shares; its "normal" is 1000.
SHARES_NUMBER = range(200, 4001)
# Fewer a second, and the file system's check before a mount takes longer than Docker waits.
IOPS_LIMIT = range(16, 2**31)

_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_ID = re.compile(r"0|[1-9][0-9]{0,9}")
# chown(2) reads 2^32-1 as "leave it".
_MAX_ID = 2**32 - 2
_MODE = re.compile(r"[0-7]{3,4}")


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """The options of one volume, all defaults filled in. ``given`` names the fields that the user wrote.

    ``size_bytes`` is None only together with ``clone_from``: a clone has its source's size and file system.
    """

    size_bytes: int | None = DEFAULT_SIZE
    diskformat: str = "thin"
    attach_as: str = "independent_persistent"
    access: str = "read-write"
    fstype: str = "ext4"
    clone_from: VolumeRef | None = None
    datastore: DatastoreName | None = None
    mkfs_options: tuple[str, ...] = ()
    mount_options: tuple[str, ...] = ()
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    layout: str = "data"
    labels: tuple[tuple[str, str], ...] = ()
    given: frozenset[str] = frozenset()
    # Not written while they are not set: what has none of them is read by the version before this one.
    policy: str | None = field(default=None, metadata={"since": 2})
    iops_limit: int | None = field(default=None, metadata={"since": 2})
    shares: str = field(default="normal", metadata={"since": 2})

    @classmethod
    def parse(cls, opts: Mapping[str, Any] | None) -> CreateOptions:
        """Return the options in Docker's ``Opts`` (null means none), whatever JSON value that is.

        Raises InvalidOption, InvalidSize or InvalidName, naming the key and what is allowed.
        """
        if opts is None:
            opts = {}
        if not isinstance(opts, Mapping):
            raise InvalidOption(f"Opts is {quoted(opts)}, not a JSON object", remedy="write -o KEY=VALUE")
        values: dict[str, Any] = {}
        for key, value in opts.items():
            option = OPTIONS.get(ALIASES.get(key, key))
            if option is None:
                raise _unknown(key)
            if option.field in values:
                both = " and ".join(sorted({option.key, *(each for each in opts if ALIASES.get(each) == option.key)}))
                raise InvalidOption(f"options {both} are one option, given twice", remedy=f"leave out all but -o {option.key}=")
            if not isinstance(value, str):
                # JSON null, true or 5 must not become the text "None", "True" or "5" (field case C08).
                raise InvalidOption(
                    f"option {key} has a value that is not a text: {quoted(value)}", remedy=f"write -o {key}=VALUE"
                )
            values[option.field] = option.read(key, value)
        options = cls(**values, given=frozenset(values))
        return check_consistent(options)

    def checked(self) -> CreateOptions:
        """Return self after every field passed the same tests as text from a user; for options that came as fields.

        A peer is not trusted to have parsed anything (T12).
        """
        for option in OPTIONS.values():
            value = getattr(self, option.field)
            if value is None or value == option.fallback:
                continue
            if option.field == "size_bytes":
                if value % SECTOR or not 0 < value <= MAX_SIZE:
                    raise InvalidSize(f"size of {value} bytes is not a disk's size")
            elif option.read(option.key, option.show(value)) != value:
                raise InvalidOption(f"option {option.key} has the value {quoted(option.show(value))}")
        if self.size_bytes is None and self.clone_from is None:
            raise InvalidSize("the size is missing, which only a clone may lack")
        strangers = self.given - {option.field for option in OPTIONS.values()}
        if strangers:
            raise InvalidOption(f"unknown option {quoted(min(strangers))}")
        _check_tuning(self)
        return self

    def differences(self, existing: CreateOptions, size_bytes: int) -> tuple[str, ...]:
        """Return the options that the user wrote here and that ``existing`` (a volume of ``size_bytes``) has otherwise.

        No difference is a size that it has had: what made it makes it again after it has grown (field case C15).
        """
        found = []
        for option in OPTIONS.values():
            if option.field not in self.given:
                continue
            wanted, has = getattr(self, option.field), getattr(existing, option.field)
            if option.field == "size_bytes":
                made, has = has, size_bytes
                if made is not None and wanted is not None and made <= wanted <= has:
                    continue
            if wanted != has:
                found.append(f"{option.key} is {option.show(has)}, not {option.show(wanted)}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Option:
    """One ``-o`` key: the field it fills, how its text is read, and its line in help and in the docs."""

    key: str
    field: str
    read: Callable[[str, str], Any]
    values: str
    default: str
    help: str

    @property
    def fallback(self) -> Any:
        """The field's value when the user does not write the option; None for a clone's size counts as one."""
        return getattr(CreateOptions(), self.field)

    def show(self, value: Any) -> str:
        """Return ``value`` as a user would write it."""
        if value is None:
            return "not set"
        if self.field == "size_bytes":
            return format_size(value)
        if self.field == "mode":
            return f"{value:04o}"
        if self.field == "labels":
            return ",".join(f"{name}={text}" for name, text in value) or "not set"
        if self.field == "mount_options":
            return ",".join(value) or "not set"
        if isinstance(value, tuple):
            return " ".join(value) or "not set"
        return str(value)


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(key: str, value: str) -> str:
        if value not in allowed:
            raise InvalidOption(f"option {key}={quoted(value)} is not allowed", remedy=f"use one of: {', '.join(allowed)}")
        return value

    return read


def _size(key: str, value: str) -> int:
    if "," in value:
        raise InvalidSize(f"size {quoted(value)} cannot be read", remedy="write one -o for each option")
    return parse_size(value)


def _ref(key: str, value: str) -> VolumeRef:
    return VolumeRef.parse(value)


def _datastore(key: str, value: str) -> DatastoreName:
    return datastore_name(value)


def _owner(key: str, value: str) -> int:
    if not _ID.fullmatch(value) or int(value) > _MAX_ID:
        raise InvalidOption(
            f"option {key}={quoted(value)} is not a numeric id", remedy=f"write a number from 0 to {_MAX_ID}, such as {key}=999"
        )
    return int(value)


def _policy(key: str, value: str) -> str:
    if not value or len(value) > MAX_POLICY or not value.isprintable():
        raise InvalidOption(
            f"option {key}={quoted(value)} is not a policy's name",
            remedy=f"write its 1 to {MAX_POLICY} characters as vCenter does",
        )
    return value


def _iops(key: str, value: str) -> int:
    if not _ID.fullmatch(value) or int(value) not in IOPS_LIMIT:
        raise InvalidOption(
            f"option {key}={quoted(value)} is not a limit",
            remedy=f"write operations a second, from {IOPS_LIMIT.start} on, or leave it out for no limit",
        )
    return int(value)


def _shares(key: str, value: str) -> str:
    if value not in SHARES and not (_ID.fullmatch(value) and int(value) in SHARES_NUMBER):
        raise InvalidOption(
            f"option {key}={quoted(value)} is not allowed",
            remedy=f"use {', '.join(SHARES)}, or a number from {SHARES_NUMBER.start} to {SHARES_NUMBER.stop - 1}",
        )
    return value


def _mode(key: str, value: str) -> int:
    if not _MODE.fullmatch(value):
        raise InvalidOption(
            f"option mode={quoted(value)} is not an octal mode", remedy="write 3 or 4 octal digits, such as mode=0750"
        )
    return int(value, 8)


def _words(key: str, value: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise InvalidOption(f"option {key}={quoted(value)} cannot be read: {error}") from None
    if not words:
        raise InvalidOption(f"option {key} is empty", remedy=f"leave out {key}, or give it a value")
    return words


def _commas(key: str, value: str) -> tuple[str, ...]:
    return tuple(value.split(","))


def _labels(key: str, value: str) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for part in value.split(","):
        name, separator, text = part.partition("=")
        if not separator or not _LABEL_KEY.fullmatch(name) or len(text) > MAX_LABEL_TEXT or not text.isprintable():
            raise InvalidOption(
                f"option label={quoted(part)} is not a label",
                remedy="write -o label=key=value, several as key=value,key=value; a value has no comma",
            )
        if name in pairs:
            # The last one would win in silence, and Docker itself keeps only one -o label.
            raise InvalidOption(f"option label has {name} twice", remedy=f"write {name} once")
        pairs[name] = text
    if len(pairs) > MAX_LABELS:
        raise InvalidOption(f"{len(pairs)} labels are too many", remedy=f"at most {MAX_LABELS} labels are kept")
    return tuple(sorted(pairs.items()))


_ALL = (
    Option(
        "size",
        "size_bytes",
        _size,
        "NUMBER and kb, mb, gb or tb",
        "100mb",
        "Capacity; 1 gb = 1024 mb; fractions are rounded up to 512 bytes.",
    ),
    Option(
        "diskformat",
        "diskformat",
        _one_of(DISKFORMATS),
        " | ".join(DISKFORMATS),
        "thin",
        "How the disk takes space: as used, at once, at once and written with zeros.",
    ),
    Option("fstype", "fstype", _one_of(FSTYPES), " | ".join(FSTYPES), "ext4", "The file system, made at the first mount."),
    Option(
        "datastore",
        "datastore",
        _datastore,
        "NAME",
        "the vmgroup's default",
        "The datastore of the disk; the same as NAME@DATASTORE.",
    ),
    Option(
        "clone-from",
        "clone_from",
        _ref,
        "VOLUME",
        "none",
        "Copy an unmounted volume; size and fstype come from it, and diskformat unless it is given.",
    ),
    Option(
        "access", "access", _one_of(ACCESS), " | ".join(ACCESS), "read-write", "read-only mounts the file system read-only."
    ),
    Option(
        "attach-as",
        "attach_as",
        _one_of(ATTACH_AS),
        " | ".join(ATTACH_AS),
        "independent_persistent",
        "The disk mode; persistent disks take part in VM snapshots.",
    ),
    Option("uid", "uid", _owner, "NUMBER", "0", "Owner of the volume's root, set once when the file system is made."),
    Option("gid", "gid", _owner, "NUMBER", "0", "Group of the volume's root, set once when the file system is made."),
    Option("mode", "mode", _mode, "OCTAL", "0755", "Mode of the volume's root, set once when the file system is made."),
    Option(
        "layout",
        "layout",
        _one_of(LAYOUTS),
        " | ".join(LAYOUTS),
        "data",
        "data: containers see a sub-directory without lost+found; root: the file system's root.",
    ),
    Option(
        "mkfs-options",
        "mkfs_options",
        _words,
        "see docs/reference/options.md",
        "none",
        "Options for mkfs, from an allow-list, such as -i 8192.",
    ),
    Option(
        "mount-options",
        "mount_options",
        _commas,
        "see docs/reference/options.md",
        "none",
        "Mount options, from an allow-list, such as noatime.",
    ),
    Option("label", "labels", _labels, "KEY=VALUE[,KEY=VALUE]", "none", "Labels kept with the volume and seen on every host."),
    Option("policy", "policy", _policy, "NAME", "the datastore's", "The disk's storage policy; vsan-policy-name is the same."),
    Option(
        "iops-limit", "iops_limit", _iops, "NUMBER", "none", "Operations a second that the disk may do, while it is attached."
    ),
    Option(
        "shares", "shares", _shares, "low | normal | high | NUMBER", "normal", "Its share where disks wait for one another."
    ),
)
OPTIONS: dict[str, Option] = {option.key: option for option in _ALL}
ALIASES: dict[str, str] = {"vsan-policy-name": "policy"}  # Another spelling, as vDVS had it.


def help_text() -> str:
    """Return one line that lists every option; ``-o help`` shows it through Docker's error."""
    return "options: " + ", ".join(OPTIONS)


def _unknown(key: str) -> InvalidOption:
    if key == "help":
        return InvalidOption(help_text(), remedy="each is described in docs/reference/options.md")
    near = difflib.get_close_matches(key.lower(), (*OPTIONS, *ALIASES), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return InvalidOption(f"unknown option {quoted(key)}", remedy=f"{hint}known: {', '.join(OPTIONS)}")


def check_consistent(options: CreateOptions) -> CreateOptions:
    """Return the options, which go together; a clone's are without a size."""
    if options.clone_from is not None:
        if options.policy is not None:
            raise InvalidOption(
                "option policy cannot be given with clone-from", remedy="leave out policy: a copy has its datastore's default"
            )
        for name, key in (("size_bytes", "size"), ("fstype", "fstype"), ("mkfs_options", "mkfs-options")):
            if name in options.given:
                raise InvalidOption(
                    f"option {key} cannot be given with clone-from", remedy=f"leave out {key}: a clone has its source's"
                )
        options = replace(options, size_bytes=None)
    elif options.size_bytes is not None and options.size_bytes < smallest(options.fstype, options.mkfs_options):
        least = format_size(smallest(options.fstype, options.mkfs_options))
        made = " with these mkfs-options" if options.mkfs_options else ""
        raise InvalidSize(
            f"size {format_size(options.size_bytes)} is too small for {options.fstype}{made}",
            remedy=f"the smallest is size={least}",
        )
    _check_tuning(options)
    return options


def _check_tuning(options: CreateOptions) -> None:
    check_mkfs_options(options.mkfs_options, options.fstype)
    for word in options.mount_options:
        if options.clone_from is None:
            check_mount_option(word, options.fstype)
        else:
            check_mount_option_of_clone(word)
