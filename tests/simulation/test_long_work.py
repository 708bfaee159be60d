"""A hypervisor that takes 300 s for everything: each answer comes inside Docker's limits, and the repeat finds the same work.

The real agent and the real service on a seeded clock: minutes of waiting are milliseconds here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.simulation.invariants import GRACE_S, LIMITS
from tests.simulation.lives import Killed
from tests.simulation.steps import Setup
from tests.simulation.world import Agent, Host, World
from vmdkvol.clock import Deadline
from vmdkvol.errors import NameConflict, StillWorking, VolumeError
from vmdkvol.volume import State
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk
from vmdkvol_guest.driver import Shown

TASK_S = 300.0
EAGER = {"size": "20gb", "diskformat": "eagerzeroedthick"}
CHANGES: tuple[type[Change], ...] = (CreateDisk, CloneDisk, DeleteDisk, AttachDisk, DetachDisk)
# Of the schedules. More: ``VMDKVOL_LONG_SEEDS=50 pytest tests/simulation/test_long_work.py``.
SEEDS = range(int(os.environ.get("VMDKVOL_LONG_SEEDS", "2")))


@dataclass(frozen=True, slots=True)
class Answer:
    """What Docker was told, and after how many seconds. ``error`` is None for a success."""

    kind: str
    began: float
    seconds: float
    error: VolumeError | None
    result: Any = None

    @property
    def line(self) -> str:
        return str(self.error)


class Docker:
    """Docker on the hosts of a world. ``answers`` is everything that it was told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: list[Answer] = []

    def call(self, kind: str, host: Host, work: Callable[[Agent, Deadline], Any]) -> Answer:
        agent, began, error, result = host.agent, self.world.clock.monotonic(), None, None
        assert agent is not None
        try:
            result = work(agent, Deadline.after(self.world.clock, LIMITS[kind]))
        except VolumeError as raised:
            error = raised
        answer = Answer(kind, began, self.world.clock.monotonic() - began, error, result)
        self.answers.append(answer)
        return answer

    def create(self, host: Host, name: str, **opts: str) -> Answer:
        opts = {key.replace("_", "-"): value for key, value in opts.items()}
        return self.call("create", host, lambda agent, until: agent.driver.create(name, opts, until))

    def mount(self, host: Host, name: str) -> Answer:
        """Each try has an id of its own, as Docker's have (corrections 7)."""
        mount_id = self.world.new_id().hex * 2
        answer = self.call("mount", host, lambda agent, until: agent.driver.mount(name, mount_id, until))
        return Answer("mount", answer.began, answer.seconds, answer.error, mount_id)

    def unmount(self, host: Host, name: str, mount_id: str) -> Answer:
        return self.call("unmount", host, lambda agent, until: agent.driver.unmount(name, mount_id, until))

    def remove(self, host: Host, name: str) -> Answer:
        return self.call("remove", host, lambda agent, until: agent.driver.remove(name, until))

    def get(self, host: Host, name: str) -> Answer:
        return self.call("get", host, lambda agent, _: agent.driver.get(name))

    def names(self, host: Host) -> set[str]:
        answer = self.call("list", host, lambda agent, _: agent.driver.list())
        assert answer.error is None
        return {shown.name for shown in answer.result}

    def until_done(self, call: Callable[[], Answer], most: int = 10) -> list[Answer]:
        """Repeat the command as a user does who is told to; return all its answers, the last of them a success."""
        given: list[Answer] = []
        for _ in range(most):
            given.append(call())
            if given[-1].error is None:
                return given
            assert isinstance(given[-1].error, StillWorking), given[-1].line
            self.world.clock.sleep(1.0)
        raise AssertionError(f"not done after {most} calls: {given[-1].line}")

    def beside(self, call: Callable[[], Answer]) -> list[Answer]:
        """Make the call beside; its answer is in the list once it has come."""
        came: list[Answer] = []

        def work() -> None:
            try:
                came.append(call())
            except Killed:
                pass

        self.world.clock.start("docker", work)
        return came


@pytest.fixture(params=SEEDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(Setup(number=request.param))
    with world:
        world.clock.sleep(1.0)
        yield world
        assert world.oracle.broken == []


@pytest.fixture
def docker(world: World) -> Iterator[Docker]:
    docker = Docker(world)
    yield docker
    # What all of this is about: every answer, whatever the test did, came inside the limit of its kind.
    late = [answer for answer in docker.answers if answer.seconds > LIMITS[answer.kind] + GRACE_S]
    assert late == []


def slow(world: World, *kinds: type[Change]) -> None:
    for kind in kinds or CHANGES:
        world.datacenter.takes(kind, TASK_S)


def done(world: World, kind: type[Change]) -> int:
    """Return how many changes of this class the hypervisor has carried out."""
    return world.oracle.counts.get(kind.__name__, 0)


def progress(shown: Shown) -> dict[str, Any]:
    assert shown.status is not None
    found = shown.status["progress"]
    assert isinstance(found, dict)
    return found


def state(shown: Shown) -> str:
    assert shown.status is not None
    return str(shown.status["state"])


def percents(answers: list[Answer]) -> list[int]:
    return [int(str(answer.error.fields["percent"])) for answer in answers if answer.error is not None]


# --- create ------------------------------------------------------------------------------------------------------


def test_a_slow_create_is_told_in_time_and_the_repeat_finds_the_same_work(world: World, docker: Docker) -> None:
    slow(world)
    host = world.hosts[0]

    given = docker.until_done(lambda: docker.create(host, "big", **EAGER))

    assert len(given) >= 3
    assert percents(given) == sorted(percents(given))
    assert percents(given)[0] > 20
    assert done(world, CreateDisk) == 1
    assert world.clock.monotonic() < TASK_S + 20.0


def test_the_line_says_what_how_far_how_long_and_what_to_do(world: World, docker: Docker) -> None:
    slow(world)

    line = docker.create(world.hosts[0], "big", **EAGER).line

    assert line.startswith("volume big: still being created, 3")
    assert " % done, about 3 minutes left; it goes on; repeat the command or mount it when ready [still-working]" in line


def test_get_shows_it_preparing_with_a_percent_that_never_falls_and_list_hides_it(world: World, docker: Docker) -> None:
    """Corrections 11."""
    slow(world)
    host, seen = world.hosts[0], list[int]()
    creating = docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(2.0)

    while world.clock.monotonic() < TASK_S:
        shown = docker.get(host, "big").result
        assert state(shown) == "preparing"
        assert "big" not in docker.names(host)
        seen.append(progress(shown)["percent"])
        world.clock.sleep(7.0)
    world.clock.sleep(20.0)

    assert isinstance(creating[0].error, StillWorking)
    assert seen == sorted(seen)
    assert len(set(seen)) > 30
    assert state(docker.get(host, "big").result) == "ready"
    assert docker.names(host) == {"big"}


def test_two_hosts_that_create_one_name_get_one_volume(world: World, docker: Docker) -> None:
    slow(world)
    first, second = world.hosts[0], world.hosts[1]
    other = docker.beside(lambda: docker.until_done(lambda: docker.create(second, "big", **EAGER))[-1])

    docker.until_done(lambda: docker.create(first, "big", **EAGER))
    world.clock.sleep(120.0)

    assert other[0].error is None
    assert done(world, CreateDisk) == 1


def test_other_options_are_a_conflict_at_once(world: World, docker: Docker) -> None:
    slow(world)
    host = world.hosts[0]
    docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(5.0)

    for each in world.hosts[:2]:
        answer = docker.create(each, "big", size="10gb")
        assert isinstance(answer.error, NameConflict)
        assert answer.seconds < 2.0


def test_a_clone_is_told_and_joined_like_a_create(world: World, docker: Docker) -> None:
    host = world.hosts[0]
    assert docker.create(host, "src", size="1gb").error is None
    slow(world)

    given = docker.until_done(lambda: docker.create(host, "copy", clone_from="src"))

    assert given[0].line.startswith("volume copy: still being cloned, ")
    assert done(world, CloneDisk) == 1


def test_a_source_that_lingers_through_a_slow_detach_is_waited_for(world: World, docker: Docker) -> None:
    host = world.hosts[0]
    docker.create(host, "src", size="1gb")
    mounted = docker.mount(host, "src")
    docker.unmount(host, "src", mounted.result)
    slow(world, DetachDisk)

    given = docker.call("create", host, lambda agent, until: agent.driver.create("copy", {"clone-from": "src"}, until))
    world.clock.sleep(TASK_S + 60.0)

    assert given.error is not None
    assert docker.create(host, "copy", clone_from="src").error is None
    assert done(world, CloneDisk) == 1


# --- mount joins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other_host", [False, True])
def test_a_mount_of_what_is_being_made_waits_for_it(world: World, docker: Docker, other_host: bool) -> None:
    slow(world, CreateDisk)
    docker.beside(lambda: docker.create(world.hosts[0], "big", **EAGER))
    world.clock.sleep(3.0)

    given = docker.until_done(lambda: docker.mount(world.hosts[1 if other_host else 0], "big"))

    assert given[0].line.startswith("volume big: still being created, 3")
    assert (done(world, CreateDisk), done(world, AttachDisk)) == (1, 1)
    assert world.clock.monotonic() < TASK_S + 30.0


def test_a_mount_that_gave_up_attaches_nothing_when_it_is_made(world: World, docker: Docker) -> None:
    slow(world, CreateDisk)
    host = world.hosts[0]
    docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(3.0)
    assert isinstance(docker.mount(host, "big").error, StillWorking)

    world.clock.sleep(TASK_S)

    assert state(docker.get(host, "big").result) == "ready"
    assert done(world, AttachDisk) == 0


# --- remove ------------------------------------------------------------------------------------------------------


def test_what_is_being_made_is_not_removed_now_and_not_later(world: World, docker: Docker) -> None:
    slow(world, CreateDisk)
    host = world.hosts[0]
    docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(30.0)

    answer = docker.remove(host, "big")
    world.clock.sleep(TASK_S)

    assert answer.seconds < 2.0
    assert "cannot be removed yet: still being created, " in answer.line
    assert "wait until it is ready, then remove it [still-working]" in answer.line
    assert state(docker.get(host, "big").result) == "ready"
    assert docker.remove(host, "big").error is None


def test_a_slow_deletion_keeps_nobody_waiting(world: World, docker: Docker) -> None:
    host = world.hosts[0]
    docker.create(host, "db", size="1gb")
    slow(world, DeleteDisk)

    answer = docker.remove(host, "db")

    assert answer.error is None
    assert answer.seconds < 15.0
    assert docker.create(host, "db", size="1gb").error is None
    world.clock.sleep(TASK_S + 60.0)
    assert done(world, DeleteDisk) == 1
    assert len(world.datacenter.truth().disks) == 1


# --- attach and detach -------------------------------------------------------------------------------------------


def test_a_slow_attach_is_told_in_time_and_the_next_mount_finds_it(world: World, docker: Docker) -> None:
    host = world.hosts[0]
    docker.create(host, "db", size="1gb")
    slow(world)

    given = docker.until_done(lambda: docker.mount(host, "db"))

    assert len(given) >= 3
    assert given[0].line.startswith("volume db: still being attached, 3")
    assert percents(given) == sorted(percents(given))
    assert done(world, AttachDisk) == 1


def test_an_unmount_answers_at_once_whatever_the_hypervisor_does(world: World, docker: Docker) -> None:
    host = world.hosts[0]
    docker.create(host, "db", size="1gb")
    mounted = docker.mount(host, "db")
    slow(world)

    answer = docker.unmount(host, "db", mounted.result)

    assert answer.error is None
    assert answer.seconds < 1.0


def test_a_mount_during_a_slow_detach_is_told_in_time_and_joins(world: World, docker: Docker) -> None:
    host = world.hosts[0]
    docker.create(host, "db", size="1gb")
    mounted = docker.mount(host, "db")
    slow(world, DetachDisk)
    docker.unmount(host, "db", mounted.result)
    world.clock.sleep(15.0)

    given = docker.until_done(lambda: docker.mount(host, "db"))

    assert given[0].line.startswith("volume db: still being detached, ")
    assert done(world, DetachDisk) == 1
    assert done(world, AttachDisk) == 2


def test_the_other_host_gets_a_disk_after_a_slow_detach(world: World, docker: Docker) -> None:
    first, second = world.hosts[0], world.hosts[1]
    docker.create(first, "db", size="1gb")
    mounted = docker.mount(first, "db")
    slow(world, DetachDisk)
    docker.unmount(first, "db", mounted.result)
    world.clock.sleep(15.0)

    given = docker.until_done(lambda: docker.mount(second, "db"))

    assert percents(given) == sorted(percents(given))
    assert done(world, DetachDisk) == 1
    assert len(world.datacenter.truth().holders) == 1


def test_a_lingering_volume_with_a_slow_detach_is_removed_by_the_repeat(world: World, docker: Docker) -> None:
    """Corrections 13."""
    host = world.hosts[0]
    docker.create(host, "db", size="1gb")
    mounted = docker.mount(host, "db")
    slow(world, DetachDisk)
    docker.unmount(host, "db", mounted.result)
    world.clock.sleep(1.0)

    given = docker.until_done(lambda: docker.remove(host, "db"), most=15)

    assert given[0].line.startswith("volume db: still being detached, ")
    assert given[0].seconds < 50.0
    assert done(world, DetachDisk) == 1
    assert world.datacenter.truth().disks == {}


# --- either side dies --------------------------------------------------------------------------------------------


def test_a_restarted_service_follows_the_task_by_its_id(world: World, docker: Docker) -> None:
    slow(world)
    host = world.hosts[0]
    creating = docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(60.0)
    before = progress(docker.get(host, "big").result)["percent"]
    assert world.service is not None
    world.service.life.kill()
    world.clock.sleep(30.0)

    shown = docker.get(host, "big").result
    docker.until_done(lambda: docker.create(host, "big", **EAGER))

    assert state(shown) == "preparing"
    assert progress(shown)["percent"] > before
    assert creating[0].seconds < LIMITS["create"]
    assert done(world, CreateDisk) == 1


def test_without_anybody_who_asks_a_restarted_service_ends_the_work(world: World, docker: Docker) -> None:
    slow(world)
    host = world.hosts[0]
    docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(60.0)
    assert world.service is not None
    world.service.life.kill()
    world.clock.sleep(TASK_S)

    assert state(docker.get(host, "big").result) == "ready"
    assert not world.store.open_intents()


def test_a_restarted_agent_joins_the_work(world: World, docker: Docker) -> None:
    slow(world)
    host = world.hosts[0]
    docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(60.0)
    assert host.agent is not None
    host.agent.life.kill()
    world.clock.sleep(30.0)

    docker.until_done(lambda: docker.create(host, "big", **EAGER))

    assert done(world, CreateDisk) == 1
    assert world.clock.monotonic() < TASK_S + 30.0


def test_a_client_that_hung_up_costs_nothing_but_its_work(world: World, docker: Docker) -> None:
    """Its call is dropped at its deadline, nothing is sent to it, and what it asked for is there."""
    slow(world)
    host, other = world.hosts[0], world.hosts[1]
    docker.beside(lambda: docker.create(host, "big", **EAGER))
    world.clock.sleep(60.0)
    world.break_line(host, 2 * TASK_S)

    world.clock.sleep(TASK_S)

    assert state(docker.get(other, "big").result) == State.READY.value
    assert done(world, CreateDisk) == 1


# --- with work under way, others go on ---------------------------------------------------------------------------


def test_other_volumes_do_not_wait(world: World, docker: Docker) -> None:
    slow(world)
    host = world.hosts[0]
    for number in range(20):
        docker.beside(lambda number=number: docker.create(host, f"big{number}", size="1gb"))  # type: ignore[misc]
    world.clock.sleep(5.0)
    for kind in CHANGES:
        world.datacenter.takes(kind, 0.0)

    answers = [docker.create(host, "db", size="1gb"), mounted := docker.mount(host, "db")]
    answers.append(docker.unmount(host, "db", mounted.result))

    assert [answer.error for answer in answers] == [None, None, None]
    assert max(answer.seconds for answer in answers) < 1.0
