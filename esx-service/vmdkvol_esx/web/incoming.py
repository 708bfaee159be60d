"""Connections of the API: how long each has, and what it may take before it has asked for anything.

Nobody is known before the head of a request is here, and none is answered before its body is, if that is short. Until then a
connection inside TLS takes a thread only for what has arrived: 32 of them that sent the first byte of a handshake, or half a
body, kept all threads, and every administrator out, for ten seconds.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn import sock
from gunicorn.http import get_parser
from gunicorn.http.errors import LimitRequestHeaders

from vmdkvol.listening import READ_S, Connection
from vmdkvol_esx.web.asked import MAX_BODY
from vmdkvol_esx.web.heads import head_in
from vmdkvol_esx.web.sources import neighbourhood
from vmdkvol_esx.web.tls_files import FilesUnfit, NoTls

# More than a browser and a proxy before it send together; each connection may hold so much.
MOST_HEAD = 65536
# Head and body of a login, which may bring along what was typed before it. A stranger who wants to send more hears who it is
# not, without that being read.
MOST_OF_STRANGERS = MAX_BODY + 8192
# What a stranger is told fits into the kernel's buffers, also of one that reads nothing.
STRANGERS_S = 1.0
_PIECE = 8192


class ApiConnection(Connection):
    """A connection whose time to send begins when a thread is there for it: it does not pay for those before it."""

    sock: Any
    initialized: bool
    begun: float | None = None

    def init(self) -> None:
        self.begun = self.begun or time.monotonic()
        super().init()

    def cut_off(self, now: float) -> float | None:
        until = (now if self.begun is None else self.begun) + READ_S
        if until > now:
            return until
        # Not an SSLSocket's own, which forgets that there is TLS, and what is written then goes out in the clear.
        socket.socket.shutdown(self.sock, socket.SHUT_RD)
        return None


class SecureConnection(ApiConnection):
    """A connection inside TLS. It has until ``until`` for its handshake and the head of its request, then for the rest.

    ``waits_for`` is what the poller is to see before it can go on; 0 if all that is waited for is here, or the peer has ended.
    ``known``: it is proved who asks; ``admitted``: it has a thread among those that are known.
    """

    until = 0.0
    waits_for = 0
    shaken = False
    known = False
    admitted = False
    # Since when a thread goes on with it; None: none does.
    since: float | None = None
    _secured = False
    # So much has been here before it has a thread to be answered; not known before the head.
    _wanted: int | None = None
    _looked = 0

    def __init__(self, *made_of: Any, **named: Any) -> None:
        super().__init__(*made_of, **named)
        self.source = str(self.client[0])
        self.neighbourhood = neighbourhood(self.source)
        self._held = bytearray()

    def come_in(self, knows: Callable[[Mapping[str, Any]], bool]) -> None:
        """Go on with the handshake, the head and a short body, with what has arrived; waits for nothing.

        NoTls if the handshake failed, FilesUnfit if there is nothing to make one with, LimitRequestHeaders.
        """
        self.since = time.monotonic()
        self.until = self.until or self.since + READ_S
        self.sock.setblocking(False)
        self.waits_for = 0
        try:
            if not self.shaken:
                self._shake()
            if self._wanted is None:
                self._wanted = self._look_at_head(knows)
            while len(self._held) < self._wanted and self._receive():
                pass
        except ssl.SSLWantReadError:
            self.waits_for = EVENT_READ
        except ssl.SSLWantWriteError:
            self.waits_for = EVENT_WRITE
        finally:
            self.since = None

    def end_turn(self) -> None:
        """End a connection that a thread does not get done with: its peer sends what TLS takes in by itself, without an end.

        Not the reading half alone: what still arrives would go on being read.
        """
        socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def init(self) -> None:
        if self.initialized:
            return
        self.begun = time.monotonic()
        self.initialized = True
        self.sock.settimeout(READ_S if self.known else STRANGERS_S)
        if not self.known:
            # What a stranger has not sent by now is not waited for, least of all with a thread.
            socket.socket.shutdown(self.sock, socket.SHUT_RD)
        self.parser = get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader.unread(bytes(self._held))
        self._held.clear()

    def _shake(self) -> None:
        try:
            if not self._secured:
                self.sock = sock.ssl_wrap_socket(self.sock, self.cfg)
                self._secured = True
            # Else it would be made at the first read, where nobody can tell it from a connection that broke off later.
            self.sock.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError, FilesUnfit):
            # One that ends here left without a word, as a probe does that only looks whether the port is open.
            raise
        except ssl.SSLError as error:
            raise NoTls(error) from error
        self.shaken = True

    def _look_at_head(self, knows: Callable[[Mapping[str, Any]], bool]) -> int:
        """Return how many bytes are waited for, with the head; 0 if the peer has ended."""
        while (head := head_in(self._held, self._looked)) is None:
            self._looked = len(self._held)
            if self._looked > MOST_HEAD:
                raise LimitRequestHeaders("the head of the request is too long")
            if not self._receive():
                return 0
        said = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in head.fields.items()}
        self.known = knows({**said, "gunicorn.socket": self.sock, "REMOTE_ADDR": self.source})
        return head.size + head.body(MAX_BODY if self.known else MOST_OF_STRANGERS - head.size)

    def _receive(self) -> bool:
        piece = self.sock.recv(_PIECE)
        self._held += piece
        return bool(piece)
