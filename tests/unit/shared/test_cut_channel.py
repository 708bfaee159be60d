"""The channel cut at each byte, in both directions: every call is answered, and carried out once (F31, F32, F34)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.channel_ends import VM_1, call, until
from tests.doubles.cut_wire import Wire
from tests.doubles.cutting_proxy import Way
from vmdkvol.messages import Detach, Done, ListVolumes
from vmdkvol.notices import Wanted
from vmdkvol.volume import VolumeId

VOLUME = VolumeId(UUID(int=7))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire.near(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("way", list(Way))
def test_a_cut_at_any_byte_loses_no_call_and_doubles_none(wire: Wire, way: Way) -> None:
    wire.line.ask(Detach(VOLUME, 0), call())
    length = wire.proxy.passed(way)
    for offset in range(length + 1):
        wire.proxy.cut_next(way, offset)
        wire.renew()
        assert wire.line.ask(Detach(VOLUME, offset), call(10.0)) == Done()
    assert wire.ledger.carried_out == length + 2


def test_frames_that_come_twice_are_carried_out_once(wire: Wire) -> None:
    wire.proxy.double_next()
    wire.renew()
    answers = [wire.line.ask(ListVolumes(limit=number), call()).change for number in range(50)]
    assert answers == list(range(50))
    assert wire.ledger.carried_out == 50


def test_a_slow_channel_is_only_slow(wire: Wire) -> None:
    wire.proxy.delay_next(0.02)
    wire.renew()
    assert wire.line.ask(ListVolumes(limit=3), call()).change == 3


def test_many_calls_in_flight_survive_cuts_in_the_middle(wire: Wire) -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for step in range(30):
            limit = number * 100 + step
            if wire.line.ask(ListVolumes(limit=limit), call(20.0)).change != limit:
                wrong.append(limit)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    # Fewer cuts than a call may be sent again: on a busy machine one call may be in flight through all of them.
    for offset in range(700, 4000, 600):
        wire.proxy.cut_next(Way.TO_AGENT, offset)
        wire.renew()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert wire.ledger.carried_out == 8 * 30


def test_after_a_cut_the_agent_hears_notices_again(wire: Wire) -> None:
    heard: list[object] = []
    wire.line.subscribe(heard.append)
    wire.renew()
    wire.line.ask(Detach(VOLUME, 1), call())
    assert until(lambda: wire.site.server.notify(VM_1, Wanted(VOLUME)) and bool(heard))
