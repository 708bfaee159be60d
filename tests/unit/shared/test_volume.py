"""What lies on a disk, and where it may go from there, as a total table; and the tag that a loop device carries."""

from __future__ import annotations

from itertools import product
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.volume import (
    LIVE_STATES,
    Content,
    DiskUuid,
    LoopAddress,
    ScsiAddress,
    State,
    VmId,
    content_may_become,
    loop_tag,
    new_disk_uuid,
    parse_loop_tag,
)

CONTENT_ALLOWED = {
    (Content.UNFORMATTED, Content.FORMATTING),
    (Content.FORMATTING, Content.FORMATTED),
    (Content.FORMATTING, Content.UNFORMATTED),
    (Content.FORMATTING, Content.FORMATTING),
    (Content.FORMATTED, Content.FORMATTED),
}


@pytest.mark.parametrize(("content", "new"), list(product(Content, Content)), ids=lambda content: str(content))
def test_a_content_becomes_only_what_the_table_says(content: Content, new: Content) -> None:
    assert content_may_become(content, new) is ((content, new) in CONTENT_ALLOWED)


def test_formatted_is_final() -> None:
    assert [new for new in Content if content_may_become(Content.FORMATTED, new)] == [Content.FORMATTED]


def test_a_name_in_the_trash_is_free() -> None:
    assert State.TRASHED not in LIVE_STATES
    assert State.REMOVING not in LIVE_STATES


def test_a_damaged_or_lost_volume_keeps_its_name() -> None:
    assert {State.DAMAGED, State.LOST} <= LIVE_STATES


@given(st.uuids(), st.uuids())
def test_a_loop_tag_is_read_back_and_fits_the_kernels_64_bytes(vm: UUID, disk: UUID) -> None:
    tag = loop_tag(VmId(vm), DiskUuid(disk))

    assert len(tag.encode()) < 64
    assert parse_loop_tag(tag) == (vm, disk)


GOOD = loop_tag(VmId(uuid4()), DiskUuid(uuid4()))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("/var/lib/images/disk.img", id="a-path-of-somebody-else"),
        pytest.param("v2" + GOOD[2:], id="another-version"),
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(GOOD + "0", id="too-long"),
        pytest.param(GOOD + ":x", id="one-part-more"),
        pytest.param("v1:" + "!" * 22 + ":" + "0" * 32, id="not-base64"),
        pytest.param("v1:AAAA:" + "0" * 32, id="too-few-bytes"),
        pytest.param("v1:" + "A" * 22 + ":" + "g" * 32, id="not-hexadecimal"),
        pytest.param("v1::", id="empty-parts"),
        pytest.param("v1:" + "é" * 22 + ":" + "0" * 32, id="not-ascii"),
        pytest.param("v1:" + "A" * 22 + ":{" + "0" * 32 + "}", id="another-spelling-of-the-uuid"),
        pytest.param("v1:" + "A" * 22 + "\n:" + "0" * 32, id="newline"),
    ],
)
def test_a_loop_device_of_somebody_else_is_never_taken_for_ours(text: str) -> None:
    assert parse_loop_tag(text) is None


@given(st.text(max_size=80))
def test_any_text_is_a_tag_that_reads_the_same_or_none(text: str) -> None:
    parsed = parse_loop_tag(text)

    assert parsed is None or loop_tag(*parsed) == text


@pytest.mark.parametrize(
    ("address", "text"),
    [pytest.param(LoopAddress(100000), "loop100000", id="loop"), pytest.param(ScsiAddress(1, 15), "scsi1:15", id="scsi")],
)
def test_an_address_reads_as_people_know_it(address: LoopAddress | ScsiAddress, text: str) -> None:
    assert str(address) == text


@given(random=st.uuids(version=4))
def test_a_new_disks_identity_is_a_wwn_of_vmwares(random: UUID) -> None:
    made = new_disk_uuid(random)

    assert (made.hex[:7], made.hex[7:]) == ("6000c29", random.hex[7:])
