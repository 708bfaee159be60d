"""``Service`` over one kept connection: many calls in flight, found again after the connection or the service broke.

One thread owns the connection (corrections 20); a caller sends its request itself if nothing is in the way, and waits. A
call that was in flight when the connection broke is sent again with its id, so that it is carried out once (F34).
"""

from __future__ import annotations

import random
import select
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from vmdkvol import channel, logs, wire
from vmdkvol.calls import Calls, time_for_service
from vmdkvol.channel import Address, Connect, UnixAddress
from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.dialing import dial
from vmdkvol.errors import Denied, ProtocolError, ServiceUnreachable, VolumeError
from vmdkvol.frames import Frame
from vmdkvol.greeting import SILENCE_S, Greeting, Refused
from vmdkvol.hooks import Hooks
from vmdkvol.link import Link
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, Call, Hello, Request, Welcome
from vmdkvol.notices import Notice
from vmdkvol.reading import STRICT, Reading
from vmdkvol.stream import Secure

A = TypeVar("A")

CONNECT_S = 2.0  # until the connection stands
# A call that is made while the service is away waits this long for it: a restart is not seen, an absence soon is.
PATIENCE_S = 10.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
# A service that refuses us has to look at our certificate each time.
REFUSED_PAUSE_S = 10.0


class Line:
    """The agent's connection to its service. ``start`` it after the fork; whoever made it calls ``close``."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        *,
        agent: str,
        boot_id: str,
        secure: Secure | None = None,
        connect: Connect = channel.connect,
        on_up: Callable[[Welcome], None] | None = None,
        on_down: Callable[[VolumeError], None] | None = None,
        patience_s: float = PATIENCE_S,
        first_pause_s: float = FIRST_PAUSE_S,
        silence_s: float = SILENCE_S,
        reading: Reading = STRICT,
    ) -> None:
        """``secure`` makes a connection to another machine one that proves who is at both ends (see ``tls``); ``connect``
        opens it. ``reading`` is how what the service says is read.

        ``on_up`` is called when a Hello was answered, ``on_down`` when the line broke. Both run on a thread of the line
        and may ask the service themselves. After a call that ended in silence the line says Hello again on the standing
        connection, so that ``on_up`` also tells that the service is well.
        """
        self._address = address
        self._dial = partial(dial, address, secure, CONNECT_S, connect)
        self._clock = clock
        self._hello = Hello(OLDEST_VERSION, NEWEST_VERSION, agent, boot_id)
        self._reading = reading
        self._first_pause_s = first_pause_s
        self._on_up = on_up
        self._on_down = on_down
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._trouble: VolumeError = ServiceUnreachable(f"the service at {address} was not reached yet")
        self._calls = Calls(clock, self._trouble, patience_s, self._push, self._wake)
        # The connection for whoever sends, and the turn to do so. Reading, opening and closing are its thread's alone.
        self._turn_to_send = threading.Lock()
        self._link: Link | None = None
        self._hooks = Hooks(clock.condition())
        self._listeners: tuple[Callable[[Notice], None], ...] = ()
        self._welcome: Welcome | None = None
        self._silence_s = None if isinstance(address, UnixAddress) else silence_s
        self._greeting = Greeting(self._hello, clock, self._silence_s)
        self._closing = clock.condition()
        self._closed = self._refused = False
        self._workers: list[Worker] = []
        self._log = logs.get("line")

    def start(self) -> Line:
        """Connect, now and whenever it must be again. Returns at once; ``up`` tells."""
        self._workers = [self._clock.start("line", self._keep_connected), self._clock.start("line-hooks", self._hooks.run)]
        return self

    def close(self) -> None:
        """End the line: whoever waits gets ServiceUnreachable. Afterwards no thread of the line runs."""
        with self._closing:
            self._closed = True
            self._closing.notify_all()
        self._calls.close()
        self._hooks.close()
        self._wake()
        for worker in self._workers:
            worker.join()
        self._workers = []
        self._wake_in.close()
        self._wake_out.close()

    @property
    def up(self) -> bool:
        """Tell whether the service answered our Hello on the connection that stands now."""
        return self._welcome is not None

    @property
    def welcome(self) -> Welcome | None:
        """Return who the service says we are; None while the line is down."""
        return self._welcome

    @property
    def trouble(self) -> VolumeError:
        """Return why the line is down, or was the last time."""
        return self._trouble

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        """Call ``listener`` for each notice from now on, on a thread of the line; it may ask the service itself."""
        self._listeners = (*self._listeners, listener)

    def ask(self, request: Request[A], call: Call) -> A:
        """See ``messages.Service``. While the service is away, wait for it, no longer than ``patience_s``.

        A request that is too large for a frame raises BadRequest. What the service refuses us for, such as
        NotEnrolled or ProtocolVersion, is raised at once.
        """
        wire.write_request(request, call.id, 0)
        return self._calls.ask(request, call)

    # --- the thread that owns the connection -----------------------------------------------------------------

    def _keep_connected(self) -> None:
        pause = self._first_pause_s
        while not self._closed:
            greeted = self._serve_once()
            longest = REFUSED_PAUSE_S if self._refused else LONGEST_PAUSE_S
            pause = self._first_pause_s if greeted else min(pause * 2, longest)
            # Jitter: the agents of a site shall not all knock at the same moment after the service's restart.
            self._pause(pause * random.uniform(0.7, 1.3))

    def _serve_once(self) -> bool:
        """Connect and use the connection until it breaks; tell whether a Hello was answered on it."""
        greeted = False
        link = None
        try:
            link = Link(self._dial(), self._clock, self._reading.most, cut=self._reading.cut)
            with self._turn_to_send:
                self._link = link
            self._greeting = Greeting(self._hello, self._clock, self._silence_s)
            self._greet(link)
            while not self._closed and self._turn(link):
                greeted = greeted or self.up
            error: VolumeError = ServiceUnreachable(f"the connection to the service at {self._address} broke")
        except ProtocolError as reason:
            # ProtocolVersion included only if it came as the answer to Hello, and that is not raised as it is.
            error = ServiceUnreachable(f"the service at {self._address} broke the protocol: {reason.text}")
        except Refused as refused:
            error = refused.error
        except VolumeError as reason:
            error = reason
        except Exception as reason:  # noqa: BLE001 - top of a thread: a bug costs this connection, not the line
            self._log.exception("line broke by a bug")
            error = ServiceUnreachable(f"the connection to the service broke by a bug: {type(reason).__name__}")
        finally:
            if link is not None:
                with self._turn_to_send:
                    self._link = None
                link.close()
        # Without a certificate nothing is asked of the service, and one may come at any moment.
        self._refused = link is not None and isinstance(error, Denied)
        self._down(error)
        return greeted

    def _greet(self, link: Link, *, quiet: bool = False) -> None:
        with self._turn_to_send:
            link.send(self._greeting.say(quiet=quiet))

    def _turn(self, link: Link) -> bool:
        """Wait for something to do and do it; False when the connection ended."""
        happened = self._wait(link)
        alive = True
        if happened & select.POLLOUT:
            with self._turn_to_send:
                link.flush()
        if happened & ~select.POLLOUT:
            # A hang-up too is found by reading: answers may stand before it.
            alive = link.receive()
            while (frame := link.take()) is not None:
                self._greeting.heard()
                self._arrived(frame)
        self._check_time(link)
        if alive and self.up:
            if not self._greeting.under_way and self._calls.doubted():
                self._greet(link)
            elif self._greeting.wanted:
                self._greet(link, quiet=True)
            with self._turn_to_send:
                alive = self._send_calls(link)
        return alive

    def _wait(self, link: Link) -> int:
        """Return what poll(2) says of the connection, once it or another thread wants something, or a time is over."""
        moments = [moment for moment in (link.expires, self._greeting.moment) if moment is not None]
        # One millisecond more: poll rounds down, and a turn too early would be followed by many.
        timeout = max(0.0, min(moments) - self._clock.monotonic()) * 1000 + 1 if moments else None
        poll = select.poll()
        poll.register(link, select.POLLIN | (select.POLLOUT if link.sending else 0))
        poll.register(self._wake_out, select.POLLIN)
        found = dict(poll.poll(timeout))
        if self._wake_out.fileno() in found:
            self._wake_out.recv(4096)
        return found.get(link.fileno(), 0)

    def _check_time(self, link: Link) -> None:
        if self._greeting.overdue:
            raise ServiceUnreachable(f"the service at {self._address} does not answer")
        if link.expires is not None and self._clock.monotonic() >= link.expires:
            raise ServiceUnreachable(f"the service at {self._address} stopped in the middle of a message")

    def _send_calls(self, link: Link) -> bool:
        version = self._welcome.version if self._welcome is not None else OLDEST_VERSION
        for pending in self._calls.to_send():
            left_s = time_for_service(pending.call.deadline)
            if not link.send(wire.write_request(pending.request, pending.call.id, left_s, version)):
                return False
        return True

    def _push(self) -> None:
        """Send what waits to be sent, here and now; what is in the way of that is the connection's thread's to do."""
        if self._turn_to_send.acquire(blocking=False):
            try:
                link = self._link
                if link is not None and self.up and not link.sending and self._send_calls(link) and not link.sending:
                    return
            finally:
                self._turn_to_send.release()
        self._wake()

    def _arrived(self, frame: Frame) -> None:
        if self._greeting.answered_by(frame):
            self._greeted(frame)
        elif frame.id is None and frame.type == wire.ERROR:
            raise ServiceUnreachable(f"the service closes the connection: {wire.read_error(frame.body).text}")
        elif frame.id is None:
            notice = wire.read_notice(frame)
            for listener in self._listeners:
                self._hooks.later(partial(listener, notice))
        elif frame.type == wire.PROGRESS:
            self._calls.progressed(frame.id, wire.read_progress(frame.body))
        else:
            self._calls.answered(frame.id, lambda request: self._reading.reply(request, frame))

    def _greeted(self, frame: Frame) -> None:
        news = self._greeting.end()
        if frame.type == wire.ERROR:
            raise Refused(wire.read_error(frame.body))
        welcome = wire.read_answer(self._hello, frame.body)
        wire.common_version(welcome.version, welcome.version)
        if not self.up:
            self._log.info("line up", service=welcome.service, vm=welcome.vm_name, address=str(self._address))
        self._welcome = welcome
        if news:
            self._calls.up()
        if news and self._on_up is not None:
            self._hooks.later(partial(self._on_up, welcome))

    def _down(self, error: VolumeError) -> None:
        news = (type(error), error.text) != (type(self._trouble), self._trouble.text)
        self._welcome, self._trouble = None, error
        was_up = self._calls.down(error)
        if (was_up or news) and not self._closed:
            # Once, not at each of the tries of an hour.
            self._log.warning("line down", error=str(error), address=str(self._address))
        if was_up and self._on_down is not None:
            self._hooks.later(partial(self._on_down, error))

    def _pause(self, seconds: float) -> None:
        deadline = Deadline.after(self._clock, seconds)
        with self._closing:
            while not self._closed and not deadline.passed:
                self._closing.wait(deadline.left_s)

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"\0")
        except OSError:
            # Full: the thread has enough to wake up for. Closed: there is none.
            pass
