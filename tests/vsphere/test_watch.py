"""Machines that are switched off or gone are heard of, through whatever befalls the line; a hint may come once too often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from pyVmomi import vim

from tests.vsphere.servers import line_to
from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.clock import Deadline
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.reading import PC, below
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.watch import Watch

pytestmark = pytest.mark.integration
PATIENCE_S = 60.0
MODELS: tuple[Model, ...] = ("vcenter", "esxi")
Watched = Callable[[Simulator], Session[Service]]


class Heard:
    """Counts hints."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def more_than(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count > count, PATIENCE_S)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watched(stage: Stage, heard: Heard) -> Iterator[Watched]:
    """Watch the simulator's machines, from the moment on at which the first look was hinted at."""
    watches: list[Watch] = []

    def begin(simulator: Simulator) -> Session[Service]:
        session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
        watches.append(Watch(session, CLOCK, stage.log, heard, pause_s=0.2))
        watches[-1].start()
        assert heard.more_than(0)
        return session

    yield begin
    for each in watches:
        assert each.stop(soon())


def a_machine(session: Session[Service]) -> str:
    """Return the id of one of the simulator's machines."""

    def read(service: Service) -> str:
        machines = service.content.viewManager.CreateContainerView(service.content.rootFolder, [vim.VirtualMachine], True)
        steps = [PC.TraversalSpec(name="all", type=vim.view.ContainerView, path="view", skip=False)]
        return min(below(service, machines, steps, {vim.VirtualMachine: ("name",)}))

    return session.read("looking for a machine", read, soon())


@pytest.mark.vcsim_pure
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("what", ["off", "suspend"])
def test_what_befalls_a_machine_is_heard_of(
    what: str, model: Model, own: Callable[[Model], Simulator], watched: Watched, heard: Heard
) -> None:
    simulator = own(model)
    session = watched(simulator)
    before = heard.count

    simulator.machine(a_machine(session), what)

    assert heard.more_than(before)


@pytest.mark.vcsim_pure
@pytest.mark.parametrize("model", MODELS)
def test_a_machine_that_is_destroyed_is_heard_of(
    model: Model, own: Callable[[Model], Simulator], watched: Watched, heard: Heard
) -> None:
    simulator = own(model)
    machine = a_machine(watched(simulator))
    before = heard.count
    simulator.machine(machine, "off")
    assert heard.more_than(before)
    before = heard.count

    simulator.machine(machine, "destroy")

    assert heard.more_than(before)


@pytest.mark.vcsim_injected
def test_a_machine_whose_host_is_lost_is_heard_of(own: Callable[[Model], Simulator], watched: Watched, heard: Heard) -> None:
    simulator = own("vcenter")
    session = watched(simulator)
    before = heard.count

    simulator.machine(a_machine(session), "disconnected")

    assert heard.more_than(before)


@pytest.mark.vcsim_pure
def test_after_a_restart_of_the_server_somebody_looks_and_changes_are_heard_again(
    own: Callable[[Model], Simulator], watched: Watched, heard: Heard
) -> None:
    simulator = own("vcenter")
    session = watched(simulator)
    before = heard.count

    simulator.kill()
    simulator.again()

    assert heard.more_than(before)
    before = heard.count
    simulator.machine(a_machine(session), "off")
    assert heard.more_than(before)


@pytest.mark.vcsim_pure
def test_after_a_line_that_broke_somebody_looks(own: Callable[[Model], Simulator], stage: Stage, heard: Heard) -> None:
    simulator = own("vcenter")
    with line_to(simulator.port) as line:
        watch = Watch(
            stage.session(line.port, Trust(ca=simulator.ca), password=simulator.password), CLOCK, stage.log, heard, pause_s=0.1
        )
        watch.start()
        assert heard.more_than(0)
        before = heard.count

        # Again: a line that is cut before the wait has begun costs nothing but a new connection.
        given_up = soon()
        while heard.count == before:
            assert not given_up.passed, "somebody looks"
            line.cut()
            CLOCK.sleep(0.1)

        assert watch.stop(soon())


@pytest.mark.vcsim_pure
def test_a_wrong_password_is_no_storm_of_tries(own: Callable[[Model], Simulator], stage: Stage, heard: Heard) -> None:
    simulator = own("vcenter")
    watch = Watch(
        stage.session(simulator.port, Trust(ca=simulator.ca), password="wrong"), CLOCK, stage.log, heard, pause_s=0.01
    )
    watch.start()
    given_up = soon()
    while sum("machines not watched" in line for line in stage.log.lines) < 20:
        assert not given_up.passed, "it asks again"
        CLOCK.sleep(0.02)

    assert watch.stop(soon())
    assert simulator.calls()["Login"] == 1
    assert heard.count == 0


@pytest.mark.vcsim_pure
def test_a_watch_that_waits_ends_soon_when_it_is_told_to(own: Callable[[Model], Simulator], stage: Stage, heard: Heard) -> None:
    simulator = own("vcenter")
    watch = Watch(stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password), CLOCK, stage.log, heard)
    watch.start()
    assert heard.more_than(0)

    # Less than a round, which is 20 s.
    assert watch.stop(Deadline.after(CLOCK, 15.0))
    # That the wait was ended is no trouble to tell of.
    assert [line for line in stage.log.lines if "not watched" in line] == []


@pytest.mark.vcsim_pure
def test_a_watch_that_was_never_started_is_stopped(own: Callable[[Model], Simulator], stage: Stage, heard: Heard) -> None:
    simulator = own("vcenter")
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)

    assert Watch(session, CLOCK, stage.log, heard).stop(soon())
