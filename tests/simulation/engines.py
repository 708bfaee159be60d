"""What Docker does on the hosts of a world, call by call, and what it makes of the answers (docker-facts 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.invariants import LIMITS, Container, Ticket, payload
from tests.simulation.lives import Killed
from tests.simulation.world import Agent, Host, World
from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.messages import Call
from vmdkvol.names import VolumeRef
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import LIVE_STATES, VmId
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_guest.ports import MountTarget

# How long Docker itself waits for an answer (faults 1.8).
DOCKER_S = {"create": 120.0, "mount": 120.0, "unmount": 60.0, "remove": 60.0, "get": 60.0, "list": 60.0}


class Engines:
    """One Docker engine on each host. Each method is one command of a user; none of them raises."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._oracle = world.oracle
        self.under_way = 0
        self._pids = iter(range(1000, 1 << 30))
        self._records = iter(range(1 << 30))
        # Ids that may hold a volume on a host: asked for, and not known to be given back.
        self._ids: dict[tuple[VmId, str], set[str]] = {}
        # Names that a host was the last to create or remove, so that its own List must know of it.
        self.mine: dict[str, set[str]] = {host.letter: set() for host in world.hosts}

    # --- calls ---------------------------------------------------------------------------------------------------

    def _call(
        self, host: Host, kind: str, name: str, work: Callable[[Agent, Deadline], Any], mount_id: str = ""
    ) -> tuple[Ticket, bool, Any]:
        """Return the call, whether it was answered with success, and its result."""
        world = self._world
        ticket = self._oracle.begin(kind, host.vm, name)
        agent, error, dead, result = host.agent, None, False, None
        if agent is None:
            self._oracle.end(ticket, None, dead=True, excused=True, truth=world.datacenter.truth())
            return ticket, False, None
        self.under_way += 1
        world.tell(f"docker {host.letter}: {kind} {name} {mount_id[:4]} ...")
        try:
            with world.clock.inside(agent.life.process):
                # A process that is stopped does not even read the request.
                world.clock.give_way()
                result = work(agent, Deadline.after(world.clock, LIMITS[kind]))
        except VolumeError as raised:
            error = raised
        except Killed:
            dead = True
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is a finding
            self._oracle.fail("bug", f"{kind} {name} raised {raised!r}")
            dead = True
        self.under_way -= 1
        stopped = agent.life.stopped_since(ticket.since)
        # Docker has gone when its own time was over: nobody heard the answer.
        left = world.clock.monotonic() - ticket.since > DOCKER_S[kind]
        excused = dead or agent.life.over or stopped
        dead = dead or agent.life.over or left
        world.tell(f"docker {host.letter}: {kind} {name} {mount_id[:4]} {'died' if dead else error or 'OK'}")
        self._oracle.end(ticket, error, dead=dead, excused=excused, truth=world.datacenter.truth())
        return ticket, error is None and not dead, result

    def create(self, host: Host, name: str, **opts: str) -> bool:
        opts = {key.replace("_", "-"): value for key, value in opts.items()}
        ticket, done, _ = self._call(host, "create", name, lambda agent, until: agent.driver.create(name, opts, until))
        if done:
            self._oracle.made_as_asked(ticket, opts.get("size"), self._world.datacenter.truth())
            self._changed_by(host, name)
        return done

    def remove(self, host: Host, name: str) -> bool:
        ticket, done, _ = self._call(host, "remove", name, lambda agent, until: agent.driver.remove(name, until))
        if done:
            self._changed_by(host, name)
        return done

    def grow(self, host: Host, name: str, more: int) -> None:
        """An administrator orders a size: the one that the volume of this name is recorded with, and ``more``."""
        world, service = self._world, self._world.serving
        record = next((each for each in world.store.page(None, None, 10_000) if self._is(each, host, name)), None)
        if service is None or record is None:
            return
        size_bytes, told = record.size_bytes + more, "died"
        order = ResizeVolume(volume=str(record.id), size_bytes=size_bytes)
        world.tell(f"administrator: grow {name} to {size_bytes >> 20} MiB ...")
        try:
            with world.clock.inside(service.life.process):
                world.clock.give_way()
                call = Call(world.new_id(), Deadline.after(world.clock, LIMITS["create"]))
                done = service.resizing.resize(order, call).done
            if not service.life.over and not done:
                # It goes on: nobody was told that the disk has this size.
                told = "task"
            elif not service.life.over:
                told = "ok"
                self._oracle.resized(record.disk_uuid, size_bytes, world.datacenter.truth())
        except VolumeError as error:
            told = error.code
            self._oracle.not_resized(name, error)
        except Killed:
            told = "died"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._oracle.fail("bug", f"grow {name} raised {error!r}")
        self._oracle.count(f"grow {told}")
        world.tell(f"administrator: grow {name} {told}")

    def _is(self, record: VolumeRecord, host: Host, name: str) -> bool:
        return str(record.vmgroup) == host.group and record.name == name and record.state in LIVE_STATES

    def _changed_by(self, host: Host, name: str) -> None:
        for letter, names in self.mine.items():
            (names.add if letter == host.letter else names.discard)(name)

    def get(self, host: Host, name: str) -> Any:
        ticket, done, shown = self._call(host, "get", name, lambda agent, _: agent.driver.get(name))
        if done:
            status = shown.status
            self._oracle.shown(ticket, stale=status["stale"], preparing=status["state"] != "ready")
        return shown

    def list(self, host: Host) -> set[str] | None:
        before, mine = self._oracle.names(), set(self.mine[host.letter])
        _, done, shown = self._call(host, "list", "", lambda agent, _: agent.driver.list())
        if not done:
            return None
        names = {volume.name for volume in shown}
        self._oracle.listed(host.vm, names, before, mine)
        return names

    # --- containers ----------------------------------------------------------------------------------------------

    def _mount(self, host: Host, name: str, mount_id: str) -> tuple[bool, Container | None]:
        self._ids.setdefault((host.vm, name), set()).add(mount_id)
        agent = host.agent
        ticket, done, path = self._call(
            host, "mount", name, lambda agent, until: agent.driver.mount(name, mount_id, until), mount_id
        )
        if not done:
            if path is not None or (agent is not None and agent.life.over):
                # Docker forgets the id. An agent that died on the way, or whose answer nobody heard, may keep it as a
                # holder; a refusal drops it.
                self._oracle.ghosts.add((host.vm, mount_id))
            return False, None
        truth = self._world.datacenter.truth()
        disk = self._oracle.mounted(ticket, path, truth)
        if disk is None:
            return True, None
        volume = next(volume for volume in host.guest.table if str(volume) == path.split("/")[-2])
        number = host.guest.table[volume].number
        now = self._world.clock.monotonic()
        key = self._oracle.key(host.vm, name)
        return True, Container(host.vm, name, key, volume, disk, number, mount_id, next(self._pids), now)

    def _unmount(self, host: Host, name: str, mount_id: str) -> bool:
        _, done, _ = self._call(
            host, "unmount", name, lambda agent, until: agent.driver.unmount(name, mount_id, until), mount_id
        )
        holding = self._ids[host.vm, name]
        if done:
            holding.discard(mount_id)
            if not holding:
                self._oracle.unmounted(host.vm, name)
        else:
            self._oracle.ghosts.add((host.vm, mount_id))
        return done

    def run(self, host: Host, name: str, *, pause_s: float = 0.0) -> Container | None:
        """Start a container; between Mount's answer and its namespace Docker does other things."""
        mount_id = self._world.new_id().hex * 2
        done, container = self._mount(host, name, mount_id)
        if container is None:
            return None
        self._oracle.containers.append(container)
        self.under_way += 1
        self._world.clock.sleep(pause_s)
        self.under_way -= 1
        known = host.guest.plugged.get(container.number)
        if known is not None and container in self._oracle.containers:
            known.elsewhere.append(MountTarget(container.pid, "/data", "/data"))
            container.runs = True
        return container

    def stop(self, container: Container, *, tell: bool = True) -> None:
        """End a container; ``tell`` False: its Unmount is never sent (docker-facts 1.5)."""
        host = self.host_of(container)
        if container.locked or not self._end(container):
            return
        if tell:
            self._unmount(host, container.name, container.mount_id)
        else:
            self._oracle.ghosts.add((host.vm, container.mount_id))

    def _end(self, container: Container) -> bool:
        """The container's processes and its namespace are gone."""
        if container not in self._oracle.containers:
            return False
        self._oracle.containers.remove(container)
        host = self.host_of(container)
        host.guest.leave(container.number, container.pid)
        return True

    def copy(self, container: Container) -> None:
        """`docker cp` on a running container: Mount and Unmount with its live id, under it (docker-facts 2.7)."""
        if container.locked or container not in self._oracle.containers:
            return
        host = self.host_of(container)
        container.held, container.locked = False, True
        done, _ = self._mount(host, container.name, container.mount_id)
        if done:
            self._unmount(host, container.name, container.mount_id)
        container.locked = False

    def copy_unused(self, host: Host, name: str) -> None:
        """`docker cp` on a stopped container."""
        mount_id = self._world.new_id().hex * 2
        done, _ = self._mount(host, name, mount_id)
        if done:
            self._unmount(host, name, mount_id)

    def write(self, container: Container, *, synced: bool) -> None:
        """The container writes the next record and, perhaps, syncs it."""
        guest = self.host_of(container).guest
        known = guest.plugged.get(container.number)
        if known is None or not any(target.pid == container.pid for target in known.elsewhere):
            return
        record = next(self._records)
        with guest.changed:
            disk = self._world.disks[container.disk]
            if disk.full or guest.reads_only(container.volume):
                return
            disk.now = replace(disk.now, files={**disk.now.files, f"r{record}": payload(record)})
            if synced and guest.syncs:
                disk.durable = disk.now
        self._oracle.wrote(container.disk, record, synced=synced)

    # --- the machine ---------------------------------------------------------------------------------------------

    def restart_engine(self, host: Host, *, live_restore: bool = False) -> None:
        """dockerd is killed and comes up again. Without live-restore its containers end without a word (docker-facts 1.5)."""
        self._world.tell(f"docker {host.letter} is killed")
        for container in [each for each in self._oracle.containers if each.host == host.vm and not live_restore]:
            self._end(container)
            self._oracle.ghosts.add((host.vm, container.mount_id))
        if host.agent is not None:
            with self._world.clock.inside(host.agent.life.process):
                self._world.clock.give_way()
                # It may have died while the engine came up.
                if host.agent is not None:
                    host.agent.reconcile.activated()

    def power_off(self, host: Host, seconds: float) -> None:
        """The machine loses power; its disks stay in the VM's list."""
        for container in [each for each in self._oracle.containers if each.host == host.vm]:
            self._oracle.containers.remove(container)
        self._world.power_off(host, seconds)
        for known in host.guest.plugged.values():
            self._oracle.lost_power(known.device.disk_uuid)

    def hold_foreign(self, host: Host, which: int, seconds: float) -> None:
        """Somebody's mount namespace keeps a copy of a mount, beyond the container's end."""
        mounted = [number for number in host.guest.plugged if self._in_use(host, number)]
        if not mounted:
            return
        number, pid = mounted[which % len(mounted)], next(self._pids)
        host.guest.plugged[number].elsewhere.append(MountTarget(pid, "/foreign", "/data"))
        self._world.later(seconds, lambda: host.guest.leave(number, pid))

    def _in_use(self, host: Host, number: tuple[int, int]) -> bool:
        return any(entry.number == number for entry in host.guest.table.values())

    def host_of(self, container: Container) -> Host:
        return next(host for host in self._world.hosts if host.vm == container.host)


def clone_of(name: str) -> dict[str, str]:
    return {"clone_from": str(VolumeRef.parse(name))}
