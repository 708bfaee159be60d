"""Who may do what where: every combination of rows, verb by verb; limits in their order; a decision takes no time."""

from __future__ import annotations

import itertools
from uuid import UUID

import pytest

from vmdkvol.errors import InvalidSize, NotPermitted, PolicyNotFound, QuotaExceeded, VolumeError
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName
from vmdkvol.volume import VmgroupId
from vmdkvol_esx.records import Group, Right, Vmgroup
from vmdkvol_esx.rights import NEEDS, Need, Verb, allows, check, check_limits, check_policy, find, needs_home

DS, OTHER = DatastoreName("ds1"), DatastoreName("ds2")
RED = Vmgroup(VmgroupId(UUID(int=5)), "red", DS)
GB = 1 << 30

# A row that is not there, one for use alone, and one that lets create.
ROW = (None, False, True)
HOMES = pytest.mark.parametrize("home", [DS, OTHER, None])


def group(own: bool | None, vm: bool | None, all: bool | None) -> Group:
    rows = ((DS, own), (VM_DATASTORE, vm), (ALL_DATASTORES, all))
    return Group(RED, tuple(Right(name, allow) for name, allow in rows if allow is not None))


# What decides, by the rows for the datastore, _VM_DS and _ALL_DS, on the machine's own datastore and on another one.
DECIDES = {
    (own, vm, all): (
        (own if own is not None else vm if vm is not None else all),
        (own if own is not None else all),
    )
    for own, vm, all in itertools.product(ROW, repeat=3)
}
# The same, written down: the table that the order of vDVS gives.
WRITTEN = """
none none none: none none | none none use: use use | none none create: create create
none use none: use none | none use use: use use | none use create: use create
none create none: create none | none create use: create use | none create create: create create
use none none: use use | use none use: use use | use none create: use use
use use none: use use | use use use: use use | use use create: use use
use create none: use use | use create use: use use | use create create: use use
create none none: create create | create none use: create create | create none create: create create
create use none: create create | create use use: create create | create use create: create create
create create none: create create | create create use: create create | create create create: create create
"""
WORDS = {"none": None, "use": False, "create": True}


def written() -> dict[tuple[bool | None, ...], tuple[bool | None, ...]]:
    table = {}
    for entry in WRITTEN.replace("\n", " | ").split("|"):
        rows, _, decides = entry.partition(":")
        if decides:
            table[tuple(WORDS[word] for word in rows.split())] = tuple(WORDS[word] for word in decides.split())
    return table


def test_the_table_has_every_combination_of_rows() -> None:
    assert written() == DECIDES
    assert len(DECIDES) == 27


@pytest.mark.parametrize("rows", DECIDES, ids=lambda rows: "-".join(str(row) for row in rows))
@pytest.mark.parametrize("verb", Verb)
@HOMES
def test_every_row_and_every_verb(rows: tuple[bool | None, ...], verb: Verb, home: DatastoreName | None) -> None:
    own, vm, all = rows
    at_home, elsewhere = written()[rows]
    right = at_home if home == DS else elsewhere
    given = group(own, vm, all)
    may = {Need.NOTHING: True, Need.USE: right is not None, Need.CREATE: bool(right)}[NEEDS[verb]]

    assert allows(given, verb, DS, home) is may
    if may:
        check(given, verb, DS, home)
    else:
        with pytest.raises(NotPermitted, match="no right" if right is None else "not create or remove") as caught:
            check(given, verb, DS, home)
        assert "red" in caught.value.text
        assert "ds1" in caught.value.text
        assert caught.value.remedy


def test_each_verb_says_what_it_needs() -> None:
    assert set(NEEDS) == set(Verb)


@pytest.mark.parametrize("verb", [Verb.DETACH, Verb.MARK, Verb.KEEP])
def test_a_right_that_was_taken_away_traps_no_disk(verb: Verb) -> None:
    check(Group(RED), verb, DS, None)


@pytest.mark.parametrize("name", [VM_DATASTORE, ALL_DATASTORES])
def test_a_datastore_that_is_called_as_a_marker_has_no_row_of_its_own(name: DatastoreName) -> None:
    rows = (Right(VM_DATASTORE, allow_create=True),)

    assert find(rows, name, None) is None
    assert find((*rows, Right(ALL_DATASTORES, allow_create=False)), name, None) == Right(ALL_DATASTORES, allow_create=False)


def test_where_the_machines_files_lie_is_asked_only_where_it_decides() -> None:
    asked = {rows: needs_home(group(*rows), DS) for rows in DECIDES}

    assert asked == {(own, vm, all): own is None and vm is not None for own, vm, all in DECIDES}


# --- limits ------------------------------------------------------------------------------------------------------


def limits(
    size: int = GB, added: int | None = None, used: int = 0, trashed: int = 0, most: int | None = None, total: int | None = None
) -> None:
    check_limits(RED, Right(DS, True, most, total), DS, size, size if added is None else added, used, trashed)


@pytest.mark.parametrize("none", [None, 0])
def test_a_limit_of_none_or_zero_is_none(none: int | None) -> None:
    limits(size=1 << 50, used=1 << 55, most=none, total=none)
    check_limits(RED, None, DS, GB, GB, 1 << 60, 0)


@pytest.mark.parametrize("size", [0, -1])
def test_nothing_is_no_size(size: int) -> None:
    with pytest.raises(InvalidSize):
        limits(size=size)


@pytest.mark.parametrize(
    ("size", "used", "most", "total", "error"),
    [
        pytest.param(GB, 0, GB, None, None, id="just-the-largest"),
        pytest.param(GB + 1, 0, GB, None, "the most for vmgroup red", id="larger-than-the-largest"),
        pytest.param(GB, GB, None, 2 * GB, None, id="just-the-total"),
        pytest.param(GB, GB + 1, None, 2 * GB, "the total for vmgroup red", id="beyond-the-total"),
        pytest.param(3 * GB, 0, GB, 2 * GB, "the most for vmgroup red", id="the-largest-comes-first"),
        pytest.param(GB, 9 * GB, None, 2 * GB, "the total for vmgroup red", id="the-total-was-made-smaller"),
    ],
)
def test_limits(size: int, used: int, most: int | None, total: int | None, error: str | None) -> None:
    if error is None:
        limits(size=size, used=used, most=most, total=total)
        return
    with pytest.raises(QuotaExceeded, match=error) as caught:
        limits(size=size, used=used, most=most, total=total)
    assert caught.value.remedy
    assert caught.value.fields["datastore"] == "ds1"


def test_a_full_quota_says_what_the_trash_holds() -> None:
    with pytest.raises(QuotaExceeded, match=r"3gb is used \(2gb of it in the trash\)") as caught:
        limits(used=3 * GB, trashed=2 * GB, total=3 * GB)
    assert "trash empties by itself" in caught.value.remedy


@pytest.mark.parametrize("length", [1, 64])
def test_an_error_stays_one_line_with_its_remedy(length: int) -> None:
    long = Vmgroup(RED.id, "x" * length, None)
    datastore = DatastoreName("d" * 100)
    errors: list[VolumeError] = []
    for size, used in ((1 << 45, 0), (GB, 1 << 44)):
        with pytest.raises(QuotaExceeded) as caught:
            check_limits(long, Right(datastore, True, 1 << 44, 1 << 44), datastore, size, size, used, used)
        errors.append(caught.value)
    with pytest.raises(NotPermitted) as refused:
        check(Group(long), Verb.CREATE, datastore, None)
    for error in (*errors, refused.value):
        assert len(str(error)) <= 300
        assert f"[{error.code}]" in str(error)


# --- policies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_group", "of_right", "policy", "allowed"),
    [
        ((), (), "gold", True),
        (("gold",), (), "gold", True),
        (("gold",), (), "silver", False),
        ((), ("gold",), "silver", False),
        (("gold", "silver"), ("silver",), "gold", False),
        (("gold", "silver"), ("silver",), "silver", True),
        (("gold",), ("silver",), "gold", False),
        # The datastore's own.
        (("gold",), ("silver",), None, True),
    ],
)
def test_a_policy_must_be_allowed_by_group_and_right(
    of_group: tuple[str, ...], of_right: tuple[str, ...], policy: str | None, allowed: bool
) -> None:
    given = Group(Vmgroup(RED.id, "red", None, policies=of_group), (Right(DS, True, policies=of_right),))
    if allowed:
        check_policy(given, DS, None, policy)
    else:
        with pytest.raises(PolicyNotFound, match="may not use storage policy") as caught:
            check_policy(given, DS, None, policy)
        assert "allowed:" in caught.value.remedy
