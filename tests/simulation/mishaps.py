"""What goes wrong in a run: each method is one kind of step that no user wants."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from tests.doubles.memory_disks import Content
from vmdkvol.clock import Deadline
from vmdkvol.errors import HypervisorUnreachable, NoSpace, VolumeError
from vmdkvol.messages import Attach, Call, Detach, Keep, Mark, RemoveVolume, Request
from vmdkvol.points import Point
from vmdkvol.volume import Content as Recorded
from vmdkvol.volume import DiskUuid, VolumeId

if TYPE_CHECKING:
    from tests.simulation.runs import Run

# A hostile guest's call ends before the next step begins, whatever hangs.
_HOSTILE_S = 5.0


class Mishaps:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._world = run.world
        self._engines = run.engines

    # --- processes -------------------------------------------------------------------------------------------------

    def kill_agent(self, host: int, back_s: float) -> None:
        on = self._run.host(host)
        on.back_s = back_s
        if on.agent is not None:
            on.agent.life.kill()

    def arm_agent(self, host: int, point: str, nth: int, back_s: float) -> None:
        on = self._run.host(host)
        on.back_s = back_s
        if on.agent is not None:
            on.agent.life.arm(Point(point), nth)

    def kill_service(self, back_s: float) -> None:
        self._world.service_back_s = back_s
        if self._world.service is not None:
            self._world.service.life.kill()

    def arm_service(self, point: str, nth: int, back_s: float) -> None:
        self._world.service_back_s = back_s
        if self._world.service is not None:
            self._world.service.life.arm(Point(point), nth)

    def freeze_agent(self, host: int, seconds: float) -> None:
        agent = self._run.host(host).agent
        self._world.freeze(None if agent is None else agent.life, seconds)

    def freeze_service(self, seconds: float) -> None:
        service = self._world.service
        self._world.freeze(None if service is None else service.life, seconds)

    def mkfs_dies(self, host: int, seconds: float, back_s: float) -> None:
        """The agent is killed in mkfs, which goes on for a while (corrections 10)."""
        on = self._run.host(host)
        on.back_s = back_s
        on.guest.die_in_make = True
        self._world.later(seconds, partial(self._world.finish_mkfs, on))

    def clock_jumps(self, who: str, seconds: float) -> None:
        """The wall clock of some processes is set (F33); of those that come later, not."""
        if who in ("service", "both") and self._world.service is not None:
            self._world.service.life.process.wall_ahead_s += seconds
        for host in self._world.hosts:
            if who in ("agents", "both") and host.agent is not None:
                host.agent.life.process.wall_ahead_s += seconds

    # --- machines --------------------------------------------------------------------------------------------------

    def engine_restarts(self, host: int, left_alone_s: float, *, live_restore: bool) -> None:
        """``left_alone_s``: long enough for what is held by nobody to be given back (corrections 5)."""
        self._engines.restart_engine(self._run.host(host), live_restore=live_restore)
        self._world.clock.sleep(left_alone_s)

    def power_off(self, host: int, seconds: float, back_s: float) -> None:
        on = self._run.host(host)
        on.back_s = back_s
        self._engines.power_off(on, seconds)

    def busy(self, which: int, seconds: float) -> None:
        """A process of the host works in the mount of a container that stops, so that it cannot be unmounted for a while."""
        container = self._run.container(which)
        if container is None:
            return
        guest = self._engines.host_of(container).guest
        with guest.changed:
            guest.busy.add(container.volume)
        self._world.later(seconds, lambda: guest.leave_alone(container.volume))
        self._engines.stop(container)

    def overwritten(self, which: int) -> None:
        """Somebody makes a file system on a disk that no machine has: whatever was there is gone, and this must stay."""
        world, truth, free = self._world, self._world.datacenter.truth(), self._overwritable()
        if free and not truth.open_tasks and not world.store.open_intents() and not self._engines.under_way:
            disk = free[which % len(free)]
            world.disks[disk].put(Content("ext4", world.new_id()))
            world.oracle.overwritten(disk)

    def _overwritable(self) -> list[DiskUuid]:
        """Return the disks that no machine has."""
        truth = self._world.datacenter.truth()
        return sorted(set(truth.disks) - set(truth.holders), key=str)

    def overwritten_half_made(self, host: int, back_s: float) -> None:
        """The same, to a disk whose file system was being made when the agent was killed; then the volume is wanted again."""
        on, name = self._run.host(host), self._run.new_name()
        if not self._engines.create(on, name) or on.agent is None:
            return
        on.back_s = back_s
        on.agent.life.arm(Point.FORMAT_MADE, 1)
        self._engines.run(on, name)
        self._world.clock.sleep(90.0)
        made = [uuid for uuid, disk in self._world.datacenter.truth().disks.items() if disk.note["name"] == name]
        free = self._overwritable()
        if made and made[0] in free:
            self.overwritten(free.index(made[0]))
        self._engines.run(on, name)

    def by_hand(self, host: int, which: int) -> None:
        """An administrator attaches a disk to a machine without asking the service (T13)."""
        world, on, truth = self._world, self._run.host(host), self._world.datacenter.truth()
        own = {uuid for uuid, disk in truth.disks.items() if disk.note["vmgroup"] == on.group}
        free = sorted(own - set(truth.holders), key=str)
        if free and not truth.open_tasks and not world.store.open_intents() and not self._engines.under_way:
            world.datacenter.attach_by_hand(on.vm, truth.disks[free[which % len(free)]].ref)

    def moved(self, host: int, which: int) -> None:
        """Storage vMotion: a disk that a machine has lies elsewhere from now on, under another name (F19)."""
        world, on = self._world, self._run.host(host)
        truth = world.datacenter.truth()
        held = sorted((uuid for uuid, vm in truth.holders.items() if vm == on.vm), key=str)
        if held and not truth.open_tasks:
            disk = held[which % len(held)]
            place = truth.disks[disk].ref.path
            world.oracle.moved_from(truth.disks[disk].ref)
            world.datacenter.move(disk, replace(place, path=f"{on.letter}/{on.letter}_{world.new_id().hex[:8]}.vmdk"))

    def foreign(self, host: int, which: int, seconds: float) -> None:
        self._engines.hold_foreign(self._run.host(host), which, seconds)

    # --- the network -----------------------------------------------------------------------------------------------

    def cut(self, host: int, seconds: float, name: int) -> None:
        on = self._run.host(host)
        self._world.break_line(on, seconds)
        self._run.call("beside", lambda: self._engines.get(on, self._run.name(on, name)))

    def lose_answer(self, host: int) -> None:
        self._run.host(host).loses_next = True

    def messages(self, host: int, what: str, seconds: float) -> None:
        self._run.host(host).cable.disturb(what, seconds)

    def stall(self, seconds: float) -> None:
        """The service hangs: it takes calls and begins none."""
        self._world.stalled_until = self._world.clock.monotonic() + seconds

    def stall_a_detach(self, which: int, how: str) -> None:
        """The service hangs as a linger ends, for longer than the Detach is waited for; then the volume is wanted again."""
        users = Counter(container.disk for container in self._world.oracle.containers)
        container = self._run.container(which)
        if container is not None and users[container.disk] == 1:
            host, name = self._engines.host_of(container), container.name
            self._engines.stop(container)
            self._world.clock.sleep(9.0)
            self.stall(130.0)
            self._world.clock.sleep(45.0)
            self._run.call(how, lambda: self._engines.run(host, name))

    def hostile(self, host: int, which: int, what: str) -> None:
        """A guest asks for any volume by its id, also of another vmgroup: nothing that the oracle sees may come of it."""
        on, disks = self._run.host(host), self._world.datacenter.truth().disks.values()
        foreign = sorted(disk.note["volume"] for disk in disks if disk.note["vmgroup"] != on.group)
        if on.agent is None or not foreign:
            return
        volume = VolumeId(UUID(foreign[which % len(foreign)]))
        request: Request[object] = {
            "attach": Attach(volume),
            "detach": Detach(volume, 1 + which),
            "mark": Mark(volume, 1 + which, Recorded.FORMATTED, self._world.new_id()),
            "remove": RemoveVolume(volume),
            "keep": Keep(volume),
        }[what]
        agent = on.agent

        def ask() -> None:
            call = Call(self._world.new_id(), Deadline.after(self._world.clock, _HOSTILE_S))
            try:
                with self._world.clock.inside(agent.life.process):
                    agent.line.ask(request, call)
                self._world.oracle.count(f"hostile {what} ok")
            except VolumeError as error:
                self._world.oracle.count(f"hostile {what} {error.code}")

        self._world.beside("hostile", ask)

    # --- the hypervisor --------------------------------------------------------------------------------------------

    def hypervisor(self, what: str, host: int, volume: int | None) -> None:
        datacenter, on = self._world.datacenter, self._run.host(host)
        match what:
            case "refuses":
                datacenter.refuse(HypervisorUnreachable("the hypervisor does not answer"))
            case "does, answer lost":
                datacenter.lose_answer(done=True)
                # So that it strikes an attach or a create, more often than not.
                if volume is None:
                    name = self._run.new_name()
                    self._run.call("again", lambda: self._engines.create(on, name))
                else:
                    self._run.start(host, volume, "now", 0.0)
            case "answer lost":
                datacenter.lose_answer(done=False)
            case "no space":
                datacenter.fail(NoSpace("no space left"))
            case "does it twice":
                datacenter.do_twice()
            case _:
                datacenter.forget_tasks()

    def hang(self, method: str, seconds: float | None, *, done: bool) -> None:
        self._world.moods.hang(method, seconds, done=done)

    def wrong_object(self, method: str, times: int) -> None:
        self._world.moods.answer_wrong(method, times)

    def fill(self, seconds: float) -> None:
        self._world.fill(full=True)
        self._world.later(seconds, lambda: self._world.fill(full=False))

    def unread(self, host: int, seconds: float) -> None:
        self._world.unread(self._run.host(host).vm, seconds)
