"""Reaching the service: a connection that is secured as its address demands, and one question on a connection of its own."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

from vmdkvol import channel, wire
from vmdkvol.channel import Address, Connect, UnixAddress
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import NotEnrolled, ServiceUnreachable
from vmdkvol.frames import MAX_FRAME, Frame
from vmdkvol.link import Link
from vmdkvol.messages import Request
from vmdkvol.stream import Plain, Secure, Stream

A = TypeVar("A")


def dial(address: Address, secure: Secure | None, timeout_s: float, connect: Connect = channel.connect) -> Stream:
    """Return a connection to the service. ``connect`` opens it; on all but Unix sockets ``secure`` proves who is there.

    Raises what ``connect`` and ``secure`` raise, and NotEnrolled where ``secure`` is needed and there is none.
    """
    if isinstance(address, UnixAddress):
        return Plain(connect(address, timeout_s))
    if secure is None:
        raise NotEnrolled(
            f"{address} takes certificates only, and there is none here", remedy="use the agent's, or a Unix socket"
        )
    connection = connect(address, timeout_s)
    try:
        return secure(connection)
    except BaseException:
        connection.close()
        raise


def checked(check: Callable[[], None], connect: Connect = channel.connect) -> Connect:
    """Return ``connect`` behind ``check``, whose error is then the connection's.

    A host without a certificate does not knock at the service's door every second, and hears that it has none also while
    the service is away.
    """

    def connected(address: Address, timeout_s: float) -> socket.socket:
        check()
        return connect(address, timeout_s)

    return connected


def ask_once(
    address: Address,
    request: Request[A],
    clock: Clock,
    timeout_s: float,
    secure: Secure | None = None,
    connect: Connect = channel.connect,
) -> A:
    """Ask what needs no Hello, on a connection for this alone; return the answer or raise the service's error.

    ServiceUnreachable if the answer is not there in ``timeout_s``; then it is unknown whether it was carried out.
    """
    deadline = Deadline.after(clock, timeout_s)
    call = uuid4()
    link = Link(dial(address, secure, timeout_s, connect), clock, MAX_FRAME)
    try:
        link.send(wire.write_request(request, call, deadline.left_s))
        while not deadline.passed:
            frame = _next(link, deadline)
            if frame is not None and frame.id in (call, None) and frame.type in (wire.ANSWER, wire.ERROR):
                return wire.read_reply(request, frame)
    finally:
        link.close()
    raise ServiceUnreachable(f"the service at {address} does not answer")


def _next(link: Link, deadline: Deadline) -> Frame | None:
    """Return the next frame, None if it is not there yet but something happened; ServiceUnreachable at the stream's end."""
    frame = link.take()
    if frame is not None:
        return frame
    poll = select.poll()
    poll.register(link, select.POLLIN | (select.POLLOUT if link.sending else 0))
    poll.poll(deadline.left_s * 1000 + 1)
    link.flush()
    if link.receive():
        return None
    frame = link.take()
    if frame is None:
        raise ServiceUnreachable("the service closed the connection without an answer")
    return frame
