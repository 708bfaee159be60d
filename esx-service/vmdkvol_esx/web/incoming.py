"""Connections of the API: how long each has, and what it may take before it has asked for anything.

Nobody is known before the head of a request is here. Until then a connection inside TLS takes a thread only for what has
arrived: 32 that sent the first byte of a handshake kept all threads, and every administrator out, for ten seconds.
"""

from __future__ import annotations

import socket
import ssl
import time
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn import sock
from gunicorn.http import get_parser
from gunicorn.http.errors import LimitRequestHeaders

from vmdkvol.listening import READ_S, Connection
from vmdkvol_esx.web.tls_files import FilesUnfit, NoTls

# More than a browser and a proxy before it send together; each connection may hold so much.
MOST_HEAD = 65536
_PIECE = 8192
_END = b"\r\n\r\n"


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

    ``waits_for`` is what the poller is to see before it can go on; 0 if the head is here, or the peer has ended.
    """

    until = 0.0
    waits_for = 0
    _secured = False
    _shaken = False
    _head = b""

    def come_in(self) -> None:
        """Go on with the handshake and the head, with what has arrived; waits for nothing.

        NoTls if the handshake failed, FilesUnfit if there is nothing to make one with, LimitRequestHeaders.
        """
        self.until = self.until or time.monotonic() + READ_S
        self.sock.setblocking(False)
        self.waits_for = 0
        try:
            if not self._shaken:
                self._shake()
            self._read_head()
        except ssl.SSLWantReadError:
            self.waits_for = EVENT_READ
        except ssl.SSLWantWriteError:
            self.waits_for = EVENT_WRITE

    def init(self) -> None:
        if self.initialized:
            return
        self.begun = time.monotonic()
        self.initialized = True
        self.sock.settimeout(READ_S)
        self.parser = get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader.unread(self._head)
        self._head = b""

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
        self._shaken = True

    def _read_head(self) -> None:
        # Empty lines before a request are no head: who sends them has asked for nothing.
        while _END not in self._head.lstrip(b"\r\n"):
            if len(self._head) > MOST_HEAD:
                raise LimitRequestHeaders("the head of the request is too long")
            piece = self.sock.recv(_PIECE)
            if not piece:
                return
            self._head += piece
