"""A text for a machine's guest, written into its configuration through the vSphere API."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.vsphere.stage import CLOCK
from tests.vsphere.worlds import Begin, World, coming
from vmdkvol.errors import NotFound, VolumeError
from vmdkvol.volume import VmId
from vmdkvol_esx.vsphere.guestinfo import Guestinfo

pytestmark = pytest.mark.integration
KEY, TEXT = "vmdkvol.token", "vmdkvol1.a-secret.a-pin"


@pytest.fixture(params=["vcenter", "esxi"])
def world(request: pytest.FixtureRequest, begin: Begin) -> World:
    return begin(request.param)


def told(world: World, number: int = 0) -> dict[str, str]:
    return {each.key: each.value for each in world.vm(number).config.extraConfig or ()}


def guestinfo(world: World) -> Guestinfo:
    return Guestinfo(world.session, world.waiter, world.machines, CLOCK)


@pytest.mark.vcsim_pure
def test_the_guest_of_this_machine_and_of_no_other_can_read_it(world: World) -> None:
    before = world.listed()
    guestinfo(world).write(world.id(), KEY, TEXT)
    assert told(world)[f"guestinfo.{KEY}"] == TEXT
    assert f"guestinfo.{KEY}" not in told(world, 1)
    assert world.listed().keys() == before.keys()


@pytest.mark.vcsim_pure
def test_the_next_text_takes_the_place_of_the_first(world: World) -> None:
    for text in (TEXT, "another"):
        guestinfo(world).write(world.id(), KEY, text)
    assert told(world)[f"guestinfo.{KEY}"] == "another"


@pytest.mark.vcsim_pure
def test_a_machine_that_is_not_there_is_told(world: World) -> None:
    with pytest.raises(NotFound):
        guestinfo(world).write(VmId(uuid4()), KEY, TEXT)


@pytest.mark.vcsim_injected
@pytest.mark.parametrize("fault", ["NoPermission", "InvalidState"])
def test_a_refusal_is_told_without_the_text(world: World, fault: str) -> None:
    world.simulator.next("ReconfigVM_Task", "fault", fault=fault)
    with pytest.raises(VolumeError) as raised:
        guestinfo(world).write(world.id(), KEY, TEXT)
    assert TEXT not in str(raised.value)
    assert TEXT not in repr(world.log.lines)
    assert f"guestinfo.{KEY}" not in told(world)


@pytest.mark.vcsim_pure
def test_disks_come_and_go_before_and_after(world: World) -> None:
    """The configuration has another version by it, which a change that was planned before is refused for."""
    first, second = world.disk(), world.disk()
    world.do(coming(world, first))
    guestinfo(world).write(world.id(), KEY, TEXT)
    world.do(coming(world, second))
    assert world.listed().keys() >= {str(first.path), str(second.path)}
