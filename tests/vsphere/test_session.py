"""The session on the simulator, as vCenter and as ESXi: what foreign code says of our client."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import vim

from tests.doubles.hand_clock import HandClock
from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.stage import Stage, now, soon
from vmdkvol.errors import HypervisorUnreachable, Internal, VolumeError
from vmdkvol.logs import Secret
from vmdkvol_esx.vsphere import reading
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.relogin import REFUSED_S
from vmdkvol_esx.vsphere.session import Session

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_pure]


@pytest.fixture
def session(shared: Simulator, stage: Stage) -> Session[Service]:
    return stage.session(shared.port, Trust(ca=shared.ca), password=shared.password)


def machines(service: Service) -> Any:
    view = service.content.viewManager.CreateContainerView(service.content.rootFolder, [vim.VirtualMachine], True)
    return reading.properties(service, vim.view.ContainerView, [view], ["view"])[view._moId]["view"]


def end_session(simulator: Simulator, stage: Stage, session: Session[Service]) -> None:
    """End ``session`` as another client of the server does."""
    key = session.read("finding the session", current_key, soon())
    other = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    other.change("ending a session", lambda service: service.content.sessionManager.TerminateSession([key]), soon())


def current_key(service: Service) -> str:
    manager = service.content.sessionManager
    found = reading.properties(service, vim.SessionManager, [manager], ["currentSession"])
    key: str = found[manager._moId]["currentSession"].key
    return key


def test_the_first_call_logs_in_and_later_ones_do_not(shared: Simulator, session: Session[Service]) -> None:
    before = shared.calls().get("Login", 0)

    for _ in range(5):
        session.read("reading the time", now, soon())

    assert shared.calls()["Login"] == before + 1


def test_the_newest_version_of_both_sides_is_spoken(session: Session[Service]) -> None:
    assert session.read("reading", lambda service: service.version, soon()) == "vim.version.v7_0_3_0"


def test_a_device_list_is_read(session: Session[Service]) -> None:
    def devices(service: Service) -> Any:
        return reading.properties(service, vim.VirtualMachine, machines(service), ["config.hardware.device"])

    found = session.read("reading devices", devices, soon())

    assert found
    assert all(each["config.hardware.device"] for each in found.values())


def test_after_the_server_ended_the_session_a_device_list_is_not_empty(
    shared: Simulator, stage: Stage, session: Session[Service]
) -> None:
    """The server answers such a read without an error: with no values at all."""
    found = session.read("listing", machines, soon())
    end_session(shared, stage, session)

    def devices(service: Service) -> Any:
        fresh = [vim.VirtualMachine(each._moId, service.stub) for each in found]
        return reading.properties(service, vim.VirtualMachine, fresh, ["config.hardware.device"])

    lists = session.read("reading devices", devices, soon())

    assert all(each["config.hardware.device"] for each in lists.values())
    assert session.generation == 2


def test_a_server_that_ended_the_session_withholds_every_value(
    shared: Simulator, stage: Stage, session: Session[Service]
) -> None:
    """What the test above rests on: were it not so any more, it would show nothing."""
    found = session.read("listing", machines, soon())
    end_session(shared, stage, session)
    collector = reading.PC
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=found[0])],
        propSet=[collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
    )

    page = session.read(
        "reading a name",
        lambda service: service.content.propertyCollector.RetrievePropertiesEx([spec], collector.RetrieveOptions()),
        soon(),
    )

    assert [each.val for each in page.objects[0].propSet] == []
    assert [type(each.fault) for each in page.objects[0].missingSet] == [vim.fault.NotAuthenticated]


def test_a_change_after_the_session_ended_is_made_once(shared: Simulator, stage: Stage, session: Session[Service]) -> None:
    folder = f"[{datastore(session)}] after-{shared.model}"
    end_session(shared, stage, session)
    before = shared.calls().get("MakeDirectory", 0)

    session.change("making a folder", make_directory(folder), soon())

    # Refused without a session, and carried out in the new one.
    assert shared.calls()["MakeDirectory"] == before + 2
    with pytest.raises(VolumeError):
        session.change("making it again", make_directory(folder), soon())


def datastore(session: Session[Service]) -> str:
    def first(service: Service) -> Any:
        view = service.content.viewManager.CreateContainerView(service.content.rootFolder, [vim.Datastore], True)
        stores = reading.properties(service, vim.view.ContainerView, [view], ["view"])[view._moId]["view"]
        return reading.properties(service, vim.Datastore, stores[:1], ["name"])[stores[0]._moId]["name"]

    name: str = session.read("reading a datastore's name", first, soon())
    return name


def make_directory(path: str) -> Callable[[Service], Any]:
    def call(service: Service) -> Any:
        # Without its datacenter a vCenter does not know which datastore is meant; it has one, an ESXi host too.
        place = "datacenter-2" if service.content.about.apiType == "VirtualCenter" else "ha-datacenter"
        return service.content.fileManager.MakeDirectory(path, vim.Datacenter(place, service.stub), False)

    return call


def test_a_wrong_password_is_tried_once_in_30_s(shared: Simulator, stage: Stage) -> None:
    clock = HandClock()
    session = stage.session(shared.port, Trust(ca=shared.ca), password="c4n4ry", clock=clock)
    before = shared.calls().get("Login", 0)

    for _ in range(10):
        with pytest.raises(HypervisorUnreachable, match="the account or its password is wrong"):
            session.read("reading the time", now, soon())
    tries = shared.calls()["Login"] - before
    clock.pass_time(REFUSED_S)
    with pytest.raises(HypervisorUnreachable):
        session.read("reading the time", now, soon())

    assert (tries, shared.calls()["Login"] - before) == (1, 2)


def test_a_corrected_password_is_taken_without_a_restart(shared: Simulator, stage: Stage) -> None:
    clock, words = HandClock(), ["wrong", shared.password]
    session = stage.session(shared.port, Trust(ca=shared.ca), password=lambda: Secret(words.pop(0)), clock=clock)
    with pytest.raises(HypervisorUnreachable):
        session.read("reading the time", now, soon())
    clock.pass_time(REFUSED_S)

    assert session.read("reading the time", now, soon())


def test_the_error_of_a_wrong_password_is_one_line_with_object_cause_remedy_and_code(shared: Simulator, stage: Stage) -> None:
    session = stage.session(shared.port, Trust(ca=shared.ca), password="c4n4ry")

    with pytest.raises(HypervisorUnreachable) as caught:
        session.read("reading the time", now, soon())

    assert str(caught.value) == (
        f"logging in on localhost:{shared.port}: the account or its password is wrong (InvalidLogin); check the account's "
        "name, and the password where it comes from; it is tried again every 30 s at most [hypervisor-unreachable]"
    )


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_the_password_is_in_no_log_no_repr_and_no_traceback(
    shared: Simulator, stage: Stage, caplog: pytest.LogCaptureFixture, right: bool
) -> None:
    password = shared.password if right else "c4n4ry-of-a-test"
    session = stage.session(shared.port, Trust(ca=shared.ca), password=password)
    told = []
    with caplog.at_level(logging.DEBUG):
        try:
            session.read("reading the time", now, soon())
            session.read("failing", lambda service: service.content.searchIndex.FindByUuid(None, 7, True, True), soon())
        except Exception as error:  # noqa: BLE001 - what it says is looked at below
            told += traceback.format_exception(error)

    assert told
    assert password not in "".join([*told, caplog.text, *stage.log.lines, repr(session), str(vars(session))])


def test_a_property_that_is_not_set_is_absent_and_no_error(session: Session[Service]) -> None:
    found = session.read(
        "reading",
        lambda service: reading.properties(service, vim.VirtualMachine, machines(service), ["name", "snapshot"]),
        soon(),
    )

    assert all("snapshot" not in each and each["name"] for each in found.values())


def test_an_object_that_is_gone_is_not_one_without_values(session: Session[Service]) -> None:
    def gone(service: Service) -> Any:
        return reading.properties(service, vim.VirtualMachine, [vim.VirtualMachine("vm-9999", service.stub)], ["name"])

    with pytest.raises(VolumeError, match="the object is not there any more"):
        session.read("reading vm-9999", gone, soon())


def test_whole_properties_are_not_read_behind_the_collector_s_back(session: Session[Service]) -> None:
    with pytest.raises(Internal, match="past the property collector"):
        session.read("reading", lambda service: machines(service)[0].config, soon())


def test_a_closed_session_is_ended_on_the_server(shared: Simulator, stage: Stage) -> None:
    session = stage.session(shared.port, Trust(ca=shared.ca), password=shared.password)
    session.read("reading the time", now, soon())
    before = shared.calls().get("Logout", 0)

    session.close(soon())

    assert shared.calls()["Logout"] == before + 1


@pytest.mark.parametrize("model", ["vcenter", "esxi"])
def test_a_restarted_server_is_found_again(own: Callable[[Model], Simulator], stage: Stage, model: Model) -> None:
    simulator = own(model)
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    session.read("reading the time", now, soon())
    simulator.kill()
    with pytest.raises(HypervisorUnreachable, match="no connection"):
        session.read("reading the time", now, soon())
    simulator.again()

    assert session.read("reading the time", now, soon())
    assert session.generation == 2


def test_a_server_that_comes_back_with_another_certificate_is_not_spoken_to(
    own: Callable[[Model], Simulator], stage: Stage
) -> None:
    simulator = own("vcenter")
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    session.read("reading the time", now, soon())
    simulator.kill()
    simulator.again(same_certificate=False)

    with pytest.raises(HypervisorUnreachable, match="certificate is not to be trusted"):
        session.read("reading the time", now, soon())
    assert simulator.calls() == {}


def test_a_change_over_a_restart_is_made_once(own: Callable[[Model], Simulator], stage: Stage) -> None:
    simulator = own("esxi")
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    folder = f"[{datastore(session)}] over-a-restart"
    simulator.kill()
    simulator.again()

    session.change("making a folder", make_directory(folder), soon())

    # The kept connection was found ended before anything was sent; then there was no session; then it was made.
    assert simulator.calls()["MakeDirectory"] == 2
