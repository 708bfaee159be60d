"""One identity, many spellings."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.volume import DiskUuid
from vmdkvol_esx.vsphere.uuids import read_uuid, spaced

UUID_OF_ALL = DiskUuid(UUID("6000c29a-7bab-1ceb-8d1f-d4b9f8b6f2c7"))


@pytest.mark.parametrize(
    "text",
    [
        "60 00 C2 9a 7b ab 1c eb-8d 1f d4 b9 f8 b6 f2 c7",
        "6000C29a-7bab-1ceb-8d1f-d4b9f8b6f2c7",
        "6000c29a7bab1ceb8d1fd4b9f8b6f2c7",
        " 60 00 C2 9A 7B AB 1C EB - 8D 1F D4 B9 F8 B6 F2 C7\n",
    ],
)
def test_every_spelling_is_read(text: str) -> None:
    assert read_uuid(text) == UUID_OF_ALL


@pytest.mark.parametrize("text", ["", "6000C29a", "x" * 32, "6000c29a7bab1ceb8d1fd4b9f8b6f2c70", "٣" * 32, None, 5])
def test_what_is_no_identity_is_none(text: object) -> None:
    assert read_uuid(text) is None


def test_it_is_written_as_a_descriptor_has_it() -> None:
    assert spaced(UUID_OF_ALL) == "60 00 c2 9a 7b ab 1c eb-8d 1f d4 b9 f8 b6 f2 c7"
