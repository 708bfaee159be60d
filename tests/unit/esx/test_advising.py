"""Advice before maintenance is read from what there is at this moment, and asking for it changes nothing."""

from __future__ import annotations

import shlex

import click
import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, A, B
from vmdkvol import frames
from vmdkvol.advice_messages import Advice, AdviseMaintenance, MaintenanceAdvice, Matter, TargetKind
from vmdkvol.cli.main import cli
from vmdkvol.errors import Conflict, NotFound
from vmdkvol.messages import CreateVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Query, Role
from vmdkvol.site_messages import CordonDatastore, UncordonDatastore
from vmdkvol.vmgroup_messages import UpdateVmgroup
from vmdkvol.volume_orders import DetachVolume
from vmdkvol.wire import dump
from vmdkvol_esx.advising import fitting
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.ports import CreateDisk


@pytest.fixture
def site() -> AdminSite:
    site = AdminSite(datastores=(DS1, DS2))
    site.hypervisor.esx = [
        EsxHost("esx1", frozenset({A}), frozenset({DS1, DS2})),
        EsxHost("esx2", frozenset({B}), frozenset({DS1})),
    ]
    return site


def advise(site: AdminSite, target: str, kind: TargetKind | None = None) -> MaintenanceAdvice:
    found: MaintenanceAdvice = site.order(AdviseMaintenance(target=target, kind=kind))
    return found


def lines(found: MaintenanceAdvice) -> list[tuple[Matter, str]]:
    return [(each.matter, each.about) for each in found.advice]


# --- a host ------------------------------------------------------------------------------------------------------


def test_a_host_whose_machines_can_go_elsewhere_is_ready(site: AdminSite) -> None:
    site.attach(site.create("db", datastore="ds1").id)
    found = advise(site, "esx1")
    assert (found.kind, found.ready, lines(found)) == (TargetKind.HOST, True, [(Matter.MOVES, "host-a")])


def test_a_volume_on_a_datastore_of_this_host_alone_is_in_the_way(site: AdminSite) -> None:
    site.attach(site.create("db", datastore="ds2").id)
    assert lines(advise(site, "esx1")) == [(Matter.ATTACHED, "db")]
    assert advise(site, "esx2").ready


def test_a_machine_that_is_not_ours_any_more_and_has_a_volume_still_counts(site: AdminSite) -> None:
    site.hypervisor.esx = [EsxHost("esx1", frozenset({A}), frozenset({DS1}))]
    site.attach(site.create("db", datastore="ds1").id)
    site.hypervisor.disowned = {A}
    assert lines(advise(site, "esx1")) == [(Matter.ATTACHED, "db")]


# --- a machine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["host-a", str(A)])
def test_a_machine_is_meant_by_its_name_or_its_id(site: AdminSite, target: str) -> None:
    site.attach(site.create("db", datastore="ds1").id)
    found = advise(site, target)
    assert (found.target, found.kind, lines(found)) == ("host-a", TargetKind.VM, [(Matter.ATTACHED, "db")])


def test_what_is_told_to_do_helps(site: AdminSite) -> None:
    attachment = site.attach(site.create("db", datastore="ds1").id)
    (told,) = advise(site, "host-a").advice
    assert told.command == "vmdkvol volume detach --vmgroup _DEFAULT db"
    site.agents[A] = lambda volume: site.detach(attachment)
    site.order(DetachVolume(volume="db", vmgroup="_DEFAULT"))
    assert advise(site, "host-a").ready


def test_a_machine_that_does_not_answer_is_no_ready_one(site: AdminSite) -> None:
    site.attach(site.create("db", datastore="ds1").id)
    site.hypervisor.unread(A)
    assert lines(advise(site, "host-a")) == [(Matter.UNKNOWN, "host-a")]


# --- a datastore -------------------------------------------------------------------------------------------------


def test_a_datastore_is_ready_when_it_is_cordoned_and_nobody_has_anything_of_it(site: AdminSite) -> None:
    attachment = site.attach(site.create("db", datastore="ds1").id)
    assert lines(advise(site, "ds1")) == [(Matter.ATTACHED, "db"), (Matter.OPEN, "ds1"), (Matter.STAYS, "ds1")]
    site.order(CordonDatastore(name="ds1"))
    site.detach(attachment)
    found = advise(site, "ds1")
    assert (found.ready, lines(found)) == (True, [(Matter.STAYS, "ds1")])


def test_the_trash_and_a_default_are_told_and_hinder_nothing(site: AdminSite) -> None:
    site.remove(site.create("old", datastore="ds2").id)
    site.order(CordonDatastore(name="ds2"))
    site.order(UpdateVmgroup(name="_DEFAULT", default_datastore="ds2"))
    found = advise(site, "ds2")
    assert (found.ready, lines(found)) == (True, [(Matter.TRASH, "ds2"), (Matter.DEFAULT, "_DEFAULT")])


def test_work_on_a_disk_of_the_datastore_is_in_the_way_of_it_and_of_no_other(site: AdminSite) -> None:
    site.hypervisor.takes(CreateDisk, 100.0)
    site.leave(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({"datastore": "ds1"})))
    for name in ("ds1", "ds2"):
        site.order(CordonDatastore(name=name))
    found = advise(site, "ds1")
    assert (found.ready, lines(found)[0]) == (False, (Matter.WORK, "db"))
    assert found.advice[0].command == f"vmdkvol task wait {site.store.open_intents()[0].id}"
    assert advise(site, "ds2").ready


def test_only_a_silent_machine_that_had_a_volume_of_it_is_in_the_way(site: AdminSite) -> None:
    for name in ("ds1", "ds2"):
        site.order(CordonDatastore(name=name))
    site.order(UncordonDatastore(name="ds1"))
    site.attach(site.create("db", datastore="ds1").id)
    site.order(CordonDatastore(name="ds1"))
    site.hypervisor.unread(A)
    assert lines(advise(site, "ds1")) == [(Matter.UNKNOWN, "host-a"), (Matter.STAYS, "ds1")]
    assert advise(site, "ds2").ready


def test_more_lines_than_a_frame_takes_are_counted_and_are_no_readiness(site: AdminSite) -> None:
    many = [f"{'x' * 90}-{number:03}" for number in range(400)]
    found = MaintenanceAdvice(
        "ds1", TargetKind.DATASTORE, False, tuple(Advice(Matter.STAYS, True, each, "y" * 290) for each in many)
    )
    cut = fitting(found)
    assert len(dump(cut)) < frames.MAX_FRAME
    assert (cut.ready, len(cut.advice) + cut.more) == (False, 400)
    assert cut.more > 0


# --- what is meant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["", "ds9", "HOST-A", "host-a ", "esx1\n", "\ud800"])
def test_what_there_is_not_is_said(site: AdminSite, target: str) -> None:
    with pytest.raises(NotFound):
        advise(site, target)


def test_of_two_things_with_one_name_the_kind_must_be_said(site: AdminSite) -> None:
    site.hypervisor.esx = [EsxHost("ds1", frozenset(), frozenset())]
    with pytest.raises(Conflict, match="datastore, host"):
        advise(site, "ds1")
    assert advise(site, "ds1", TargetKind.HOST).kind is TargetKind.HOST
    assert advise(site, "ds1", TargetKind.DATASTORE).kind is TargetKind.DATASTORE
    with pytest.raises(NotFound):
        advise(site, "ds1", TargetKind.VM)


def test_whoever_may_look_may_ask_and_nothing_is_written(site: AdminSite) -> None:
    site.attach(site.create("db", datastore="ds1").id)
    before = site.store.change_number(), len(site.hypervisor.submitted)
    for target in ("esx1", "host-a", "ds1"):
        advise(site, target)
    assert (site.store.change_number(), len(site.hypervisor.submitted)) == before
    assert (issubclass(AdviseMaintenance, Query), AdviseMaintenance.needs) == (True, Role.VIEWER)


def assert_is_a_command(words: list[str]) -> None:
    group = cli.get_command(click.Context(cli), words[0])
    assert isinstance(group, click.Group)
    name, command, left = group.resolve_command(click.Context(group), words[1:])
    assert command is not None
    command.make_context(name, left)


def test_each_command_that_is_told_is_one_that_the_command_line_takes(site: AdminSite) -> None:
    site.order(UpdateVmgroup(name="_DEFAULT", default_datastore="ds1"))
    site.remove(site.create("old", datastore="ds1").id)
    site.attach(site.create("db", datastore="ds1").id)
    site.attach(site.create("db2", B, datastore="ds1").id, B)
    site.hypervisor.unread(B)
    site.hypervisor.takes(CreateDisk, 100.0)
    site.leave(CreateVolume(VolumeRef.parse("new"), CreateOptions.parse({"datastore": "ds1"})))
    told = [each for each in advise(site, "ds1").advice if each.command]
    assert {each.matter for each in told} == set(Matter) - {Matter.MOVES, Matter.STAYS}
    for each in told:
        assert_is_a_command(shlex.split(each.command)[1:])
