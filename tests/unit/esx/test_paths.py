"""Paths come from ids; the name that a user typed only reminds."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.volume import DEFAULT_VMGROUP, VolumeId
from vmdkvol_esx.paths import name_in, new_path

VOLUME = VolumeId(UUID("0123abcd-0000-4000-8000-000000000000"))
GROUP = "11111111-1111-1111-1111-111111111111"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("db", f"vmdkvol/{GROUP}/db-0123abcd.vmdk", id="plain"),
        pytest.param("db@ds1", f"vmdkvol/{GROUP}/db-ds1-0123abcd.vmdk", id="with-its-datastore"),
        pytest.param("-rf *", f"vmdkvol/{GROUP}/rf-0123abcd.vmdk", id="option-like"),
        pytest.param("x-flat", f"vmdkvol/{GROUP}/x-flat-0123abcd.vmdk", id="like-an-extent"),
        pytest.param("данные", f"vmdkvol/{GROUP}/volume-0123abcd.vmdk", id="nothing-left-of-it"),
        pytest.param("a" * 100, f"vmdkvol/{GROUP}/{'a' * 40}-0123abcd.vmdk", id="a-hundred-characters"),
    ],
)
def test_a_path_is_made_of_a_slug_and_the_id(name: str, expected: str) -> None:
    assert new_path(DEFAULT_VMGROUP, name, VOLUME) == expected


def test_two_volumes_of_one_name_never_share_a_path() -> None:
    other = VolumeId(UUID("fedc0000-0000-4000-8000-000000000000"))
    assert new_path(DEFAULT_VMGROUP, "db", VOLUME) != new_path(DEFAULT_VMGROUP, "db", other)


def test_a_path_reminds_of_the_name_that_it_was_made_for() -> None:
    assert name_in(new_path(DEFAULT_VMGROUP, "My DB-1", VolumeId(UUID(int=1 << 120)))) == "my-db-1"


@pytest.mark.parametrize("path", ["", "db.vmdk", "dockvols/x/db.vmdk", "vmdkvol/adopted/x.vmdk", "vmdkvol/x/db-00000000.vmdk"])
def test_no_other_path_does(path: str) -> None:
    assert name_in(path) is None
