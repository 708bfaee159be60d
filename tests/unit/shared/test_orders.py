"""What orders of administrators have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from vmdkvol.errors import BadFrame
from vmdkvol.orders import ROOT, Actor, Order, Outcome, Plan, Query, Role, Step
from vmdkvol.wire import dump, load


@dataclass(frozen=True, slots=True)
class _Rename(Order):
    volume: str
    new: str


@dataclass(frozen=True, slots=True)
class _Look(Query[Outcome]):
    volume: str
    answer: ClassVar[type] = Outcome


@pytest.mark.parametrize(
    ("role", "needed", "covered"),
    [
        (Role.VIEWER, Role.VIEWER, True),
        (Role.VIEWER, Role.OPERATOR, False),
        (Role.VIEWER, Role.ADMIN, False),
        (Role.OPERATOR, Role.VIEWER, True),
        (Role.OPERATOR, Role.OPERATOR, True),
        (Role.OPERATOR, Role.ADMIN, False),
        (Role.ADMIN, Role.VIEWER, True),
        (Role.ADMIN, Role.OPERATOR, True),
        (Role.ADMIN, Role.ADMIN, True),
    ],
)
def test_a_role_covers_itself_and_what_is_below_it(role: Role, needed: Role, covered: bool) -> None:
    assert role.covers(needed) is covered


@pytest.mark.parametrize(
    "order",
    [
        _Rename("db", "db2"),
        _Rename("db", "db2", by=Actor("ann", Role.OPERATOR, "192.0.2.7"), dry_run=True, expect=4),
        _Look("db"),
    ],
)
def test_an_order_comes_over_the_wire_as_it_was_given(order: _Rename | _Look) -> None:
    assert load(type(order), json.loads(json.dumps(dump(order)))) == order


def test_an_outcome_comes_over_the_wire_as_it_was_told() -> None:
    told = Outcome(Plan((Step("rename", "db", "db", "db2"),), loses="nothing"), True, "1", 3)

    assert load(Outcome, json.loads(json.dumps(dump(told)))) == told


def test_a_role_that_there_is_not_is_refused() -> None:
    body = dump(_Look("db")) | {"by": {"name": "ann", "role": "owner", "source": "unix"}}

    with pytest.raises(BadFrame):
        load(_Look, body)


def test_an_order_that_says_nothing_of_its_giver_is_root_s() -> None:
    assert _Rename("db", "db2").by == ROOT
