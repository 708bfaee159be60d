"""The one waiter for tasks. The simulator's own tasks have ended when their id is known; those that go on are made up by us."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from pyVmomi import vim

from tests.vsphere.servers import line_to
from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.clock import Deadline
from vmdkvol.errors import HypervisorUnreachable, NoSpace, StillWorking, UnknownTask, VolumeError
from vmdkvol_esx.ports import TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.tasks import Waiter

pytestmark = pytest.mark.integration
PATIENCE_S = 60.0


def nothing(percent: int) -> None:
    """Nobody wants to know."""


class Waits:
    """Waits for a task on a thread of its own."""

    def __init__(self, waiter: Waiter, task: str, within_s: float = PATIENCE_S) -> None:
        self.percents: list[int] = []
        self.heard = threading.Condition()
        self.got: object = None
        self._thread = threading.Thread(target=self._wait, args=(waiter, TaskId(task), within_s), daemon=True)
        self._thread.start()

    def _wait(self, waiter: Waiter, task: TaskId, within_s: float) -> None:
        try:
            self.got = waiter.wait(task, "attaching x", Deadline.after(CLOCK, within_s), self._progress)
        except VolumeError as error:
            self.got = error

    def _progress(self, percent: int) -> None:
        with self.heard:
            self.percents.append(percent)
            self.heard.notify_all()

    def told(self, percent: int) -> bool:
        """Wait until this percent was told; 0 is told when the wait has begun."""
        with self.heard:
            return self.heard.wait_for(lambda: percent in self.percents, PATIENCE_S)

    def end(self) -> object:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.got


@pytest.fixture
def session(shared: Simulator, stage: Stage) -> Session[Service]:
    return stage.session(shared.port, Trust(ca=shared.ca), password=shared.password)


@pytest.fixture
def waiter(session: Session[Service], stage: Stage) -> Iterator[Waiter]:
    made = Waiter(session, CLOCK, stage.log)
    yield made
    made.close(soon())


@pytest.mark.vcsim_pure
def test_a_task_that_has_ended_costs_one_read(shared: Simulator, session: Session[Service], waiter: Waiter) -> None:
    def create(service: Service) -> str:
        place = "datacenter-2" if service.content.about.apiType == "VirtualCenter" else "ha-datacenter"
        spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(diskType="thin", adapterType="lsiLogic", capacityKb=1024)
        name = f"[LocalDS_0] one-read-{shared.model}.vmdk"
        task = service.content.virtualDiskManager.CreateVirtualDisk(name, vim.Datacenter(place, service.stub), spec)
        return str(task._moId)

    task = session.change("creating a disk", create, soon())
    before = sum(shared.calls().values())

    waiter.wait(TaskId(task), "creating a disk", soon(), nothing)

    assert sum(shared.calls().values()) == before + 1


@pytest.mark.vcsim_pure
def test_a_task_that_nobody_knows_is_unknown_and_not_failed(waiter: Waiter) -> None:
    with pytest.raises(UnknownTask, match="attaching x: task task-9999 is not known any more"):
        waiter.wait(TaskId("task-9999"), "attaching x", soon(), nothing)


@pytest.mark.vcsim_injected
def test_a_task_is_waited_for_with_its_percent_and_its_result(shared: Simulator, waiter: Waiter) -> None:
    task = shared.new_task()
    waiting = Waits(waiter, task)
    assert waiting.told(0)
    shared.steer(task, "progress", 30)
    assert waiting.told(30)
    shared.steer(task, "succeed")

    assert waiting.end() == "made"


@pytest.mark.vcsim_injected
def test_a_task_that_fails_says_with_what(shared: Simulator, waiter: Waiter) -> None:
    task = shared.new_task()
    waiting = Waits(waiter, task)
    assert waiting.told(0)
    shared.steer(task, "fail")

    got = waiting.end()

    assert isinstance(got, NoSpace)
    assert "attaching x: the datastore is full" in str(got)


@pytest.mark.vcsim_injected
def test_many_tasks_have_one_waiter_and_each_its_own_end(shared: Simulator, waiter: Waiter) -> None:
    tasks = [shared.new_task() for _ in range(20)]
    waiting = [Waits(waiter, task) for task in tasks]
    assert all(each.told(0) for each in waiting)
    before = shared.calls().get("CreateListView", 0)
    for number, task in enumerate(tasks):
        shared.steer(task, "succeed" if number % 2 else "fail")

    ends = [each.end() for each in waiting]

    assert [each == "made" for each in ends] == [bool(number % 2) for number in range(20)]
    assert [isinstance(each, NoSpace) for each in ends] == [not number % 2 for number in range(20)]
    assert shared.calls().get("CreateListView", 0) == before


@pytest.mark.vcsim_injected
def test_two_who_wait_for_one_task_both_hear_its_end(shared: Simulator, waiter: Waiter) -> None:
    task = shared.new_task()
    waiting = [Waits(waiter, task) for _ in range(2)]
    assert all(each.told(0) for each in waiting)
    shared.steer(task, "succeed")

    assert [each.end() for each in waiting] == ["made", "made"]


@pytest.mark.vcsim_injected
def test_a_task_that_never_ends_goes_on_after_the_deadline(shared: Simulator, waiter: Waiter) -> None:
    task = shared.new_task()

    got = Waits(waiter, task, within_s=1.0).end()

    assert isinstance(got, StillWorking)
    shared.steer(task, "succeed")
    assert waiter.wait(TaskId(task), "attaching x", soon(), nothing) == "made"


@pytest.mark.vcsim_injected
def test_a_task_that_vanishes_is_unknown_and_the_others_are_waited_for(
    shared: Simulator, session: Session[Service], stage: Stage
) -> None:
    """The simulator gives no hint of it, and need not: it is looked at now and then."""
    waiter = Waiter(session, CLOCK, stage.log, look_s=1.0)
    gone, stays = shared.new_task(), shared.new_task()
    waiting = [Waits(waiter, task) for task in (gone, stays)]
    assert all(each.told(0) for each in waiting)
    shared.steer(gone, "forget")

    assert isinstance(waiting[0].end(), UnknownTask)
    shared.steer(stays, "succeed")
    assert waiting[1].end() == "made"
    waiter.close(soon())


@pytest.mark.vcsim_injected
def test_an_end_that_came_while_the_line_was_down_is_seen(shared: Simulator, stage: Stage) -> None:
    with line_to(shared.port) as line:
        session = stage.session(line.port, Trust(ca=shared.ca), password=shared.password)
        waiter = Waiter(session, CLOCK, stage.log)
        task = shared.new_task()
        waiting = Waits(waiter, task)
        assert waiting.told(0)
        line.refusing = True
        line.cut()
        shared.steer(task, "succeed")
        line.refusing = False

        assert waiting.end() == "made"
        waiter.close(soon())


@pytest.mark.vcsim_injected
@pytest.mark.parametrize("model", ["vcenter", "esxi"])
def test_after_a_restart_of_the_server_its_tasks_are_unknown_and_new_ones_are_waited_for(
    own: Callable[[Model], Simulator], stage: Stage, model: Model
) -> None:
    simulator = own(model)
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    waiter = Waiter(session, CLOCK, stage.log)
    before = Waits(waiter, simulator.new_task())
    assert before.told(0)
    simulator.kill()
    simulator.again()

    assert isinstance(before.end(), UnknownTask)
    task = simulator.new_task()
    after = Waits(waiter, task)
    assert after.told(0)
    simulator.steer(task, "succeed")
    assert after.end() == "made"
    waiter.close(soon())


@pytest.mark.vcsim_injected
def test_at_a_stop_who_waits_is_let_go_and_the_thread_ends(shared: Simulator, session: Session[Service], stage: Stage) -> None:
    waiter = Waiter(session, CLOCK, stage.log)
    waiting = Waits(waiter, shared.new_task())
    assert waiting.told(0)

    waiter.close(soon())

    got = waiting.end()
    assert isinstance(got, HypervisorUnreachable)
    assert "the task goes on" in str(got)
    assert [line for line in stage.log.lines if "not watched" in line] == []
    assert not [each.name for each in threading.enumerate() if each.name == "vsphere-tasks" and each.is_alive()]
