"""A ``Service`` without a socket: every request, answer, error and notice goes through the wire's bytes, both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from vmdkvol import frames, wire
from vmdkvol.calls import time_for_service
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Internal, ServiceUnreachable, StillWorking, VolumeError
from vmdkvol.frames import Decoder, Frame
from vmdkvol.messages import Call, Request
from vmdkvol.notices import Notice
from vmdkvol.volume import VmId

A = TypeVar("A")


@dataclass(slots=True)
class _Running:
    request: Request[Any]
    percent: int = 0
    reply: Frame | None = None


class DirectLine:
    """Hands requests to ``handle`` as calls of ``vm``. While ``cut`` is set nothing gets through."""

    def __init__(self, vm: VmId, handle: Callable[[Request[Any], Call], Any], clock: Clock) -> None:
        self._vm = vm
        self._handle = handle
        self._clock = clock
        self._changed = clock.condition()
        self._running: dict[UUID, _Running] = {}
        self._listeners: list[Callable[[Notice], None]] = []
        self.cut = False

    def ask(self, request: Request[A], call: Call) -> A:
        sent = wire.write_request(request, call.id, time_for_service(call.deadline))
        if self.cut:
            raise ServiceUnreachable("the direct line is cut")
        running = self._begin(_arrive(sent, frames.MAX_REQUEST))
        told = 0
        while (news := self._next_percent(running, call.deadline, told)) is not None:
            call.progress(news)
            told = news
        assert running.reply is not None
        return wire.read_reply(request, running.reply)

    def _next_percent(self, running: _Running, deadline: Deadline, told: int) -> int | None:
        with self._changed:
            while running.reply is None and running.percent <= told:
                if deadline.passed:
                    raise StillWorking(f"the service takes longer than the limit with this {type(running.request).__name__}")
                self._changed.wait(deadline.left_s)
            return running.percent if running.reply is None else None

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        self._listeners.append(listener)

    def notify(self, vm: VmId, notice: Notice) -> bool:
        """Send a notice as the service does; False if it is for another VM or the line is cut."""
        if self.cut or vm != self._vm:
            return False
        for listener in self._listeners:
            listener(wire.read_notice(_arrive(wire.write_notice(notice), frames.MAX_FRAME)))
        return True

    def _begin(self, frame: Frame) -> _Running:
        request = wire.read_request(frame)
        assert frame.id is not None
        assert frame.left_ms is not None
        tell = partial(self._tell, frame.id)
        call = Call(frame.id, Deadline.after(self._clock, frame.left_ms / 1000), self._vm, tell)
        with self._changed:
            running = self._running.get(call.id)
            if running is None:
                running = self._running[call.id] = _Running(request)
                self._clock.start(f"direct-{call.id}", lambda: self._carry_out(request, call))
            return running

    def _tell(self, call: UUID, percent: int) -> None:
        frame = _arrive(wire.write_progress(call, percent), frames.MAX_FRAME)
        with self._changed:
            running = self._running.get(call)
            if running is not None:
                running.percent = max(running.percent, wire.read_progress(frame.body))
                self._changed.notify_all()

    def _carry_out(self, request: Request[Any], call: Call) -> None:
        try:
            data = wire.write_answer(call.id, self._handle(request, call))
        except VolumeError as error:
            data = wire.write_error(call.id, error)
        except Exception as error:  # noqa: BLE001 - as the server does: a bug is an answer too
            data = wire.write_error(call.id, Internal(f"the handler failed: {error!r}"))
        with self._changed:
            self._running.pop(call.id).reply = _arrive(data, frames.MAX_FRAME)
            self._changed.notify_all()


def _arrive(data: bytes, limit: int) -> Frame:
    decoder = Decoder(limit)
    decoder.feed(data)
    frame = decoder.take()
    assert frame is not None
    return frame
