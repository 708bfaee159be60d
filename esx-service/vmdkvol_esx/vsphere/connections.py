"""TLS connections to the endpoint that end at a call's deadline, whatever the peer does, and that know what was sent.

A call is made inside ``flying``: every socket that it connects, writes or reads takes what is left of its deadline, so a
peer that sends one byte a second is as late as one that sends none. A timeout of the socket alone would begin anew each time.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection, IncompleteRead
from io import BytesIO
from typing import Any, cast

from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Internal
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.faults import Kind
from vmdkvol_esx.vsphere.pins import Pin

# For reaching the server and for the TLS handshake, each.
CONNECT_S = 10.0
# Idle for longer, a connection may have been forgotten by a firewall on the way.
IDLE_S = 60
# The devices of a page's hundred virtual machines have a tenth of it.
MAX_ANSWER = 64 << 20

_ENVELOPE = re.compile(
    rb"\A\s*(<\?xml[^>]*\?>)?\s*<(\w+:)?Envelope\b[^>]*>\s*(<(\w+:)?Header\b.*?</(\w+:)?Header>\s*)?<(\w+:)?Body\b[^>]*>\s*"
    rb"<(\w+:)?(?P<what>\w+)\b",
    re.DOTALL,
)


@dataclass(slots=True)
class Flight:
    """One call under way on this thread. ``sent`` is set before its first byte is written: maybe executed from then on.

    ``private``: what is sent holds a password, so nothing of the answer's text is told.
    """

    deadline: Deadline
    kind: Kind
    operation: str = ""
    private: bool = False
    # The method that is being called; empty while no SOAP is spoken.
    method: str = ""
    sent: bool = False
    calls: int = 0
    # Bytes of the answer to a call; more of it is not read.
    limit: int = MAX_ANSWER

    def left_s(self, at_most: float = float("inf")) -> float:
        """Return the seconds left, more than 0; TimeoutError if there are none."""
        left = min(self.deadline.left_s, at_most)
        if left <= 0.0:
            raise TimeoutError("no answer within the call's time")
        return left

    def begin(self, method: str) -> None:
        """Count a call of ``method``; Internal for a second one in a change: which of them was made could not be said."""
        self.calls += 1
        self.method = method
        if self.kind is Kind.CHANGE and self.calls > 1:
            raise Internal("a change made two calls of the API in one")


_FLIGHT: ContextVar[Flight | None] = ContextVar("flight", default=None)


@contextmanager
def flying(flight: Flight) -> Iterator[Flight]:
    """Let every call of this thread inside the block be part of ``flight``."""
    token = _FLIGHT.set(flight)
    try:
        yield flight
    finally:
        _FLIGHT.reset(token)


def flight() -> Flight:
    """Return the flight of this thread; Internal outside of one: such a call would have no deadline."""
    found = _FLIGHT.get()
    if found is None:
        raise Internal("the vSphere API was called outside of its session, without a deadline")
    return found


class WrongPin(ssl.SSLError):
    """The server presents another certificate than the pinned one."""


class BoundedSocket(ssl.SSLSocket):
    """A TLS socket of a ``PinnedContext``: bounded by the flight of the thread that uses it, and refused without its pin."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(flight().left_s(CONNECT_S))
        super().do_handshake(block)
        pin = cast(PinnedContext, self.context).pin
        if pin is not None and not pin.matches(self.getpeercert(binary_form=True)):
            raise WrongPin(f"it is not the pinned one, {pin.fingerprint}")

    def send(self, data: Any, flags: int = 0) -> int:
        own = flight()
        self.settimeout(own.left_s())
        own.sent = True
        return super().send(data, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(flight().left_s())
        return super().recv_into(buffer, nbytes, flags)

    def forgotten(self) -> bool:
        """Tell whether the peer ended an idle connection. TLS 1.3 has tickets to read on a live one: those say nothing."""
        self.settimeout(0.0)
        try:
            # Nothing, or something that nobody asked for: not to be used either way.
            super().recv(1)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        return True


class PinnedContext(ssl.SSLContext):
    """Checks the certificate as ``Trust`` says, at each handshake, whoever opens the connection and wherever to."""

    pin: Pin | None = None

    @classmethod
    def of(cls, trust: Trust) -> PinnedContext:
        """Return the context; BadRequest if a certificate of ``trust`` cannot be read."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.sslsocket_class = BoundedSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.pin = trust.pin
        try:
            if trust.ca is not None:
                context.load_verify_locations(cadata=trust.ca)
            elif trust.pin is not None:
                context.load_verify_locations(cadata=trust.pin.pem)
                # Else a pinned certificate that an authority signed is refused for want of that authority.
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                context.check_hostname = False
            else:
                context.load_default_certs()
        except (ssl.SSLError, ValueError, TypeError) as error:
            # An empty text is a ValueError there, one that is not ASCII a TypeError.
            raise BadRequest(f"the endpoint's certificates cannot be read: {error}", remedy="give them as PEM") from error
        return context


class Connection(HTTPSConnection):
    """One connection, made anew when it was ended meanwhile. Bounded by the flight of whoever uses it."""

    sock: Any

    def __init__(self, host: str, port: int, context: PinnedContext) -> None:
        super().__init__(host, port, context=context)
        self._trusted = context

    def connect(self) -> None:
        # Known here by the address that was given: what a name server says of it is not to be trusted.
        self.sock = self._trusted.wrap_socket(dial(self.host, self.port), server_hostname=self.host)

    def request(self, *args: Any, **kwargs: Any) -> None:
        # Found out before the first byte, it costs a connection; found out after it, nobody knows whether a change was made.
        if self.sock is not None and self.sock.forgotten():
            self.close()
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        """Return the answer, read to its end. ValueError if it is not one to the call that was made."""
        answer = super().getresponse()
        own = flight()
        body = answer.read(own.limit + 1)
        if len(body) > own.limit:
            # What is left of it would be taken for the next answer.
            self.close()
            raise ValueError(f"more than {own.limit} bytes")
        if answer.length:
            raise IncompleteRead(b"", answer.length)
        if own.method:
            _check(answer, body, own.method)
        return Answer(answer, body)


class Answer(BytesIO):
    """An HTTP answer that was read to its end, with what the bindings use of one."""

    def __init__(self, answer: HTTPResponse, body: bytes) -> None:
        super().__init__(body)
        self.status = answer.status
        self.reason = answer.reason
        self.getheader = answer.getheader


def _check(answer: HTTPResponse, body: bytes, method: str) -> None:
    """Raise ValueError unless the body is the SOAP answer to ``method``, or with status 500 its fault.

    The bindings take any XML for an answer, and what holds none of it, a proxy's login page say, for "nothing": a change
    would have succeeded, and an object would not exist.
    """
    if answer.status not in (200, 500):
        return
    if answer.getheader("Content-Encoding", "identity").lower() != "identity":
        raise ValueError("it is compressed, which was not asked for")
    found = _ENVELOPE.match(body[:65536])
    wanted = f"{method}Response" if answer.status == 200 else "Fault"
    if found is None or found["what"].decode("ascii", "replace") != wanted:
        raise ValueError(f"it is no {wanted} in a SOAP envelope")


def dial(host: str, port: int) -> socket.socket:
    """Return a TCP connection; OSError if no address of ``host`` answers in time. The name's lookup has the system's limits."""
    own = flight()
    until = own.deadline.at_most(CONNECT_S)
    last: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if until.passed:
            raise TimeoutError(f"{host}:{port} did not answer within {CONNECT_S:g} s")
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(until.left_s or 0.001)
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            made.close()
            last = error
            continue
        return made
    raise last
