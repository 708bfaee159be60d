"""What ``docker volume create -o KEY=VALUE`` may say. The only list of options; validated once, at the edge. Pure."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from vmdkvol.errors import InvalidOption, InvalidSize
from vmdkvol.names import DatastoreName, VolumeRef, datastore_name
from vmdkvol.sizes import MAX_SIZE, SECTOR, format_size, parse_size

# vDVS's default (vdvs-facts 4); scripts that rely on it exist.
DEFAULT_SIZE = 100 << 20
# The smallest disk on which mkfs makes the file system with its journal: ext4 measured with e2fsprogs 1.47.0, xfs by
# rule of mkfs.xfs since 5.19 (field case C01).
MINIMUM_SIZE = {"ext4": 2 << 20, "xfs": 300 << 20}
# The Debian package that brings mkfs for a file system; named when the tool is missing.
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}

DISKFORMATS = ("thin", "zeroedthick", "eagerzeroedthick")
ACCESS = ("read-write", "read-only")
ATTACH_AS = ("independent_persistent", "persistent")
LAYOUTS = ("data", "root")
FSTYPES = tuple(MINIMUM_SIZE)
MAX_LABELS = 32

# Each mkfs option that cannot lose data or make a file system that another host of the site cannot check.
_MKFS = {
    "ext4": {
        "-b": r"1024|2048|4096",
        "-i": r"[1-9][0-9]{3,8}",
        "-I": r"128|256|512|1024",
        "-N": r"[1-9][0-9]{0,9}",
        "-m": r"[0-9]|[1-4][0-9]|50",
        "-T": r"small|default|largefile|largefile4|huge|news|big",
    },
    "xfs": {
        "-i": r"(size|maxpct)=[0-9]{1,4}",
        "-d": r"agcount=[1-9][0-9]{0,3}",
        "-n": r"size=(4096|8192|16384|32768|65536)",
        "-s": r"size=(512|4096)",
    },
}
_MOUNT = {
    "ext4": r"data=(ordered|journal)|commit=[1-9][0-9]{0,2}|stripe=[0-9]{1,6}|auto_da_alloc",
    "xfs": r"allocsize=[0-9]{1,7}[km]?|largeio|nolargeio|inode64|logbsize=[0-9]{1,3}k|swalloc",
}
_MOUNT_ANY = r"noatime|relatime|strictatime|nodiratime|lazytime|noexec|sync|dirsync|discard|nodiscard"
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

    @classmethod
    def parse(cls, opts: Mapping[str, Any]) -> CreateOptions:
        """Return the options in Docker's ``Opts``; raise InvalidOption or InvalidSize naming the key and what is allowed."""
        values: dict[str, Any] = {}
        for key, value in opts.items():
            option = OPTIONS.get(key)
            if option is None:
                raise _unknown(key)
            if not isinstance(value, str):
                # JSON null, true or 5 must not become the text "None", "True" or "5" (field case C08).
                raise InvalidOption(f"option {key} has a value that is not a text: {value!r}", remedy=f"write -o {key}=VALUE")
            values[option.field] = option.read(key, value)
        options = cls(**values, given=frozenset(values))
        return _consistent(options)

    def checked(self) -> CreateOptions:
        """Return self after every field passed the same tests as text from a user; for options that came as fields.

        A peer is not trusted to have parsed anything (T12).
        """
        for option in OPTIONS.values():
            value = getattr(self, option.field)
            if value is None or value == option.fallback:
                continue
            if option.field == "size_bytes":
                if not isinstance(value, int) or value % SECTOR or not 0 < value <= MAX_SIZE:
                    raise InvalidSize(f"size {value!r} is not a disk's size")
            elif option.read(option.key, option.show(value)) != value:
                raise InvalidOption(f"option {option.key} has the value {str(value)[:60]!r}")
        _check_mkfs(self)
        for word in self.mount_options:
            check_mount_option(word, self.fstype)
        return self

    def differences(self, existing: CreateOptions, size_bytes: int) -> tuple[str, ...]:
        """Return the options that the user wrote here and that ``existing`` (a volume of ``size_bytes``) has otherwise."""
        found = []
        for option in OPTIONS.values():
            if option.field not in self.given:
                continue
            wanted, has = getattr(self, option.field), getattr(existing, option.field)
            if option.field == "size_bytes":
                has = size_bytes
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
            return ",".join(f"{name}={text}" for name, text in value)
        if self.field == "mount_options":
            return ",".join(value) or "not set"
        if isinstance(value, tuple):
            return " ".join(value) or "not set"
        return str(value)


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(key: str, value: str) -> str:
        if value not in allowed:
            raise InvalidOption(f"option {key}={value[:60]!r} is not allowed", remedy=f"use one of: {', '.join(allowed)}")
        return value

    return read


def _size(key: str, value: str) -> int:
    if "," in value:
        raise InvalidSize(f"size {value[:60]!r} cannot be read", remedy="write one -o for each option")
    return parse_size(value)


def _ref(key: str, value: str) -> VolumeRef:
    return VolumeRef.parse(value)


def _datastore(key: str, value: str) -> DatastoreName:
    return datastore_name(value)


def _owner(key: str, value: str) -> int:
    if not _ID.fullmatch(value) or int(value) > _MAX_ID:
        raise InvalidOption(
            f"option {key}={value[:60]!r} is not a numeric id", remedy=f"write a number from 0 to {_MAX_ID}, such as {key}=999"
        )
    return int(value)


def _mode(key: str, value: str) -> int:
    if not _MODE.fullmatch(value):
        raise InvalidOption(
            f"option mode={value[:60]!r} is not an octal mode", remedy="write 3 or 4 octal digits, such as mode=0750"
        )
    return int(value, 8)


def _words(key: str, value: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise InvalidOption(f"option {key}={value[:60]!r} cannot be read: {error}") from None
    if not words:
        raise InvalidOption(f"option {key} is empty", remedy=f"leave out {key}, or give it a value")
    return words


def _commas(key: str, value: str) -> tuple[str, ...]:
    return tuple(value.split(","))


def _labels(key: str, value: str) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for part in value.split(","):
        name, separator, text = part.partition("=")
        if not separator or not _LABEL_KEY.fullmatch(name) or len(text) > 255 or not (text.isprintable()):
            raise InvalidOption(
                f"option label={part[:60]!r} is not a label", remedy="write -o label=key=value, several as key=value,key=value"
            )
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
    Option("clone-from", "clone_from", _ref, "VOLUME", "none", "Copy an unmounted volume; size and fstype come from it."),
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
)
OPTIONS: dict[str, Option] = {option.key: option for option in _ALL}


def help_text() -> str:
    """Return one line that lists every option; ``-o help`` shows it through Docker's error."""
    return "options: " + ", ".join(OPTIONS)


def _unknown(key: str) -> InvalidOption:
    if key == "help":
        return InvalidOption(help_text(), remedy="each is described in docs/reference/options.md")
    near = difflib.get_close_matches(key.lower(), OPTIONS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return InvalidOption(f"unknown option {key[:60]!r}", remedy=f"{hint}known: {', '.join(OPTIONS)}")


def _consistent(options: CreateOptions) -> CreateOptions:
    if options.clone_from is not None:
        for field, key in (("size_bytes", "size"), ("fstype", "fstype"), ("mkfs_options", "mkfs-options")):
            if field in options.given:
                raise InvalidOption(
                    f"option {key} cannot be given with clone-from", remedy=f"leave out {key}: a clone has its source's"
                )
        values = {field.name: getattr(options, field.name) for field in fields(options)}
        options = CreateOptions(**{**values, "size_bytes": None})
    elif options.size_bytes is not None and options.size_bytes < MINIMUM_SIZE[options.fstype]:
        smallest = format_size(MINIMUM_SIZE[options.fstype])
        raise InvalidSize(
            f"size {format_size(options.size_bytes)} is too small for {options.fstype}",
            remedy=f"the smallest is size={smallest}",
        )
    _check_mkfs(options)
    for word in options.mount_options:
        check_mount_option(word, options.fstype)
    return options


def _check_mkfs(options: CreateOptions) -> None:
    allowed = _MKFS[options.fstype]
    words = list(options.mkfs_options)
    for flag, value in zip(words[::2], words[1::2] + [""], strict=False):
        if flag not in allowed or not re.fullmatch(allowed[flag], value):
            known = ", ".join(f"{key} {pattern}" for key, pattern in allowed.items())
            raise InvalidOption(
                f"mkfs option {f'{flag} {value}'.strip()[:60]!r} is not allowed for {options.fstype}",
                remedy=f"allowed: {known}",
            )


def check_mount_option(word: str, fstype: str) -> None:
    """Raise InvalidOption unless ``word`` may be used to mount ``fstype``."""
    if re.fullmatch(f"{_MOUNT_ANY}|{_MOUNT[fstype]}", word) is None:
        raise InvalidOption(
            f"mount option {word[:60]!r} is not allowed for {fstype}",
            remedy=f"allowed: {_MOUNT_ANY.replace('|', ', ')}, {_MOUNT[fstype]}",
        )
