"""A vmgroup's default options: for what was left out, never for what was given."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.errors import InvalidOption, InvalidSize
from vmdkvol.options import CreateOptions
from vmdkvol.volume import VmgroupId
from vmdkvol_esx.defaulting import completed
from vmdkvol_esx.records import Vmgroup

GB = 1 << 30


def with_defaults(given: dict[str, str], /, **defaults: str) -> CreateOptions:
    pairs = tuple((key.replace("_", "-"), value) for key, value in defaults.items())
    return completed(CreateOptions.parse(given), Vmgroup(VmgroupId(UUID(int=5)), "red", None, defaults=pairs))


def test_what_was_left_out_is_the_groups_default_and_was_still_not_given() -> None:
    made = with_defaults({"uid": "5"}, size="2gb", fstype="xfs", diskformat="zeroedthick", policy="gold")

    assert (made.size_bytes, made.fstype, made.diskformat, made.policy, made.uid) == (2 * GB, "xfs", "zeroedthick", "gold", 5)
    assert made.given == {"uid"}


def test_what_was_given_wins() -> None:
    made = with_defaults({"size": "1gb", "fstype": "ext4"}, size="2gb", fstype="xfs")

    assert (made.size_bytes, made.fstype) == (GB, "ext4")


def test_without_defaults_nothing_changes() -> None:
    options = CreateOptions.parse({"size": "1gb"})

    assert completed(options, Vmgroup(VmgroupId(UUID(int=5)), "red", None)) is options


def test_a_clone_has_its_sources_size_file_system_and_no_policy() -> None:
    made = with_defaults({"clone-from": "db"}, size="2gb", fstype="xfs", policy="gold", layout="root", access="read-only")

    assert (made.size_bytes, made.fstype, made.policy, made.layout) == (None, "ext4", None, "data")
    assert made.access == "read-only"


def test_mkfs_options_of_one_file_system_are_not_those_of_another() -> None:
    made = with_defaults({"fstype": "xfs", "size": "1gb"}, mkfs_options="-i 8192", fstype="ext4")

    assert made.mkfs_options == ()
    assert with_defaults({"fstype": "ext4"}, mkfs_options="-i 8192").mkfs_options == ("-i", "8192")


@pytest.mark.parametrize("key", ["datastore", "clone-from"])
def test_what_a_volume_is_made_from_and_where_is_no_default(key: str) -> None:
    given = CreateOptions.parse({})
    made = completed(given, Vmgroup(VmgroupId(UUID(int=5)), "red", None, defaults=((key, "ds9"),)))

    assert (made.datastore, made.clone_from) == (None, None)
    assert made.size_bytes == given.size_bytes


def test_a_size_that_is_too_small_for_the_groups_file_system_says_whose_default_it_is() -> None:
    with pytest.raises(InvalidSize, match="too small for xfs") as caught:
        with_defaults({"size": "20mb"}, fstype="xfs")
    assert "vmgroup red has the defaults fstype=xfs" in caught.value.remedy


@pytest.mark.parametrize(("key", "value"), [("fstype", "zfs"), ("colour", "red"), ("size", "0gb")])
def test_defaults_that_no_option_reads_are_an_administrators_to_mend(key: str, value: str) -> None:
    with pytest.raises(InvalidOption, match="default options of vmgroup red") as caught:
        with_defaults({}, **{key: value})
    assert "administrator" in caught.value.remedy
