"""The promises of ``Service``, on a line over a socket and on the direct line of the tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import CLOCK, VM_1, Site, call, soon, until
from tests.doubles.direct_line import DirectLine
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Internal, InvalidOption, StillWorking, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.messages import (
    Attachments,
    Call,
    CreateVolume,
    Detach,
    Done,
    GetVolume,
    ListAttached,
    ListVolumes,
    RemoveVolume,
    Request,
    Service,
    VolumePage,
)
from vmdkvol.names import VolumeRef
from vmdkvol.notices import Notice, Wanted
from vmdkvol.options import CreateOptions
from vmdkvol.volume import VmId, VolumeId

VOLUME = VolumeId(UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f"))
# So that the work has begun when its caller lets go of it, on a busy machine too: what has not begun by then is refused.
_LET_GO_S = 1.0


class Handler:
    """Answers with what ``reply`` says; keeps what it was called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[Request[Any], Call]] = []
        self.reply: Callable[[Request[Any]], Any] = lambda _: Done()

    def __call__(self, request: Request[Any], call: Call) -> Any:
        self.seen.append((request, call))
        return self.reply(request)


class Bench(Protocol):
    service: Service
    handler: Handler

    def notify(self, vm: VmId, notice: Notice) -> bool: ...


class _OverSocket:
    def __init__(self, directory: Path) -> None:
        self.handler = Handler()
        self.site = Site(directory, self.handler)
        line = self.site.line()
        self.service: Service = line
        self.notify = self.site.server.notify
        assert until(lambda: line.up)

    def close(self) -> None:
        self.site.close()


class _Direct:
    def __init__(self) -> None:
        self.handler = Handler()
        line = DirectLine(VM_1, self.handler, CLOCK)
        self.service: Service = line
        self.notify = line.notify

    def close(self) -> None:
        pass


def _bug(_: Request[Any]) -> Any:
    raise KeyError("missing")


@pytest.fixture(params=["socket", "direct"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = _OverSocket(tmp_path) if request.param == "socket" else _Direct()
    yield made
    made.close()


def test_the_answer_comes_back_as_the_class_that_the_request_names(bench: Bench) -> None:
    bench.handler.reply = lambda _: Attachments(())
    assert bench.service.ask(ListAttached(), call()) == Attachments(())


def test_the_handler_sees_the_request_as_it_was_asked(bench: Bench) -> None:
    options = CreateOptions.parse({"size": "20gb", "label": "a=ü", "uid": "999"})
    request = CreateVolume(VolumeRef.parse("größe *@ds 1"), options)
    bench.handler.reply = _bug
    with pytest.raises(Internal):
        bench.service.ask(request, call())
    assert bench.handler.seen[0][0] == request


def test_the_call_keeps_its_id_and_gets_the_caller_that_the_channel_proves(bench: Bench) -> None:
    asked = call()
    bench.service.ask(RemoveVolume(VOLUME), asked)
    seen = bench.handler.seen[0][1]
    assert (seen.id, seen.caller) == (asked.id, VM_1)


def test_the_handler_has_the_time_that_is_left_and_not_more(bench: Bench) -> None:
    bench.service.ask(RemoveVolume(VOLUME), call(3.0))
    assert bench.handler.seen[0][1].deadline.left_s <= 3.0


def test_an_error_arrives_with_class_text_remedy_and_fields(bench: Bench) -> None:
    def reply(_: Request[Any]) -> Any:
        raise VolumeInUse("db is attached to host-2", remedy="stop it there", holder="host-2", size=3, off=True, none=None)

    bench.handler.reply = reply
    with pytest.raises(VolumeInUse) as raised:
        bench.service.ask(RemoveVolume(VOLUME), call())
    assert str(raised.value) == "db is attached to host-2; stop it there [volume-in-use]"
    assert raised.value.fields == {"holder": "host-2", "size": 3, "off": True, "none": None}


def test_a_bug_of_the_service_arrives_as_internal(bench: Bench) -> None:
    bench.handler.reply = _bug
    with pytest.raises(Internal):
        bench.service.ask(ListAttached(), call())


def test_a_bug_of_the_service_does_not_spoil_the_next_call(bench: Bench) -> None:
    bench.handler.reply = _bug
    with pytest.raises(Internal):
        bench.service.ask(ListAttached(), call())
    bench.handler.reply = lambda _: Attachments(())
    assert bench.service.ask(ListAttached(), call()) == Attachments(())


def test_an_error_after_another_is_not_the_same_one(bench: Bench) -> None:
    def reply(request: Request[Any]) -> Any:
        assert isinstance(request, GetVolume)
        raise VolumeNotFound(f"no {request.ref}")

    bench.handler.reply = reply
    texts = []
    for name in ("a", "b"):
        with pytest.raises(VolumeNotFound) as raised:
            bench.service.ask(GetVolume(VolumeRef.parse(name)), call())
        texts.append(raised.value.text)
    assert texts == ["no a", "no b"]


def test_work_that_takes_longer_than_the_deadline_is_still_working(bench: Bench) -> None:
    gate = threading.Event()
    bench.handler.reply = lambda _: gate.wait(60) and Done()
    with pytest.raises(StillWorking):
        bench.service.ask(RemoveVolume(VOLUME), call(_LET_GO_S))
    gate.set()


def test_the_same_call_again_joins_the_work_that_runs(bench: Bench) -> None:
    gate = threading.Event()
    bench.handler.reply = lambda _: gate.wait(60) and Done()
    id_ = uuid4()
    with pytest.raises(StillWorking):
        bench.service.ask(RemoveVolume(VOLUME), Call(id_, Deadline.after(CLOCK, _LET_GO_S)))
    threading.Timer(0.05, gate.set).start()
    assert bench.service.ask(RemoveVolume(VOLUME), Call(id_, soon())) == Done()
    assert len(bench.handler.seen) == 1


def test_whoever_waits_hears_how_far_the_work_is_and_never_less_than_before(bench: Bench) -> None:
    heard: list[int] = []

    def reply(_: Request[Any]) -> Any:
        tell = bench.handler.seen[0][1].progress
        tell(10)
        assert until(lambda: heard == [10])
        tell(5)
        tell(40)
        assert until(lambda: len(heard) == 2)
        return Done()

    bench.handler.reply = reply
    bench.service.ask(RemoveVolume(VOLUME), Call(uuid4(), soon(), progress=heard.append))
    assert heard == [10, 40]


def test_progress_is_told_on_the_thread_that_asks(bench: Bench) -> None:
    """So that it is over when ``ask`` returns, and may do what that thread may do."""
    threads: list[threading.Thread] = []

    def reply(_: Request[Any]) -> Any:
        bench.handler.seen[0][1].progress(10)
        assert until(lambda: bool(threads))
        return Done()

    bench.handler.reply = reply
    asked = Call(uuid4(), soon(), progress=lambda _: threads.append(threading.current_thread()))
    bench.service.ask(RemoveVolume(VOLUME), asked)
    assert threads == [threading.current_thread()]


def test_a_call_that_joins_the_work_hears_how_far_it_is(bench: Bench) -> None:
    gate, heard, id_ = threading.Event(), list[int](), uuid4()
    bench.handler.reply = lambda _: gate.wait(60) and Done()
    with pytest.raises(StillWorking):
        bench.service.ask(RemoveVolume(VOLUME), Call(id_, Deadline.after(CLOCK, _LET_GO_S)))
    again = threading.Thread(target=bench.service.ask, args=(RemoveVolume(VOLUME), Call(id_, soon(), progress=heard.append)))
    again.start()

    def told() -> bool:
        # The repeat is on its way: what is told before it has arrived, nobody hears.
        bench.handler.seen[0][1].progress(43)
        return bool(heard)

    assert until(told)
    gate.set()
    again.join()
    assert heard == [43]


def test_progress_after_the_answer_is_nobodys(bench: Bench) -> None:
    heard: list[int] = []
    bench.service.ask(RemoveVolume(VOLUME), Call(uuid4(), soon(), progress=heard.append))
    bench.handler.seen[0][1].progress(50)
    assert bench.service.ask(RemoveVolume(VOLUME), call()) == Done()
    assert heard == []


def test_a_slow_call_does_not_delay_another(bench: Bench) -> None:
    gate = threading.Event()
    bench.handler.reply = lambda request: Attachments(()) if isinstance(request, ListAttached) else gate.wait(60) and Done()
    slow = threading.Thread(target=bench.service.ask, args=(Detach(VOLUME, 1), call()))
    slow.start()
    assert until(lambda: len(bench.handler.seen) == 1)
    assert bench.service.ask(ListAttached(), call()) == Attachments(())
    gate.set()
    slow.join()


def test_answers_that_overtake_each_other_reach_their_own_callers(bench: Bench) -> None:
    def reply(request: Request[Any]) -> Any:
        assert isinstance(request, ListVolumes)
        return VolumePage((), None, request.limit)

    bench.handler.reply = reply
    wrong: list[int] = []

    def ask(number: int) -> None:
        for step in range(20):
            limit = number * 100 + step
            if bench.service.ask(ListVolumes(limit=limit), call()).change != limit:
                wrong.append(limit)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_request_that_fits_into_no_frame_is_refused_before_it_is_sent(bench: Bench) -> None:
    options = CreateOptions(mount_options=("noatime",) * 8000)
    with pytest.raises(BadRequest):
        bench.service.ask(CreateVolume(VolumeRef.parse("db"), options), call())
    assert bench.handler.seen == []


def test_an_answer_that_fits_into_no_frame_is_an_error_and_not_a_silence(bench: Bench) -> None:
    bench.handler.reply = lambda _: VolumePage((), None, 1, removed=tuple(VolumeId(uuid4()) for _ in range(3000)))
    with pytest.raises(Internal):
        bench.service.ask(ListVolumes(), call())


def test_an_option_that_no_user_could_write_is_refused_as_one(bench: Bench) -> None:
    with pytest.raises(InvalidOption):
        bench.service.ask(CreateVolume(VolumeRef.parse("db"), CreateOptions(layout="elsewhere")), call())


def test_an_option_that_is_refused_leaves_the_line_usable(bench: Bench) -> None:
    with pytest.raises(VolumeError):
        bench.service.ask(CreateVolume(VolumeRef.parse("db"), CreateOptions(layout="elsewhere")), call())
    assert bench.service.ask(RemoveVolume(VOLUME), call()) == Done()


def test_every_listener_hears_a_notice(bench: Bench) -> None:
    first: list[Notice] = []
    second: list[Notice] = []
    bench.service.subscribe(first.append)
    bench.service.subscribe(second.append)
    assert bench.notify(VM_1, Wanted(VOLUME))
    assert until(lambda: first == [Wanted(VOLUME)] and second == [Wanted(VOLUME)])


def test_a_listener_may_ask(bench: Bench) -> None:
    answers: list[Done] = []
    bench.service.subscribe(lambda _: answers.append(bench.service.ask(Detach(VOLUME, 1), call())))
    bench.notify(VM_1, Wanted(VOLUME))
    assert until(lambda: answers == [Done()])
