"""After the last fault: everything is healed, containers end, and the world must come to rest where it should be (I3-I5)."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.engines import Engines
from tests.simulation.invariants import Container
from tests.simulation.world import Host, World
from vmdkvol.volume import DiskUuid, State, VmId
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.records import VolumeRecord

# Docker's longest call, and a container's slow start after it.
ANSWERED_S = 160.0
# Every task, every linger and every pause is over (I5 says 120 s across hosts, and the trash 30 s and two scans more).
SETTLE_S = 180.0
LINGER_S = 40.0
# A holder whose container is gone is dropped ten minutes after the engine came up (corrections 5).
FORGET_S = 700.0


class Quiet:
    """Looks at a world that was left alone."""

    def __init__(self, world: World, engines: Engines) -> None:
        self._world = world
        self._engines = engines

    def check(self) -> None:
        self._heal()
        self._wait_for_answers()
        self._check_left_behind()
        for host in self._world.hosts:
            self._world.power_on(host)
        # Those too whose start was under way.
        for container in list(self._world.oracle.containers):
            self._engines.stop(container)
        self._world.clock.sleep(SETTLE_S)
        self._check_leaks()
        self._forget_holders()
        for check in (self._check_nothing_held, self._check_records, self._check_answers, self._check_use):
            if not self._world.oracle.broken:
                check()

    def _check_left_behind(self) -> None:
        """I5: what a host took with it when it was switched off can be used on the others (F16)."""
        world, truth = self._world, self._world.datacenter.truth()
        for disk, vm in truth.holders.items():
            off, note = self._host(vm), truth.disks[disk].note
            others = [host for host in world.hosts if host.on and host.group == off.group]
            key = f"{note['vmgroup']} {note['name']}"
            named = world.oracle.named(key)
            if off.on or not others or named.state != "present" or world.oracle.ledger(disk).removed:
                continue
            world.oracle.count("left behind")
            if self._engines.run(others[0], note["name"]) is not None:
                continue
            # What somebody else put on a disk is refused, rightly, once the disk is there.
            if not world.oracle.is_overwritten(key) or world.datacenter.truth().holders.get(disk) == vm:
                world.oracle.fail("I5", f"{note['name']} stays on {off.letter}, which is switched off: {world.lines[-3:]}")

    def _forget_holders(self) -> None:
        """Holders without a container go ten minutes after an engine came up."""
        if any(host.notebook.holdings() for host in self._world.hosts):
            for host in self._world.hosts:
                self._engines.restart_engine(host)
            self._world.clock.sleep(FORGET_S)

    def _wait_for_answers(self) -> None:
        clock = self._world.clock
        until = clock.monotonic() + ANSWERED_S
        while self._engines.under_way and clock.monotonic() < until:
            clock.sleep(5.0)
        if self._engines.under_way:
            self._world.oracle.fail("I8", f"{self._engines.under_way} calls of Docker's have not ended")

    def _heal(self) -> None:
        world = self._world
        world.healed = True
        world.clock.schedule(0)
        world.datacenter.heal()
        world.moods.heal()
        world.fill(full=False)
        for host in world.hosts:
            host.cut = host.loses_next = False
            host.cable.heal()
            host.guest.die_in_make = False
            for volume in tuple(host.guest.busy):
                host.guest.leave_alone(volume)
            world.datacenter.unread(host.vm, unread=False)
            world.finish_mkfs(host)
            if host.agent is not None:
                host.agent.life.disarm()
                host.agent.life.process.go_on()
        if world.service is not None:
            world.service.life.disarm()
            world.service.life.process.go_on()
        # Those that were about to be restarted come by themselves, or now.
        world.start_service()
        for host in world.hosts:
            world.start_agent(host)
            world.connect(host)

    def _check_leaks(self) -> None:
        """I3: what is attached has a holder: one whose container is not known to have gone."""
        oracle, truth = self._world.oracle, self._world.datacenter.truth()
        if truth.open_tasks:
            oracle.fail("I5", f"{truth.open_tasks} tasks are open")
        leaks = self._leaks()
        if leaks:
            # It may just be lingering, after a holder was dropped in its own time.
            self._world.clock.sleep(LINGER_S)
            leaks &= self._leaks()
        for disk, vm in leaks:
            oracle.fail("I3", f"{disk} is still on {self._host(vm).letter}, for nobody; there are {oracle.containers}")

    def _leaks(self) -> set[tuple[DiskUuid, VmId]]:
        ghosts = self._world.oracle.ghosts
        found = set()
        for disk, vm in self._world.datacenter.truth().holders.items():
            held = [noted.ids for noted in self._host(vm).notebook.holdings().values()]
            if not any((vm, mount_id) in ghosts for ids in held for mount_id in ids):
                found.add((disk, vm))
        return found

    def _check_nothing_held(self) -> None:
        oracle, truth = self._world.oracle, self._world.datacenter.truth()
        for host in self._world.hosts:
            left = {
                "attached": [disk for disk, vm in truth.holders.items() if vm == host.vm],
                "mounted": list(host.guest.table),
                "plugged": list(host.guest.plugged),
                "noted": list(host.notebook.holdings()),
            }
            if any(left.values()):
                oracle.fail("I3", f"left on {host.letter}: {left}")

    def _check_records(self) -> None:
        """I4: each disk has its record, each record its disk and a second copy that says the same."""
        world, truth = self._world, self._world.datacenter.truth()
        records = list(world.store.page(None, None, 10_000))
        if world.store.open_intents():
            world.oracle.fail("I5", f"open intents: {world.store.open_intents()}")
        strange = [(record.name, record.state.value) for record in records if record.state is not State.READY]
        if strange:
            world.oracle.fail("I5", f"records that are not ready: {strange}")
        known = {record.disk_uuid for record in records}
        if known != set(truth.disks):
            world.oracle.fail(
                "I4", f"disks {set(truth.disks) - known} have no record, records {known - set(truth.disks)} no disk"
            )
        for record in records:
            self._check_copy(record)
            disk = truth.disks.get(record.disk_uuid)
            if disk is not None and disk.size_bytes != record.size_bytes:
                world.oracle.fail("I5", f"{record.name} is recorded with {record.size_bytes} bytes, it has {disk.size_bytes}")
        # One that could not be taken away when its disk was moved stays: nothing is said of it, and a person may.
        strays = set(truth.sidecars) - {disk_path(record) for record in records} - world.oracle.left_places
        if strays:
            world.oracle.fail("I4", f"sidecars without a disk: {strays}")

    def _check_copy(self, record: VolumeRecord) -> None:
        content = self._world.datacenter.truth().sidecars.get(disk_path(record))
        copy = None if content is None else sidecar.decode(content)
        if copy is None or replace(copy, generation=record.generation, last_vm=record.last_vm) != record:
            self._world.oracle.fail("I4", f"the sidecar of {record.name} says {copy} of {record}")

    def _there(self) -> set[str]:
        """Return the keys of all volumes that have a disk."""
        disks = self._world.datacenter.truth().disks.values()
        return {f"{disk.note['vmgroup']} {disk.note['name']}" for disk in disks}

    def _check_answers(self) -> None:
        """I6, with nothing in the way: Get and List of every host say what there is."""
        world, oracle, there = self._world, self._world.oracle, self._there()
        keys = sorted(key for key in oracle.names() if not key.endswith(" "))
        for key in keys:
            named = oracle.named(key)
            if named.state != "maybe" and (named.state == "present") != (key in there):
                oracle.fail("I6", f"{key} was {named.state} by the answers, and the datastore says otherwise")
            named.open.clear()
            named.become("present" if key in there else "absent")
        for host in world.hosts:
            own = {key.partition(" ")[2] for key in there if key.startswith(host.group)}
            listed = self._engines.list(host)
            if listed != own:
                oracle.fail("I6", f"list of {host.letter} says {listed}, there are {own}")
            for name in (key.partition(" ")[2] for key in keys if key.startswith(host.group)):
                shown = self._engines.get(host, name)
                if (shown is not None) != (name in own) or (shown is not None and shown.status["stale"]):
                    oracle.fail("I6", f"get {name} of {host.letter} says {shown}, there are {own}")

    def _check_size(self, host: Host, container: Container) -> None:
        """A file system that may be written to spans its disk as soon as it is mounted, whatever became of its growth."""
        disk = self._world.disks[container.disk]
        if disk.now.spans != disk.size_bytes and not host.guest.reads_only(container.volume):
            self._world.oracle.fail("I5", f"{container.name} spans {disk.now.spans} of {disk.size_bytes} bytes")

    def _check_use(self) -> None:
        """Every volume that is left can be used and removed; then nothing is left of it."""
        world, oracle = self._world, self._world.oracle
        for number, key in enumerate(sorted(self._there())):
            own = [host for host in world.hosts if key.startswith(host.group)]
            host, name = own[number % len(own)], key.partition(" ")[2]
            container = self._engines.run(host, name)
            if container is not None:
                self._check_size(host, container)
                self._engines.stop(container)
            elif not oracle.is_overwritten(key):
                oracle.fail("I5", f"{name} cannot be used: {world.lines[-3:]}")
                return
            if not self._engines.remove(host, name):
                oracle.fail("I5", f"{name} cannot be removed: {world.lines[-3:]}")
                return
        world.clock.sleep(SETTLE_S)
        truth = world.datacenter.truth()
        # A sidecar that could not be taken away when its disk was moved stays, also when its volume goes: see _check_records.
        strays = set(truth.sidecars) - oracle.left_places
        if truth.disks or truth.holders or strays or world.store.page(None, None, 10):
            oracle.fail("I4", f"everything was removed, and there is left: {truth}")

    def _host(self, vm: object) -> Host:
        return next(host for host in self._world.hosts if host.vm == vm)
