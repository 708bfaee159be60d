"""A disk with somebody's data becomes a volume on a simulated vCenter, is mounted by the agent's own code, and given back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from tests.doubles.direct_line import DirectLine
from tests.integration.engine import loops
from tests.vsphere.life import DS, OTHER, Life
from tests.vsphere.looped import LoopedDevices, give_back
from tests.vsphere.outside import Outside, View, attached, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.adoption_messages import AdoptDisk, FoundDisks, ReleaseVolume, ScanDisks
from vmdkvol.clock import Clock
from vmdkvol.line import Line
from vmdkvol.messages import Call, Request, Welcome
from vmdkvol.volume import State, VmId
from vmdkvol_esx.nouns import noun_rows
from vmdkvol_esx.rebuilding import rebuild
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store import open_store
from vmdkvol_guest.composing import Agent, Identity, compose
from vmdkvol_guest.driver import Driver
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.ports import Devices
from vmdkvol_guest.settings import AgentSettings

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
PLACE = f"[{DS}] theirs/orders.vmdk"
FLAT = PLACE.replace(".vmdk", "-flat.vmdk")
NOTE = "written before vmdkvol was there\n"


class Up(DirectLine):
    up = True


@dataclass
class Host:
    """The agent of the machine ``life.a``, whose kernel sees what the simulator's device list has."""

    life: Life
    agent: Agent
    driver: Driver

    def order(self, request: Request[Any]) -> Any:
        rows = noun_rows(self.life.verbs, self.life.store, lambda _: True, "vmdkvol-esxd 0", lambda: 0)
        return rows[type(request)](request, Call(uuid4(), soon(60.0)))

    def has(self) -> bool:
        """Tell whether the machine's device list, seen by another client, has the disk."""
        return PLACE in [disk.backing.fileName for disk in attached(self.life.refs[self.life.a])]

    def mounted(self) -> Path:
        return Path(self.driver.mount("orders", "container", soon(60.0)))

    def given_back(self) -> None:
        """The last container ends, and its disk leaves the machine."""
        self.driver.unmount("orders", "container", soon(60.0))
        self.life.until(lambda: not self.has(), "the disk leaves the machine")


@pytest.fixture
def world(own: Callable[..., Simulator], tmp_path: Path) -> Iterator[tuple[Simulator, Outside]]:
    """A simulated vCenter with a disk of somebody's, which has a file system with a note in it."""
    simulator = own("vcenter", "-strict", "-uuids", "-machines", "3")
    with ExitStack() as stack:
        stack.callback(give_back)
        stack.callback(loops.sweep, simulator.folder)
        seen = stack.enter_context(outside(simulator))
        files = tmp_path / "files"
        files.mkdir()
        (files / "note").write_text(NOTE)
        seen.file(PLACE).parent.mkdir(parents=True)
        # A rebuild wants it, on a datastore that is new.
        seen.file(f"[{OTHER}] vmdkvol").mkdir()
        seen.create(PLACE, kib=32 << 10)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", files, seen.file(FLAT), "32m"], check=True)
        yield simulator, seen


@pytest.fixture
def host(world: tuple[Simulator, Outside], tmp_path: Path, stage: Stage) -> Iterator[Host]:
    simulator, seen = world
    with ExitStack() as stack:
        life = Life(simulator, seen, stage)
        stack.callback(life.close)

        def devices(clock: Clock, owner: Callable[[], VmId | None]) -> Devices:
            return LoopedDevices(clock, owner, partial(outside, View.of(simulator)), simulator.folder)

        settings = AgentSettings(run_dir=str(tmp_path / "run"), state_dir=str(tmp_path / "state"), linger_s=0.2)
        line = Up(life.a, lambda request, call: life.requests.answer(request, call), CLOCK)
        identity = Identity(CLOCK)
        identity.learn(Welcome(5, life.a, "host-a", "vmdkvol-esxd 0"))
        agent = compose(settings, cast(Line, line), identity, devices=devices)
        agent.start()
        stack.callback(agent.stop)
        mounting = Mounting(agent.parts, agent.reconcile.wake)
        driver = Driver(agent.parts, agent.catalogue, mounting, agent.reconcile.release, agent.reconcile.wake)
        stack.callback(driver.unmount, "orders", "container", soon(120.0))
        yield Host(life, agent, driver)


@pytest.fixture
def adopted(host: Host) -> VolumeRecord:
    told = host.order(AdoptDisk(disk=PLACE, vmgroup="_DEFAULT", name="orders"))
    record = host.life.store.volume(told.subject)
    assert record is not None
    return record


def test_a_disk_is_found_adopted_mounted_and_given_back_with_what_was_on_it(
    host: Host, world: tuple[Simulator, Outside]
) -> None:
    found: FoundDisks = host.order(ScanDisks(datastore=DS, folder="theirs"))
    assert [(disk.place, disk.adoptable) for disk in found.disks] == [(PLACE, True)]
    host.order(AdoptDisk(disk=PLACE, vmgroup="_DEFAULT", name="orders"))

    path = host.mounted()
    assert host.has()
    assert (path / "note").read_text() == NOTE
    (path / "more").write_text("by a container")
    host.given_back()
    assert (host.mounted() / "more").read_text() == "by a container"
    host.given_back()
    host.order(ReleaseVolume(volume="orders"))

    flat = world[1].file(FLAT)
    cat = subprocess.run(["debugfs", "-R", "cat /more", flat], check=True, capture_output=True, text=True)
    assert (cat.stdout, len(host.life.store.page(None, None, 10))) == ("by a container", 0)


def test_while_a_machine_has_it_the_adopted_disk_is_not_lost(host: Host, adopted: VolumeRecord) -> None:
    """Its machine has the file, and the server does not say who it is; it lies in none of our folders either."""
    host.mounted()
    for _ in range(3):
        host.life.housekeeping.scan()
    record = host.life.record(adopted.id)
    assert (record.state, record.adopted) == (State.READY, PLACE)
    assert "disk cannot be used" not in host.life.log.events("error")


@pytest.mark.parametrize("used", [False, True])
def test_a_rebuild_brings_it_back_also_while_a_machine_has_it(host: Host, adopted: VolumeRecord, *, used: bool) -> None:
    if used:
        host.mounted()
    with_nothing = open_store(None, CLOCK)
    told = rebuild(with_nothing, host.life.hypervisor, host.life.log, CLOCK.wall())

    (back,) = told.restored
    assert (back.id, back.path, back.adopted, back.state) == (adopted.id, adopted.path, PLACE, State.READY)
    assert told.left_out == ()
    with_nothing.close()
