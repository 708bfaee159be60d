"""What Docker does on the hosts of a world, call by call, and what it makes of the answers (docker-facts 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.invariants import LIMITS, Container, Ticket
from tests.simulation.lives import Killed
from tests.simulation.world import Agent, Host, World
from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.names import VolumeRef
from vmdkvol.volume import VmId
from vmdkvol_guest.ports import MountTarget


class Engines:
    """One Docker engine on each host. Each method is one command of a user; none of them raises."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._oracle = world.oracle
        self.under_way = 0
        self._pids = iter(range(1000, 1 << 30))
        # Names that a host was the last to create or remove, so that its own List must know of it.
        # Ids that may hold a volume on a host: asked for, and not known to be given back.
        self._ids: dict[tuple[VmId, str], set[str]] = {}
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
            self._oracle.end(ticket, None, dead=True, truth=world.datacenter.truth())
            return ticket, False, None
        self.under_way += 1
        world.tell(f"docker {host.letter}: {kind} {name} {mount_id[:4]} ...")
        try:
            result = work(agent, Deadline.after(world.clock, LIMITS[kind]))
        except VolumeError as raised:
            error = raised
        except Killed:
            dead = True
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is a finding
            self._oracle.fail("bug", f"{kind} {name} raised {raised!r}")
            dead = True
        self.under_way -= 1
        dead = dead or agent.life.over
        world.tell(f"docker {host.letter}: {kind} {name} {mount_id[:4]} {'died' if dead else error or 'OK'}")
        self._oracle.end(ticket, error, dead=dead, truth=world.datacenter.truth())
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
            self._perhaps_a_ghost(host, agent, mount_id)
            return False, None
        truth = self._world.datacenter.truth()
        disk = self._oracle.mounted(ticket, path, truth)
        if disk is None:
            return True, None
        volume = next(volume for volume in host.guest.table if str(volume) == path.split("/")[-2])
        number = host.guest.table[volume].number
        now = self._world.clock.monotonic()
        return True, Container(host.vm, name, volume, disk, number, mount_id, next(self._pids), now)

    def _perhaps_a_ghost(self, host: Host, agent: Agent | None, mount_id: str) -> None:
        """Docker forgets the id. Only an agent that died on the way may keep it as a holder; a refusal drops it."""
        if agent is not None and agent.life.over:
            self._oracle.ghosts.add((host.vm, mount_id))

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
        self._leave(host, container.number, container.pid)
        return True

    def _leave(self, host: Host, number: tuple[int, int], pid: int) -> None:
        known = host.guest.plugged.get(number)
        if known is not None:
            with host.guest.changed:
                known.elsewhere[:] = [target for target in known.elsewhere if target.pid != pid]
                host.guest.changed.notify_all()

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

    def write(self, container: Container, name: str, data: bytes) -> None:
        """The container writes a file and syncs it."""
        guest = self.host_of(container).guest
        known = guest.plugged.get(container.number)
        if known is None or not any(target.pid == container.pid for target in known.elsewhere):
            return
        with guest.changed:
            disk = self._world.disks[container.disk]
            if disk.full:
                return
            disk.put(replace(disk.now, files={**disk.now.files, name: data}))
        self._oracle.wrote(container.disk, name, data)

    # --- the machine ---------------------------------------------------------------------------------------------

    def restart_engine(self, host: Host) -> None:
        """dockerd is killed: its containers end without a word, and it comes up again (docker-facts 1.5)."""
        self._world.tell(f"docker {host.letter} is killed")
        for container in [each for each in self._oracle.containers if each.host == host.vm]:
            self._end(container)
            self._oracle.ghosts.add((host.vm, container.mount_id))
        if host.agent is not None:
            host.agent.reconcile.activated()

    def reboot(self, host: Host) -> None:
        """The machine loses power; its disks stay attached."""
        self._world.tell(f"{host.letter} reboots")
        if host.agent is not None:
            host.agent.life.kill()
        for container in [each for each in self._oracle.containers if each.host == host.vm]:
            self._oracle.containers.remove(container)
        host.notebook.reboot()
        host.guest.reboot()

    def hold_foreign(self, host: Host, seconds: float) -> None:
        """Somebody's mount namespace keeps a copy of a mount, beyond the container's end."""
        mounted = [number for number, known in host.guest.plugged.items() if self._in_use(host, number)]
        if not mounted:
            return
        number, pid = self._world.random.choice(mounted), next(self._pids)
        host.guest.plugged[number].elsewhere.append(MountTarget(pid, "/foreign", "/data"))
        self._world.later(seconds, lambda: self._leave(host, number, pid))

    def _in_use(self, host: Host, number: tuple[int, int]) -> bool:
        return any(entry.number == number for entry in host.guest.table.values())

    def host_of(self, container: Container) -> Host:
        return next(host for host in self._world.hosts if host.vm == container.host)


def clone_of(name: str) -> dict[str, str]:
    return {"clone_from": str(VolumeRef.parse(name))}
