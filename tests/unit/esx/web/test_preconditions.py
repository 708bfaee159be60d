"""What a request says of the object that it is for: taken as it is meant, or refused, and never dropped."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from vmdkvol.admin_messages import RevokeVm
from vmdkvol.errors import BadRequest
from vmdkvol.orders import OrderFor
from vmdkvol.policy_messages import UpdatePolicy
from vmdkvol.vmgroup_messages import SetRight, UpdateVmgroup
from vmdkvol.volume_orders import CreateVolumeFor
from vmdkvol_esx.web.preconditions import Conditions, check_of_look, expected, tag
from vmdkvol_esx.web.routes import ROUTES

SUBJECT = UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f")
ORDERS = {route.name: route for route in ROUTES if not route.reads}
NOTHING_TO_COMPARE = {
    "AdoptDisk",
    "CancelTask",
    "CordonDatastore",
    "CreatePolicy",
    "CreateVmgroup",
    "CreateVolumeFor",
    "MendOrphan",
    "UncordonDatastore",
}


@pytest.mark.parametrize(("said", "revision"), [('"7"', 7), ('"7.0a1b"', 7), (' "12" ', 12), ("*", None), (None, None)])
def test_if_match_says_which_revision_is_expected(said: str | None, revision: int | None) -> None:
    assert expected(Conditions(said), UpdateVmgroup) == (revision, None)


@pytest.mark.parametrize("shown", ["", "0123456789abcdef"])
def test_if_match_says_which_object_is_expected(shown: str) -> None:
    assert expected(Conditions(f'"{tag(7, str(SUBJECT), shown)}"'), UpdateVmgroup) == (7, SUBJECT)


def test_of_what_has_no_revision_it_says_which_object() -> None:
    assert expected(Conditions(f'".{SUBJECT.hex}"'), RevokeVm) == (None, SUBJECT)


def test_the_tag_of_what_has_a_name_only_is_its_revision() -> None:
    assert expected(Conditions(f'"{tag(7, "gold")}"'), UpdatePolicy) == (7, None)


@pytest.mark.parametrize(
    "said", ["7", 'W/"7"', '"7", "8"', '"-1"', '"x"', '""', '"."', '".0a1b"', '"7.G"', '"7."', '"\u0663"', f'"{"9" * 19}"']
)
def test_what_is_no_tag_of_ours_is_refused(said: str) -> None:
    with pytest.raises(BadRequest, match="If-Match"):
        expected(Conditions(said), SetRight)


@pytest.mark.parametrize("name", sorted(ORDERS))
@pytest.mark.parametrize("said", ["*", '"3"', f'"3.{SUBJECT.hex}"'])
def test_if_match_is_taken_by_what_it_can_be_compared_with_alone(name: str, said: str) -> None:
    kind: type[OrderFor[Any]] = ORDERS[name].message  # type: ignore[assignment]  # every one of them is an order
    if name in NOTHING_TO_COMPARE:
        with pytest.raises(BadRequest, match="If-Match"):
            expected(Conditions(said), kind)
    else:
        expected(Conditions(said), kind)


@pytest.mark.parametrize("order", [CreateVolumeFor, UpdateVmgroup, RevokeVm])
@pytest.mark.parametrize("said", [Conditions(none_match="*"), Conditions(unmodified_since="Sun, 29 Nov 2026 10:00:00 GMT")])
def test_what_no_order_looks_at_is_refused(order: type[OrderFor[Any]], said: Conditions) -> None:
    with pytest.raises(BadRequest, match="an order takes no If-"):
        expected(said, order)


def test_a_look_takes_no_if_match_and_any_if_none_match() -> None:
    check_of_look(Conditions(none_match='"7"'))
    with pytest.raises(BadRequest, match="If-Match"):
        check_of_look(Conditions('"7"'))
