"""VMDK descriptors: the small text file that says what a disk is and where its bytes lie. Pure: bytes in, values out.

We write ``createType="vmfs"`` with one extent ``RW n VMFS "x-flat.vmdk"``. qemu-img 7.2 and libvmdk read it, and the
``monolithicFlat`` form with ``FLAT ... 0``, as the same bytes (tried both ways); ESXi itself writes this one, so that the
two files copied to a VMFS datastore are a disk there. The keys are those of VMware's "Virtual Disk Format 5.0".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID

from vmdkvol.errors import MetadataDamaged, SnapshotPresent
from vmdkvol.sizes import SECTOR
from vmdkvol.volume import DiskUuid

# A descriptor has some hundred bytes; one that is larger is another file, and is not read into memory.
MAX_BYTES = 64 << 10
NO_PARENT = "ffffffff"
_NOTE = "ddb.vmdkvol."
_NOTE_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
# In a value: no quote, no "=", no control character, nothing outside ASCII. All the rest is percent-encoded.
_PLAIN = " !$&'()*+,/:;?@[]{|}^`"
_FIRST_LINE = re.compile(r"#\s*Disk\s+Descriptor\s?File", re.IGNORECASE)
_PAIR = re.compile(r"([A-Za-z0-9_.#-]+)\s*=\s*(?:\"([^\"]*)\"|([^\"\s]*))")
_ACCESS = re.compile(r"(RW|RDONLY|NOACCESS)\s")
_EXTENT = re.compile(r"RW\s+([0-9]{1,15})\s+([A-Za-z0-9]+)\s+\"([^\"]+)\"(?:\s+([0-9]{1,15}))?")
# Types that are one plain file of the disk's bytes. Others are sparse, in pieces, or raw devices.
_FLAT_TYPES = frozenset(
    {"vmfs", "vmfspreallocated", "vmfseagerzeroedthick", "vmfsthin", "monolithicflat", "twogbmaxextentflat"}
)
_FLAT_EXTENTS = frozenset({"VMFS", "FLAT"})
_MAGICS = {b"KDMV": "a sparse disk (hosted)", b"COWD": "a sparse disk (ESX)", b"\xbe\xba\xfe\xca": "an SE sparse disk"}
# Keys that would change the meaning if two lines differed.
_ONCE = frozenset({"version", "encoding", "parentcid", "createtype", "ddb.uuid", "ddb.thinprovisioned"})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a descriptor says. ``extent`` is the file beside it; the disk's first byte is at ``offset_bytes`` of it.

    ``uuid`` is None if the tool that wrote it gave none. ``thin`` says that unused blocks may be given back.
    """

    size_bytes: int
    extent: str
    uuid: DiskUuid | None
    thin: bool = False
    note: Mapping[str, str] = field(default_factory=dict)
    offset_bytes: int = 0


# --- writing ---------------------------------------------------------------------------------------------------


def extent_name(descriptor: str) -> str:
    """Return the name of the extent that we put beside ``x.vmdk``: ``x-flat.vmdk``, as ESXi does."""
    return f"{descriptor.removesuffix('.vmdk')}-flat.vmdk"


def write(descriptor: Descriptor) -> bytes:
    """Return the descriptor's text. ``read`` gives back an equal value.

    The UUID is the last line: a text that was cut anywhere has none or an open quote, and is refused.
    """
    assert descriptor.uuid is not None, "a disk that we make has an identity"
    cylinders, heads, sectors = _geometry(descriptor.size_bytes // SECTOR)
    database = {
        "ddb.adapterType": "lsilogic",  # what ESXi writes for a disk on a PVSCSI controller, too
        "ddb.geometry.cylinders": str(cylinders),
        "ddb.geometry.heads": str(heads),
        "ddb.geometry.sectors": str(sectors),
        "ddb.longContentID": descriptor.uuid.hex,
        **({"ddb.thinProvisioned": "1"} if descriptor.thin else {}),
        "ddb.virtualHWVersion": "13",
        **{
            f"{_NOTE}{_note_key(key)}": quote(value, safe=_PLAIN, errors="surrogatepass")
            for key, value in descriptor.note.items()
        },
        "ddb.uuid": _vmware_form(descriptor.uuid),
    }
    offset = f" {descriptor.offset_bytes // SECTOR}" if descriptor.offset_bytes else ""
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        'encoding="UTF-8"',
        f"CID={_content_id(descriptor.uuid)}",
        f"parentCID={NO_PARENT}",
        'createType="vmfs"',
        "",
        "# Extent description",
        f'RW {descriptor.size_bytes // SECTOR} {"FLAT" if offset else "VMFS"} "{descriptor.extent}"{offset}',
        "",
        "# The Disk Data Base",
        "#DDB",
        "",
        *(f'{key} = "{value}"' for key, value in database.items()),
        "",
    ]
    text = "\n".join(lines).encode()
    if len(text) > MAX_BYTES:
        raise MetadataDamaged(f"the descriptor of {descriptor.extent} would have {len(text)} bytes; {MAX_BYTES} are the limit")
    return text


def resized(data: bytes, name: str, size_bytes: int) -> bytes:
    """Return the descriptor ``name`` for a disk of another size, else as it is, whoever wrote it; raises as ``read``."""
    before = read(data, name)
    cylinders, heads, per_track = _geometry(size_bytes // SECTOR)
    text, found = re.subn(rb"(?m)^([ \t]*RW[ \t]+)[0-9]+", rb"\g<1>%d" % (size_bytes // SECTOR), data)
    for key, value in (("cylinders", cylinders), ("heads", heads), ("sectors", per_track)):
        text = re.sub(rb'(?m)^(ddb\.geometry\.%s[ \t]*=[ \t]*")[0-9]+"' % key.encode(), rb'\g<1>%d"' % value, text)
    if found != 1 or read(text, name) != replace(before, size_bytes=size_bytes):
        raise MetadataDamaged(f"{name} cannot be written for another size")
    return text


def noted(data: bytes, name: str, key: str, value: str | None) -> bytes:
    """Return the descriptor ``name`` with another value of its note, None: without, else as it is; raises as ``read``."""
    before = read(data, name)
    note = {each: text for each, text in before.note.items() if each != key} | ({} if value is None else {key: value})
    text = re.sub(rb"(?m)^[ \t]*%s[ \t]*=.*\n?" % re.escape(f"{_NOTE}{_note_key(key)}".encode()), b"", data)
    if value is not None:
        # Before all else that it says: its last line is its identity, as ``write`` has it.
        first, rest = text.split(b"\n", 1)
        said = quote(value, safe=_PLAIN, errors="surrogatepass")
        text = b"%s\n%s\n%s" % (first, f'{_NOTE}{key} = "{said}"'.encode(), rest)
    if len(text) > MAX_BYTES or read(text, name) != replace(before, note=note):
        raise MetadataDamaged(f"{name} cannot be written with another note")
    return text


def _geometry(sectors: int) -> tuple[int, int, int]:
    """Return cylinders, heads, sectors by VMware's rule; only old guests on BIOS look at them."""
    gib = sectors * SECTOR / (1 << 30)
    heads, per_track = (64, 32) if gib < 1 else (128, 32) if gib < 2 else (255, 63)
    return min(65535, max(1, sectors // (heads * per_track))), heads, per_track


def _content_id(uuid: UUID) -> str:
    """Return 8 hex digits, the end of longContentID; never the two values that mean "no parent" and "new"."""
    digits = uuid.hex[-8:]
    return digits if digits < "fffffffe" else "fffffffd"


def _note_key(key: str) -> str:
    if _NOTE_KEY.fullmatch(key) is None:
        raise ValueError(f"{key!r} cannot be a key of a descriptor's note")
    return key


def _vmware_form(uuid: UUID) -> str:
    """Return ``60 00 c2 9a 11 22 33 44-55 66 77 88 99 aa bb cc``."""
    pairs = uuid.bytes.hex(" ")
    return f"{pairs[:23]}-{pairs[24:]}"


# --- reading ---------------------------------------------------------------------------------------------------


def read(data: bytes, name: str) -> Descriptor:
    """Return what the descriptor ``name`` says.

    Raises MetadataDamaged with the reason if it is broken or of a type that cannot be attached, SnapshotPresent if it is
    the child of another disk. Whether the extent is there and long enough is for ``check_extent``.
    """
    pairs: dict[str, str] = {}
    extents: list[str] = []
    lines = _lines(data, name)
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        if _ACCESS.match(line):
            extents.append(line)
            continue
        pair = _PAIR.fullmatch(line)
        if pair is None:
            raise MetadataDamaged(f"{name}: line {number} cannot be read: {line[:60]!r}")
        key = pair[1] if pair[1].startswith(_NOTE) else pair[1].lower()
        value = pair[2] if pair[2] is not None else pair[3]
        if key in _ONCE and pairs.get(key, value) != value:
            raise MetadataDamaged(f"{name}: line {number} gives {pair[1]} a second value")
        pairs[key] = value
    _check_header(pairs, name)
    size_bytes, extent, offset_bytes = _extent(extents, name)
    thin = pairs.get("ddb.thinprovisioned") == "1" or pairs["createtype"].lower() == "vmfsthin"
    return Descriptor(size_bytes, extent, _uuid(pairs.get("ddb.uuid"), name), thin, _note(pairs, name), offset_bytes)


def check_extent(descriptor: Descriptor, file_bytes: int, name: str) -> None:
    """Raise MetadataDamaged unless a file of so many bytes has all of the disk; qemu-img does not check that (C25)."""
    needed = descriptor.offset_bytes + descriptor.size_bytes
    if file_bytes < needed:
        raise MetadataDamaged(f"{name}: extent {descriptor.extent} has {file_bytes} bytes, the descriptor says {needed}")


def _lines(data: bytes, name: str) -> list[str]:
    for magic, what in _MAGICS.items():
        if data.startswith(magic):
            raise MetadataDamaged(f"{name} is {what}, not a descriptor of a flat one; it cannot be attached")
    if len(data) > MAX_BYTES:
        raise MetadataDamaged(f"{name} has more than {MAX_BYTES} bytes: not a descriptor")
    # qemu-img convert fills the last sector with zeros.
    data = data.rstrip(b"\0")
    if not data.strip():
        raise MetadataDamaged(f"{name} is empty")
    if b"\0" in data:
        raise MetadataDamaged(f"{name} has NUL bytes: not a descriptor, or damaged by a crash")
    try:
        # Workstation on Windows declares its code page; in ASCII, all that we look at, it is the same.
        text = data.decode("cp1252" if re.search(rb'(?i)encoding\s*=\s*"windows-1252"', data) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise MetadataDamaged(f"{name} is not text: byte {error.start} is not UTF-8") from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    if _FIRST_LINE.match(lines[0]) is None:
        raise MetadataDamaged(f"{name} does not begin with '# Disk DescriptorFile'")
    return lines


def _check_header(pairs: Mapping[str, str], name: str) -> None:
    version, kind = pairs.get("version"), pairs.get("createtype")
    if version not in ("1", "2", "3"):
        raise MetadataDamaged(f"{name} has {f'version {version!r}' if version is not None else 'no version'}; 1 to 3 are known")
    parent = pairs.get("parentcid", NO_PARENT).lower()
    if parent != NO_PARENT or pairs.get("parentfilenamehint"):
        raise SnapshotPresent(f"{name} is the child of another disk (parentCID {parent}): part of a snapshot chain")
    if kind is None:
        raise MetadataDamaged(f"{name} has no createType")
    if kind.lower() not in _FLAT_TYPES:
        raise MetadataDamaged(f"{name} is of type {kind!r}; only flat disks in one piece can be attached")


def _extent(lines: list[str], name: str) -> tuple[int, str, int]:
    """Return size in bytes, file name and offset in bytes of the only extent."""
    if len(lines) != 1:
        raise MetadataDamaged(f"{name} has {len(lines)} extents; only flat disks in one piece can be attached")
    match = _EXTENT.fullmatch(lines[0])
    if match is None:
        raise MetadataDamaged(f"{name}: the extent line cannot be read: {lines[0][:80]!r}")
    sectors, kind, file_name, offset = int(match[1]), match[2].upper(), match[3], int(match[4] or 0)
    if kind not in _FLAT_EXTENTS:
        raise MetadataDamaged(f"{name}: an extent of type {kind} cannot be attached; only VMFS and FLAT")
    if sectors == 0:
        raise MetadataDamaged(f"{name}: the extent has 0 sectors")
    if "/" in file_name or "\\" in file_name or file_name in (".", "..") or not file_name.isprintable():
        raise MetadataDamaged(f"{name}: extent {file_name[:80]!r} lies outside of the descriptor's directory")
    if name == file_name or name.endswith((f"/{file_name}", f" {file_name}")):
        raise MetadataDamaged(f"{name} names itself as its extent")
    return sectors * SECTOR, file_name, offset * SECTOR


def _uuid(value: str | None, name: str) -> DiskUuid | None:
    if value is None:
        return None
    digits = re.sub(r"[\s-]", "", value)
    if re.fullmatch(r"[0-9A-Fa-f]{32}", digits) is None:
        raise MetadataDamaged(f"{name}: ddb.uuid {value[:60]!r} is not a UUID")
    return DiskUuid(UUID(hex=digits))


def _note(pairs: Mapping[str, str], name: str) -> dict[str, str]:
    note = {}
    for key, value in pairs.items():
        if key.startswith(_NOTE):
            try:
                note[key.removeprefix(_NOTE)] = unquote_to_bytes(value).decode(errors="surrogatepass")
            except UnicodeDecodeError as error:
                raise MetadataDamaged(f"{name}: {key} is not percent-encoded UTF-8") from error
    return note
