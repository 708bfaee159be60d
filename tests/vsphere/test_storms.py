"""Disks come and go on two machines from many threads, while the server refuses, loses, delays and forgets."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import pytest

from tests.vsphere.stage import CLOCK, PATIENCE_S, soon
from tests.vsphere.worlds import Begin, World, coming, leaving
from vmdkvol.errors import Internal, TruthUnknown, VolumeError
from vmdkvol_esx.ports import AttachDisk, DiskRef
from vmdkvol_esx.vsphere.batches import Move

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]

THREADS, MOVES = 12, 25
DOES = ("fault", "fault", "soap", "lost", "dropped", "slow", "vanish")
FAULTS = ("TaskInProgress", "ConcurrentAccess", "InvalidDeviceSpec", "FileLocked", "NoDiskSpace", "SystemError")


@dataclass
class Storm:
    world: World
    seed: int
    done: int = 0
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def guest(self, number: int, disk: DiskRef) -> None:
        """One disk's life: nobody else moves it, so after each move that is told as done it is where that put it."""
        chance = random.Random(self.seed * 1000 + number)
        for _ in range(MOVES):
            machine = chance.randrange(2)
            move = coming(self.world, disk, machine) if chance.random() < 0.5 else leaving(self.world, disk, machine)
            try:
                self.world.do(move)
                self.done += 1
                self._check(move, machine)
            except Internal as error:
                self.wrong.append(f"{move}: {error}")
            except VolumeError:
                # Refused, or in doubt: whoever asked looks.
                continue

    def _check(self, move: Move, machine: int) -> None:
        vm = self.world.id(machine)
        listed = self.world.machines.devices([vm]).of(vm)
        if listed is None:
            raise TruthUnknown("not read")
        if (move.disk.uuid in {each.uuid for each in listed}) is not isinstance(move, AttachDisk):
            self.wrong.append(f"{move} is told as done, and is not")

    def weather(self) -> None:
        chance = random.Random(self.seed)
        while not self.over.is_set():
            fault, times = chance.choice(FAULTS), chance.randint(1, 3)
            self.world.simulator.next("ReconfigVM_Task", chance.choice(DOES), fault=fault, times=times, ms=100)
            CLOCK.sleep(0.1 * chance.random())


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_the_server_answers_what_is_told_as_done_is_done(begin: Begin, seed: int) -> None:
    world = begin("vcenter", "-strict", "-uuids")
    world.flight_s = 2.0
    world.restart()
    storm = Storm(world, seed)
    disks = [world.disk() for _ in range(THREADS)]
    guests = [threading.Thread(target=storm.guest, args=each, daemon=True) for each in enumerate(disks)]
    weather = threading.Thread(target=storm.weather, daemon=True)
    for thread in (weather, *guests):
        thread.start()
    deadline = soon(1.5 * PATIENCE_S)
    for thread in guests:
        thread.join(deadline.left_s)
    storm.over.set()
    weather.join(PATIENCE_S)

    assert not any(thread.is_alive() for thread in guests)
    assert storm.wrong == []
    assert storm.done > THREADS
    assert set(world.listed(0)).isdisjoint(world.listed(1))
    assert [world.reconfiguring.waiting(world.id(number)) for number in (0, 1)] == [0, 0]
