"""VMDK descriptors: what we write is read back, what others write is taken, what is broken is refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import MetadataDamaged, SnapshotPresent
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local import vmdk

DISK = DiskUuid(UUID("6000c29a-1122-3344-5566-778899aabbcc"))
PLAIN = vmdk.Descriptor(8 << 20, "d-flat.vmdk", DISK)
GOOD = """# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=12345678
parentCID=ffffffff
createType="vmfs"

# Extent description
RW 16384 VMFS "d-flat.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.uuid = "60 00 C2 9a 11 22 33 44-55 66 77 88 99 aa bb cc"
ddb.virtualHWVersion = "13"
"""


def read(text: str) -> vmdk.Descriptor:
    return vmdk.read(text.encode(), "[ds] vmdkvol/g/d.vmdk")


def without(start: str) -> str:
    return "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(start))


# --- what we write ---------------------------------------------------------------------------------------------


@given(
    sectors=st.integers(1, 62 << 31),
    uuid=st.uuids(),
    thin=st.booleans(),
    note=st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True), st.text(max_size=100), max_size=5),
)
def test_what_is_written_is_read_back(sectors: int, uuid: UUID, thin: bool, note: dict[str, str]) -> None:
    descriptor = vmdk.Descriptor(sectors * 512, "a b-flat.vmdk", DiskUuid(uuid), thin, note)

    assert vmdk.read(vmdk.write(descriptor), "a b.vmdk") == descriptor


@pytest.mark.parametrize("value", ['a"b', "a=b", "ä ö\u4e2d", "50%", "%22", "line\nddb.uuid = x", "\\", "'", "", " a ", "\0"])
def test_no_note_can_change_the_descriptors_lines(value: str) -> None:
    text = vmdk.write(replace(PLAIN, note={"name": value})).decode("ascii")

    [line] = [line for line in text.splitlines() if "vmdkvol" in line]
    assert line.count('"') == 2
    assert vmdk.read(text.encode(), "d.vmdk").note == {"name": value}


def test_keys_of_a_note_keep_their_case() -> None:
    assert vmdk.read(vmdk.write(replace(PLAIN, note={"createdBy": "x"})), "d.vmdk").note == {"createdBy": "x"}


def test_the_uuid_has_vmwares_form() -> None:
    assert b'ddb.uuid = "60 00 c2 9a 11 22 33 44-55 66 77 88 99 aa bb cc"\n' in vmdk.write(PLAIN)


def test_a_descriptor_that_is_cut_anywhere_never_has_an_identity() -> None:
    whole = vmdk.write(replace(PLAIN, note={"name": "db"}))

    for length in range(len(whole) - 1):
        try:
            assert vmdk.read(whole[:length], "d.vmdk").uuid is None, length
        except (MetadataDamaged, SnapshotPresent):
            continue


def test_a_note_that_is_too_long_is_refused() -> None:
    with pytest.raises(MetadataDamaged, match="limit"):
        vmdk.write(replace(PLAIN, note={"name": "x" * vmdk.MAX_BYTES}))


@pytest.mark.parametrize("tail", ["ffffffff", "fffffffe"])
def test_a_content_id_is_never_one_that_means_no_parent(tail: str) -> None:
    text = vmdk.write(replace(PLAIN, uuid=DiskUuid(UUID("6000c29a-1122-3344-5566-7788" + tail))))

    assert b"\nCID=fffffffd\n" in text


@pytest.mark.parametrize(
    ("size", "geometry"),
    [
        pytest.param(512, (1, 64, 32), id="one-sector"),
        pytest.param(1 << 30, (512, 128, 32), id="one-gib"),
        pytest.param(2 << 30, (261, 255, 63), id="two-gib"),
        pytest.param(62 << 40, (65535, 255, 63), id="largest"),
    ],
)
def test_the_geometry_follows_vmwares_rule(size: int, geometry: tuple[int, int, int]) -> None:
    text = vmdk.write(replace(PLAIN, size_bytes=size)).decode()

    for name, value in zip(("cylinders", "heads", "sectors"), geometry, strict=True):
        assert f'ddb.geometry.{name} = "{value}"\n' in text


# --- what others write (field case C25) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GOOD, id="good"),
        pytest.param(GOOD.replace("\n", "\r\n"), id="crlf"),
        pytest.param(GOOD.rstrip("\n"), id="no-last-newline"),
        pytest.param(GOOD.replace("\n", "\r\n").rstrip(), id="crlf-without-last-newline"),
        pytest.param(GOOD.replace('RW 16384 VMFS "', 'RW\t16384\tVMFS\t"'), id="tabs"),
        pytest.param(GOOD.replace("DescriptorFile", "Descriptor File"), id="blank-in-the-first-line"),
        pytest.param(GOOD + 'ddb.encoding = "UTF-8"\nddb.toolsInstallType = ""\nddb.x.y-z = "1"\n', id="unknown-ddb"),
        pytest.param(GOOD.replace("version=1", "version = 1"), id="blanks-around-equals"),
        pytest.param(GOOD.replace("version=1", "version=3"), id="version-3"),
        pytest.param(GOOD.replace('"vmfs"', '"monolithicFlat"').replace("VMFS", "FLAT"), id="flat-without-offset"),
        pytest.param(GOOD.replace('flat.vmdk"', 'flat.vmdk" 0'), id="vmfs-with-offset-0"),
        pytest.param("\ufeff" + GOOD, id="byte-order-mark"),
        pytest.param(GOOD.replace("c2 9a", "C2 9A").replace("44-55", "44 55"), id="uuid-in-another-form"),
        pytest.param(GOOD + "# a comment, ü\n\n\n", id="comment"),
        pytest.param(GOOD + "\0" * 173, id="last-sector-filled-with-zeros"),
        pytest.param(GOOD.replace("VMFS", "vmfs"), id="extent-type-in-small-letters"),
    ],
)
def test_what_other_tools_write_is_read(text: str) -> None:
    assert read(text) == PLAIN


def test_no_ddb_lines_at_all_is_legal() -> None:
    assert read(without("ddb.")) == replace(PLAIN, uuid=None)


def test_a_renamed_descriptor_takes_the_extents_name_from_the_line() -> None:
    assert read(GOOD.replace("d-flat", "orig-flat")).extent == "orig-flat.vmdk"


def test_the_offset_of_a_flat_extent_counts_sectors() -> None:
    found = read(GOOD.replace('VMFS "d-flat.vmdk"', 'FLAT "e.vmdk" 2048'))

    assert (found.offset_bytes, found.size_bytes) == (1048576, 8 << 20)


def test_a_descriptor_in_a_windows_code_page_is_read() -> None:
    text = GOOD.replace("UTF-8", "windows-1252").replace("d-flat", "dä-flat")

    assert vmdk.read(text.encode("cp1252"), "d.vmdk").extent == "dä-flat.vmdk"


# --- what is broken --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(GOOD.replace(' "d-flat.vmdk"', ""), "extent line", id="three-fields"),
        pytest.param(GOOD.replace("16384", "16_384"), "extent line", id="underscore"),
        pytest.param(GOOD.replace("16384", "١٦٣٨٤"), "extent line", id="arabic-digits"),
        pytest.param(GOOD.replace("16384", "-1"), "extent line", id="negative"),
        pytest.param(GOOD.replace("16384", "9" * 400), "extent line", id="giant-number"),
        pytest.param(GOOD.replace("RW 16384", "RW 0"), "0 sectors", id="no-sectors"),
        pytest.param(GOOD.replace("RW ", "RDONLY "), "extent line", id="read-only-extent"),
        pytest.param(GOOD.replace("VMFS", "SPARSE"), "type SPARSE", id="sparse-extent"),
        pytest.param(GOOD.replace("VMFS", "VMFSRDM"), "type VMFSRDM", id="raw-device"),
        pytest.param(GOOD.replace('"vmfs"', '"monolithicSparse"'), "monolithicSparse", id="sparse-type"),
        pytest.param(GOOD.replace('"vmfs"', '"streamOptimized"'), "streamOptimized", id="stream-type"),
        pytest.param(GOOD + 'RW 16384 VMFS "d2-flat.vmdk"\n', "2 extents", id="two-extents"),
        pytest.param(without("RW"), "0 extents", id="no-extent"),
        pytest.param(GOOD.replace("d-flat", "../other/d-flat"), "outside", id="up"),
        pytest.param(GOOD.replace("d-flat.vmdk", "/etc/shadow"), "outside", id="absolute"),
        pytest.param(GOOD.replace("d-flat", "sub/d-flat"), "outside", id="down"),
        pytest.param(GOOD.replace("d-flat", "..\\d-flat"), "outside", id="backslash"),
        pytest.param(GOOD.replace("d-flat.vmdk", ".."), "outside", id="dots"),
        pytest.param(GOOD.replace("d-flat.vmdk", "d\x07.vmdk"), "outside", id="control-character"),
        pytest.param(GOOD.replace("d-flat.vmdk", "d.vmdk"), "itself", id="its-own-extent"),
        pytest.param(GOOD.replace("version=1", "version=9"), "version '9'", id="version-9"),
        pytest.param(without("version"), "no version", id="no-version"),
        pytest.param(without("createType"), "no createType", id="no-type"),
        pytest.param(without("# Disk"), "does not begin", id="no-first-line"),
        pytest.param(GOOD[: GOOD.index("44-55")], "line 15", id="cut-in-the-uuid"),
        pytest.param(GOOD.replace("60 00", "zz 00"), "not a UUID", id="uuid-with-other-letters"),
        pytest.param(GOOD.replace("60 00 C2", "60 00"), "not a UUID", id="uuid-too-short"),
        pytest.param(GOOD + 'ddb.uuid = "60 00 C2 9a 11 22 33 44-55 66 77 88 99 aa bb 00"\n', "second", id="two-uuids"),
        pytest.param(GOOD + 'createType="monolithicFlat"\n', "second value", id="two-types"),
        pytest.param(GOOD + "garbage here\n", "line 17", id="garbage"),
        pytest.param(GOOD + 'ddb.vmdkvol.name = "%ff"\n', "percent-encoded", id="note-not-utf-8"),
        pytest.param(GOOD.replace("version", "ver\0sion"), "NUL", id="nul"),
        pytest.param(GOOD + "#" * vmdk.MAX_BYTES, "more than", id="giant"),
        pytest.param("", "empty", id="empty"),
        pytest.param("\n\n", "empty", id="blank-lines"),
        pytest.param("KDMV" + GOOD, "sparse", id="sparse-disk"),
    ],
)
def test_a_broken_descriptor_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(MetadataDamaged, match=reason):
        read(text)


@pytest.mark.parametrize("data", [b"\xff\xfe" + GOOD.encode("utf-16-le"), GOOD.encode() + b"# \xff\xfe\n", b"\0" * 4096])
def test_what_is_not_text_is_refused(data: bytes) -> None:
    with pytest.raises(MetadataDamaged):
        vmdk.read(data, "d.vmdk")


@pytest.mark.parametrize(
    "text",
    [GOOD.replace("parentCID=ffffffff", "parentCID=1234abcd"), GOOD + 'parentFileNameHint="base.vmdk"\n'],
    ids=["parent-cid", "parent-hint"],
)
def test_the_child_of_another_disk_is_a_snapshot(text: str) -> None:
    with pytest.raises(SnapshotPresent, match="snapshot chain"):
        read(text)


def test_a_missing_parent_cid_is_no_parent() -> None:
    assert read(without("parentCID")) == PLAIN


@pytest.mark.parametrize(("size", "whole"), [(8 << 20, True), ((8 << 20) + 1, True), ((8 << 20) - 1, False), (0, False)])
def test_an_extent_is_as_long_as_the_descriptor_says(size: int, whole: bool) -> None:
    if whole:
        vmdk.check_extent(PLAIN, size, "d.vmdk")
        return
    with pytest.raises(MetadataDamaged, match=f"has {size} bytes, the descriptor says 8388608"):
        vmdk.check_extent(PLAIN, size, "d.vmdk")


def test_an_extent_is_long_enough_only_with_its_offset() -> None:
    with pytest.raises(MetadataDamaged):
        vmdk.check_extent(replace(PLAIN, offset_bytes=512), 8 << 20, "d.vmdk")


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_by_one_of_our_errors(data: bytes) -> None:
    for text in (data, GOOD.encode() + data, GOOD.encode()[: len(data)] + data):
        try:
            vmdk.read(text, "d.vmdk")
        except (MetadataDamaged, SnapshotPresent):
            continue


@pytest.mark.parametrize("thin", [False, True])
def test_a_descriptor_for_another_size_says_all_else_as_before(thin: bool) -> None:
    text = vmdk.write(replace(PLAIN, thin=thin, note={"name": "RW 8"}, offset_bytes=65536))
    before = vmdk.read(text, "d.vmdk")

    after = vmdk.resized(text, "d.vmdk", 3 << 30)

    assert vmdk.read(after, "d.vmdk") == replace(before, size_bytes=3 << 30)
    assert vmdk.resized(after, "d.vmdk", before.size_bytes) == text


def test_what_another_tool_wrote_is_kept_in_a_descriptor_for_another_size() -> None:
    text = b"".join(line + b"\r\n" for line in vmdk.write(PLAIN).splitlines()) + b'ddb.toolsVersion = "2147483647"\r\n'

    after = vmdk.resized(text, "d.vmdk", 3 << 30)

    assert after.endswith(b'ddb.toolsVersion = "2147483647"\r\n')
    assert vmdk.read(after, "d.vmdk").size_bytes == 3 << 30


@pytest.mark.parametrize("value", ["gold", 'a "b" = ü', "x" * 80])
def test_a_note_comes_changes_and_goes_and_all_else_stays(value: str) -> None:
    text = vmdk.write(PLAIN)
    before = vmdk.read(text, "d.vmdk")

    noted = vmdk.noted(vmdk.noted(text, "d.vmdk", "policy", "silver"), "d.vmdk", "policy", value)

    assert vmdk.read(noted, "d.vmdk") == replace(before, note={**before.note, "policy": value})
    assert noted.count(b"ddb.vmdkvol.policy") == 1
    assert vmdk.noted(noted, "d.vmdk", "policy", None) == text


def test_a_note_for_which_there_is_no_room_is_refused() -> None:
    with pytest.raises(MetadataDamaged, match="another note"):
        vmdk.noted(vmdk.write(PLAIN), "d.vmdk", "policy", "x" * vmdk.MAX_BYTES)
