"""What administrators write of vmgroups: what is read, and what never gets further than here."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.errors import BadRequest, InvalidName, InvalidOption, InvalidSize, VolumeError
from vmdkvol.names import VM_DATASTORE
from vmdkvol_esx.group_texts import (
    as_vmgroup_id,
    check_listed,
    check_unset,
    default_place,
    defaults_of,
    description_of,
    policies_of,
    vmgroup_name,
)

ID = "6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f"


@pytest.mark.parametrize("text", ["a", "dev", "_DEFAULT", "_x", "9", "Team.A-1_b", "a" * 64])
def test_a_vmgroup_is_called_like_this(text: str) -> None:
    assert vmgroup_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 65, id="too-long"),
        pytest.param("-dev", id="begins-with-a-hyphen"),
        pytest.param(".dev", id="begins-with-a-dot"),
        pytest.param("..", id="a-directory"),
        pytest.param("a b", id="blank"),
        pytest.param("dev\n", id="line-end"),
        pytest.param("dev/ops", id="slash"),
        pytest.param("dev,ops", id="comma"),
        pytest.param("größe", id="umlaut"),
        pytest.param("d\u200bev", id="invisible"),
        pytest.param("$(reboot)", id="shell"),
        pytest.param("<b>", id="html"),
        pytest.param("'; DROP TABLE vmgroups; --", id="sql"),
        pytest.param("=1+1", id="formula"),
        pytest.param(ID, id="an-id"),
        pytest.param(ID.upper(), id="an-id-in-capitals"),
        pytest.param("_VM_DS", id="the-machine-s-datastore"),
        pytest.param("_ALL_DS", id="all-datastores"),
        pytest.param("_all_ds", id="all-datastores-in-small-letters"),
        pytest.param("_Default", id="nearly-the-default-group"),
    ],
)
def test_a_vmgroup_is_not_called_like_this(text: str) -> None:
    with pytest.raises(InvalidName) as raised:
        vmgroup_name(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) <= 300


@pytest.mark.parametrize(
    ("text", "found"), [(ID, UUID(ID)), (ID.upper(), UUID(ID)), (ID.replace("-", ""), None), ("{" + ID + "}", None), ("", None)]
)
def test_an_id_has_one_form_and_either_case(text: str, found: UUID | None) -> None:
    assert as_vmgroup_id(text) == found


@pytest.mark.parametrize("text", ["ds1", "nfs (old)", VM_DATASTORE])
def test_a_default_datastore_is_a_name_or_the_machines_own(text: str) -> None:
    assert default_place(text) == text


@pytest.mark.parametrize("text", ["_ALL_DS", "", "a/b", "ds\n1", "d" * 101])
def test_what_is_no_place_for_a_disk_is_no_default_datastore(text: str) -> None:
    with pytest.raises(BadRequest):
        default_place(text)


@pytest.mark.parametrize("text", ["", "the team of Ann, <3", "x" * 256])
def test_a_description_is_one_line_for_people(text: str) -> None:
    assert description_of(text) == text


@pytest.mark.parametrize("text", ["x" * 257, "two\nlines", "bell\a", "\x1b[2Jclear", "\u202egnp.exe", "x" * 1_000_000])
def test_a_description_that_is_long_or_paints_the_terminal_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        description_of(text)
    assert str(raised.value).isprintable()


def test_policies_keep_their_order() -> None:
    assert policies_of(["silver", "gold"]) == ("silver", "gold")


@pytest.mark.parametrize("texts", [[], ["gold", "gold"], [""], ["gold\n"], ["x" * 1000]])
def test_a_list_of_policies_that_is_empty_double_or_no_list_of_names_is_refused(texts: list[str]) -> None:
    with pytest.raises(BadRequest):
        policies_of(texts)


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        pytest.param([], {"size": "1gb"}, [("size", "1gb")], id="nothing"),
        pytest.param([("size", "20gb")], {}, [("size", "20gb")], id="new"),
        pytest.param([("size", "20gb")], {"size": "1gb"}, [("size", "20gb")], id="changed"),
        pytest.param([("fstype", "xfs")], {"size": "1gb"}, [("fstype", "xfs"), ("size", "1gb")], id="beside"),
        pytest.param([("size", "")], {"size": "1gb", "fstype": "ext4"}, [("fstype", "ext4")], id="taken-away"),
        pytest.param([("size", "")], {}, [], id="nothing-to-take-away"),
        pytest.param([("vsan-policy-name", "gold")], {"policy": "silver"}, [("policy", "gold")], id="another-spelling"),
    ],
)
def test_defaults_are_changed_key_by_key(
    given: list[tuple[str, str]], before: dict[str, str], after: list[tuple[str, str]]
) -> None:
    assert defaults_of(given, before) == tuple(after)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param([("sizee", "20gb")], InvalidOption, id="unknown"),
        pytest.param([("sizee", "")], InvalidOption, id="unknown-taken-away"),
        pytest.param([("size", "20")], InvalidSize, id="no-unit"),
        pytest.param([("size", "1mb"), ("fstype", "xfs")], InvalidSize, id="too-small-together"),
        pytest.param([("size", "1gb"), ("size", "2gb")], BadRequest, id="twice"),
        pytest.param([("policy", "gold"), ("vsan-policy-name", "gold")], BadRequest, id="twice-by-two-spellings"),
        pytest.param([("datastore", "ds1")], InvalidOption, id="datastore"),
        pytest.param([("clone-from", "db")], InvalidOption, id="clone-from"),
        pytest.param([("label", "a=b")], InvalidOption, id="label"),
        pytest.param([("mount-options", "suid")], InvalidOption, id="dangerous"),
    ],
)
def test_defaults_that_no_create_would_take_are_refused(given: list[tuple[str, str]], error: type[VolumeError]) -> None:
    with pytest.raises(error):
        defaults_of(given, {})


def test_a_change_of_one_default_is_looked_at_together_with_the_others() -> None:
    with pytest.raises(InvalidSize):
        defaults_of([("fstype", "xfs")], {"size": "100mb"})


@pytest.mark.parametrize("vms", [[], ["a", "a"], ["b", "a", "b"]])
def test_a_list_of_machines_is_neither_empty_nor_double(vms: list[str]) -> None:
    with pytest.raises(BadRequest):
        check_listed(vms)


def test_machines_that_differ_in_case_are_two() -> None:
    check_listed(["a", "A"])


@pytest.mark.parametrize(
    ("unset", "given"), [(("name",), ()), (("policies",), ("policies",)), (("policies", ""), ()), (("POLICIES",), ())]
)
def test_only_what_can_say_nothing_and_is_not_given_is_unset(unset: tuple[str, ...], given: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest):
        check_unset(unset, ("policies", "description"), given)


def test_what_is_unset_may_be_named_beside_what_is_given() -> None:
    check_unset(("policies",), ("policies", "description"), ("description",))
