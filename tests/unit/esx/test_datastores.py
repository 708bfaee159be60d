"""What an administrator does with datastores, on a whole service in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.site import DS1, DS2, GB, A, Site
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, DatastoreNotFound, HypervisorUnreachable, NotPermitted, VolumeError
from vmdkvol.messages import Call
from vmdkvol.orders import Actor, Order, Role, Step
from vmdkvol.site_messages import (
    SITE_REQUESTS,
    CordonDatastore,
    DatastoreRow,
    GetDatastore,
    ListDatastores,
    UncordonDatastore,
)
from vmdkvol_esx.datastores import Datastores
from vmdkvol_esx.ports import Datastore

ANN = Actor("ann", Role.ADMIN, "unix")


class Seen:
    """The hypervisor of an administrator: it may be ``away``, or not show what is ``gone``."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.away = inner, False
        self.gone: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def datastores(self) -> Sequence[Datastore]:
        if self.away:
            raise HypervisorUnreachable("away")
        return [each for each in self._inner.datastores() if each.name not in self.gone]


class Office:
    def __init__(self) -> None:
        self.site = Site(datastores=(DS1, DS2), retention_s=1000.0)
        self.seen: Any = Seen(self.site.hypervisor)
        self.open()

    def open(self) -> None:
        """As after a restart of the service."""
        verbs = self.site.verbs
        self.datastores = Datastores(replace(verbs.parts, hypervisor=self.seen), verbs.glance)

    def ask(self, request: Any) -> Any:
        return self.datastores.rows()[type(request)](request, Call(uuid4(), Deadline.after(self.site.clock, 10.0)))

    def row(self, name: str) -> DatastoreRow:
        found = self.ask(GetDatastore(name=name))
        assert isinstance(found, DatastoreRow)
        return found


@pytest.fixture
def office() -> Office:
    return Office()


def test_every_message_has_its_row(office: Office) -> None:
    assert office.datastores.rows().keys() == set(SITE_REQUESTS)


def test_volumes_are_counted_where_they_lie_with_those_in_the_trash(office: Office) -> None:
    office.site.create("db@ds1", A, size="3gb")
    office.site.create("thick@ds1", A, size="2gb", diskformat="zeroedthick")
    office.site.remove(office.site.create("old@ds2", A, size="1gb").id)
    found = {each.name: each for each in office.ask(ListDatastores()).datastores}
    assert [(each.name, each.volumes, each.provisioned_bytes) for each in found.values()] == [(DS1, 2, 5 * GB), (DS2, 1, GB)]
    assert found[DS1].used_bytes is not None
    assert 2 * GB <= found[DS1].used_bytes < 5 * GB
    assert found[DS1].overcommit == 0.05
    assert found[DS1] == office.row("ds1")


def test_datastores_come_in_pages(office: Office) -> None:
    first = office.ask(ListDatastores(limit=1))
    assert ([each.name for each in first.datastores], first.next) == ([DS1], DS1)
    last = office.ask(ListDatastores(after=DS1, limit=1))
    assert ([each.name for each in last.datastores], last.next) == ([DS2], None)


@pytest.mark.parametrize("limit", [0, 201])
def test_a_page_that_is_too_long_or_none_is_refused(office: Office, limit: int) -> None:
    with pytest.raises(BadRequest):
        office.ask(ListDatastores(limit=limit))


def test_a_datastore_that_is_gone_is_told_while_something_is_of_it(office: Office) -> None:
    office.site.create("db@ds2", A)
    office.seen.gone = [DS2]
    found = office.row("ds2")
    assert (found.volumes, found.capacity_bytes, found.problem) == (1, None, "the hypervisor does not show it")


@pytest.mark.parametrize("name", ["", "DS1", "ds9", "_ALL_DS", "../ds1"])
def test_what_is_no_datastore_is_not_found(office: Office, name: str) -> None:
    for request in (GetDatastore(name=name), CordonDatastore(name=name), UncordonDatastore(name=name)):
        with pytest.raises(DatastoreNotFound, match="ds1, ds2"):
            office.ask(request)
    assert office.site.store.cordons() == ()


def test_without_the_hypervisor_what_is_on_record_is_told_and_nothing_is_called_absent(office: Office) -> None:
    office.site.create("db@ds1", A)
    office.seen.away = True
    (found,) = office.ask(ListDatastores()).datastores
    assert (found.name, found.problem) == (DS1, "the hypervisor does not answer")
    for request in (GetDatastore(name="ds2"), CordonDatastore(name="ds2"), UncordonDatastore(name="ds2")):
        with pytest.raises(HypervisorUnreachable):
            office.ask(request)


# --- cordons -----------------------------------------------------------------------------------------------------


def test_a_cordoned_datastore_takes_no_new_volume_and_those_on_it_go_on(office: Office) -> None:
    old = office.site.create("db@ds1", A)
    office.ask(CordonDatastore(name="ds1", reason="new disks on Monday", by=ANN))
    with pytest.raises(NotPermitted, match="takes no new volumes"):
        office.site.create("new@ds1", A)
    with pytest.raises(NotPermitted):
        office.site.create("copy@ds1", A, clone_from="db@ds1")
    office.site.create("new@ds2", A)
    office.site.format(old.id, A)
    office.site.remove(old.id, A)
    office.ask(UncordonDatastore(name="ds1"))
    office.site.create("new@ds1", A)
    office.site.check_settled()


def test_a_refused_create_leaves_nothing(office: Office) -> None:
    office.ask(CordonDatastore(name="ds1"))
    with pytest.raises(NotPermitted):
        office.site.create("new@ds1", A)
    assert office.site.records() == []
    assert office.site.hypervisor.truth().disks == {}


def test_a_cordon_says_who_when_and_why(office: Office) -> None:
    outcome = office.ask(CordonDatastore(name="ds1", reason="full", by=ANN))
    assert (outcome.done, outcome.subject, outcome.plan.steps) == (
        True,
        "ds1",
        (Step("cordon-datastore", "ds1", None, "cordoned: full"),),
    )
    cordon = office.row("ds1").cordon
    assert cordon is not None
    assert (cordon.by, cordon.reason) == ("ann", "full")
    assert cordon.at <= office.site.clock.wall()
    assert office.row("ds2").cordon is None


def test_a_cordon_outlives_the_service(office: Office) -> None:
    office.ask(CordonDatastore(name="ds1"))
    office.site.restart()
    office.open()
    assert office.row("ds1").cordon is not None
    with pytest.raises(NotPermitted):
        office.site.create("new@ds1", A)


ORDERS: list[Order] = [CordonDatastore(name="ds1", reason="x"), UncordonDatastore(name="ds2")]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_a_dry_run_changes_nothing_and_has_the_plan_of_the_real_one(office: Office, order: Order) -> None:
    office.ask(CordonDatastore(name="ds2", reason="old"))
    before = office.site.store.cordons()
    dry = office.ask(replace(order, dry_run=True))
    assert office.site.store.cordons() == before
    assert (dry.done, len(dry.plan.steps)) == (False, 1)
    real = office.ask(order)
    assert (real.done, real.plan) == (True, dry.plan)
    assert office.site.store.cordons() != before
    assert office.ask(order).plan.steps == ()


def test_another_reason_takes_the_place_of_the_first(office: Office) -> None:
    office.ask(CordonDatastore(name="ds1", reason="a"))
    outcome = office.ask(CordonDatastore(name="ds1", reason="b"))
    assert outcome.plan.steps == (Step("cordon-datastore", "ds1", "cordoned: a", "cordoned: b"),)


def test_a_cordon_of_a_datastore_that_is_gone_is_taken_away(office: Office) -> None:
    office.ask(CordonDatastore(name="ds2"))
    office.seen.gone = [DS2]
    assert office.row("ds2").cordon is not None
    assert office.ask(UncordonDatastore(name="ds2")).done
    with pytest.raises(DatastoreNotFound):
        office.row("ds2")


@pytest.mark.parametrize(
    ("order", "error"),
    [
        pytest.param(CordonDatastore(name="ds1", reason="x" * 257), BadRequest, id="long-reason"),
        pytest.param(CordonDatastore(name="ds1", reason="a\nb"), BadRequest, id="two-lines"),
    ],
)
def test_what_is_not_ordered(office: Office, order: Order, error: type[VolumeError]) -> None:
    with pytest.raises(error):
        office.ask(order)
    assert office.site.store.cordons() == ()
