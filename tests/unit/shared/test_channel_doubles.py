"""The doubles of the channel do what their users rely on."""

from __future__ import annotations

import threading

import pytest

from tests.doubles.channel_ends import CLOCK, VM_1, VM_2, call, until
from tests.doubles.direct_line import DirectLine
from tests.doubles.faulty import Faults
from vmdkvol.errors import ServiceUnreachable, TruthUnknown
from vmdkvol.messages import Attachments, ListAttached
from vmdkvol.notices import Wanted
from vmdkvol.volume import VolumeId


class Port:
    """A port with one method that counts and one value."""

    size = 3

    def __init__(self) -> None:
        self.done: list[str] = []

    def do(self, what: str, *, loud: bool = False) -> str:
        self.done.append(what)
        return what.upper() if loud else what


@pytest.fixture
def faults() -> Faults:
    return Faults(CLOCK)


def test_without_a_fault_a_port_is_as_it_was(faults: Faults) -> None:
    assert faults.around(Port()).do("a", loud=True) == "A"


def test_what_is_no_method_is_passed_on(faults: Faults) -> None:
    assert faults.around(Port()).size == 3


def test_a_failure_before_does_nothing(faults: Faults) -> None:
    port = Port()
    faults.fail_before("do", TruthUnknown("no"))
    with pytest.raises(TruthUnknown):
        faults.around(port).do("a")
    assert port.done == []


def test_a_failure_after_has_done_it(faults: Faults) -> None:
    port = Port()
    faults.fail_after("do", TruthUnknown("lost"))
    with pytest.raises(TruthUnknown):
        faults.around(port).do("a")
    assert port.done == ["a"]


def test_only_the_nth_call_fails(faults: Faults) -> None:
    port = faults.around(Port())
    faults.fail_before("do", TruthUnknown("no"), nth=2)
    assert port.do("a") == "a"
    with pytest.raises(TruthUnknown):
        port.do("b")
    assert port.do("c") == "c"


def test_counting_begins_when_the_fault_is_added(faults: Faults) -> None:
    port = faults.around(Port())
    port.do("a")
    faults.fail_before("do", TruthUnknown("no"))
    with pytest.raises(TruthUnknown):
        port.do("b")


def test_a_fault_may_strike_several_times(faults: Faults) -> None:
    port = faults.around(Port())
    faults.fail_before("do", TruthUnknown("no"), times=2)
    for _ in range(2):
        with pytest.raises(TruthUnknown):
            port.do("a")
    assert port.do("a") == "a"


def test_a_hanging_call_stands_until_its_gate_opens(faults: Faults) -> None:
    port = Port()
    gate = faults.hang("do")
    thread = threading.Thread(target=faults.around(port).do, args=("a",))
    thread.start()
    assert gate.reached()
    assert port.done == []
    gate.open()
    thread.join()
    assert port.done == ["a"]


def test_a_delayed_call_comes_later(faults: Faults) -> None:
    faults.delay("do", 0.05)
    begin = CLOCK.monotonic()
    faults.around(Port()).do("a")
    assert CLOCK.monotonic() - begin >= 0.05


def test_calls_are_kept_and_counted(faults: Faults) -> None:
    port = faults.around(Port())
    port.do("a")
    port.do("b")
    assert (faults.calls, faults.count("do")) == ([("do", ("a",)), ("do", ("b",))], 2)


def test_a_cut_direct_line_is_unreachable() -> None:
    line = DirectLine(VM_1, lambda _request, _call: Attachments(()), CLOCK)
    line.cut = True
    with pytest.raises(ServiceUnreachable):
        line.ask(ListAttached(), call())


def test_a_direct_line_hears_only_its_own_vms_notices() -> None:
    line = DirectLine(VM_1, lambda _request, _call: Attachments(()), CLOCK)
    heard: list[object] = []
    line.subscribe(heard.append)
    volume = VolumeId(VM_1)
    assert not line.notify(VM_2, Wanted(volume))
    assert line.notify(VM_1, Wanted(volume))
    assert until(lambda: heard == [Wanted(volume)])
