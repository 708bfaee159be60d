"""TLS cut at each byte, and its records meddled with: every call is answered, and carried out once (T8, F31, F32, F34)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.channel_ends import call, until
from tests.doubles.cut_wire import Wire
from tests.doubles.cutting_proxy import Way
from tests.doubles.meddler import Deed, Meddler
from vmdkvol.messages import Detach, Done, ListVolumes
from vmdkvol.volume import VolumeId

VOLUME = VolumeId(UUID(int=7))
# Within a record all bytes are alike to those who have not the key: not each of some thousands.
_STEP = 11


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire.far(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("way", list(Way))
def test_a_cut_in_handshake_or_data_loses_no_call_and_doubles_none(wire: Wire, way: Way) -> None:
    wire.line.ask(Detach(VOLUME, 0), call())
    length = wire.proxy.passed(way)
    # The first record's head, byte by byte, and the last record, which has the call or its answer.
    offsets = sorted({*range(8), *range(8, length, _STEP), *range(length - 30, length + 1)})
    for offset in offsets:
        wire.proxy.cut_next(way, offset)
        wire.renew()
        assert wire.line.ask(Detach(VOLUME, offset + 1), call(10.0)) == Done()
    assert wire.ledger.carried_out == len(offsets) + 1


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("deed", list(Deed))
def test_whoever_meddles_with_the_records_only_breaks_the_connection(wire: Wire, deed: Deed, way: Way) -> None:
    foreign = Meddler(deed, way)
    wire.proxy.change_next(foreign)
    wire.renew()
    wire.line.ask(ListVolumes(limit=1), call())
    meddler = Meddler(deed, way, foreign.last)
    wire.proxy.change_next(meddler)
    wire.renew()
    wire.line.ask(ListVolumes(limit=2), call())
    stood = wire.proxy.connections
    meddler.begin()
    wrong: list[int] = []

    def ask(number: int) -> None:
        if wire.line.ask(ListVolumes(limit=number), call(20.0)).change != number:
            wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meddler.done.is_set()
    assert until(lambda: wire.proxy.connections > stood)
    assert wrong == []
    assert wire.ledger.carried_out == 6


def test_a_slow_handshake_is_only_slow(wire: Wire) -> None:
    wire.proxy.delay_next(0.02)
    wire.renew()
    assert wire.line.ask(ListVolumes(limit=3), call()).change == 3
