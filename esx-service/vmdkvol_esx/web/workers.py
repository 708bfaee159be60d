"""The workers of the API's doors: how what comes in is answered, and who has which threads meanwhile.

At the secured door nobody is known before the head of a request is here. Until then a connection has a thread of the strangers'
own, and only for what has arrived; who is known goes on among the others. So strangers keep nobody waiting who is known,
however many there are, and whatever they leave half said; and those of one neighbourhood keep no others from becoming known.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException

from vmdkvol.errors import BadRequest, Internal, VolumeError, one_line
from vmdkvol.listening import READ_S, BoundedWorker
from vmdkvol_esx.web import problems
from vmdkvol_esx.web.incoming import ApiConnection, SecureConnection
from vmdkvol_esx.web.neighbours import Neighbours
from vmdkvol_esx.web.tls_files import FilesUnfit, NoTls

# Strangers have threads of their own, half as many as there are; those of one neighbourhood have a quarter of them at a time.
_SHARE, _FEWEST = 2, 4
_PART_OF_ONE, _FEWEST_OF_ONE = 4, 2
# A turn takes what has arrived and waits for nothing. What takes longer has no end: keys that are changed again and again.
_TURN_S = 5.0
# Whoever connects would have a line each time.
_UNFIT_EVERY_S = 60.0
_LIMITS = {LimitRequestLine: (414, "URI Too Long"), LimitRequestHeaders: (431, "Request Header Fields Too Large")}
_SLOW = f"no TLS: no handshake within {READ_S:.0f} s"
_SILENT = f"no TLS: not a word within {READ_S:.0f} s"
_CROWDED = "no TLS: it had to make room before its handshake was done"


class ApiWorker(BoundedWorker):
    """Answers what is no HTTP as the API answers all that is wrong: with a problem."""

    connection = ApiConnection
    unfit_told: float | None = None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        if isinstance(exc, FilesUnfit):
            self._tell_unfit(exc)
            return
        if isinstance(exc, ssl.SSLError):
            # Nobody is there who could read an answer: the handshake failed, or the peer broke off.
            self.log.info("TLS refused: %s", exc)
            if isinstance(exc, NoTls):
                self.app.turned_away(str(addr[0]), exc.why)
            return
        if isinstance(exc, ParseException):
            status, reason = _LIMITS.get(type(exc), (400, "Bad Request"))
            error: VolumeError = BadRequest(
                f"this is not HTTP as the API takes it: {one_line(str(exc), 80)}",
                remedy="see docs/how-to/api.md",
            )
        else:
            self.log.exception("request failed")
            status, reason, error = 500, "Internal Server Error", Internal("the API failed on this request")
        body = json.dumps(problems.problem(error, status, str(uuid4()))).encode()
        head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {problems.MEDIA}\r\n"
        try:
            util.write_nonblock(client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
        except OSError:
            # The peer was first.
            return

    def _tell_unfit(self, error: FilesUnfit) -> None:
        now = time.monotonic()
        if self.unfit_told is None or now - self.unfit_told >= _UNFIT_EVERY_S:
            self.unfit_told = now
            self.log.error("no TLS with the files of [web]: %s; see `vmdkvol-esxd doctor`", error)


class SecureWorker(ApiWorker):
    """Gives a connection that has not asked yet a thread for what is here, and the poller while its peer is silent.

    Where there is room for no more connections, the one that waits longest of whoever has most of them makes room.
    """

    connection = SecureConnection

    def init_process(self) -> None:
        threads = max(_FEWEST, self.cfg.threads // _SHARE)
        self._strangers = ThreadPoolExecutor(threads, "strangers")
        self._neighbours = Neighbours[SecureConnection](max(_FEWEST_OF_ONE, threads // _PART_OF_ONE))
        super().init_process()

    def accept(self, listener: Any) -> None:
        super().accept(listener)
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def hand_over(self, conn: Any) -> None:
        if conn.admitted or self._neighbours.begin(conn.neighbourhood, conn):
            self._start(conn)

    def _start(self, conn: SecureConnection) -> None:
        done = (self.tpool if conn.admitted else self._strangers).submit(self.handle, conn)
        done.add_done_callback(lambda _: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: Any) -> Any:
        if not conn.admitted:
            try:
                conn.come_in(self.app.knows)
            except Exception as error:  # noqa: BLE001 - the top of a request, as gunicorn's own
                if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
                    self.handle_error(None, conn.sock, conn.client, error)
                return False
            if conn.waits_for or conn.known:
                return False
        return super().handle(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        following = self._neighbours.end(conn.neighbourhood, conn)
        if following is not None:
            self._start(following)
        events, conn.waits_for = conn.waits_for, 0
        if events:
            conn.timeout = conn.until
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, events, partial(self.on_pending_socket_readable, conn))
        elif conn.known and not conn.admitted:
            conn.admitted = True
            self.hand_over(conn)
        else:
            super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        self._end_turns()
        # gunicorn looks no further than the first whose time is not over, and these come back in any order.
        waiting = sorted(self.pending_conns, key=lambda conn: float(conn.timeout))
        self.pending_conns.clear()
        self.pending_conns.extend(waiting)
        # One that this worker's own end cuts short has done nothing wrong.
        for conn in self._late(waiting) if self.alive else ():
            self.app.turned_away(conn.source, _SLOW if conn.until else _SILENT)
        super().murder_pending()

    def _end_turns(self) -> None:
        now = time.monotonic()
        for conn in self._neighbours.having():
            since = conn.since
            if since is not None and now - since > _TURN_S:
                # Who was first need not be ended.
                with contextlib.suppress(OSError):
                    conn.end_turn()

    def _late(self, waiting: list[Any]) -> Iterator[Any]:
        now = time.monotonic()
        return (conn for conn in waiting if conn.timeout <= now and not conn.shaken)

    def _make_room(self) -> None:
        """Close the connection that waits longest of whoever has most that have not asked yet."""
        pending = [conn for conn in self.pending_conns if not conn.known]
        crowd = Counter(conn.neighbourhood for conn in (*pending, *self._neighbours.waiting())).most_common(1)
        if not crowd:
            return
        place = crowd[0][0]
        mine = [conn for conn in pending if conn.neighbourhood == place]
        if mine:
            oldest = min(mine, key=lambda conn: float(conn.timeout))
            self.pending_conns.remove(oldest)
            self.poller.unregister(oldest.sock)
        else:
            oldest = self._neighbours.leaves(place)
        self.nr_conns -= 1
        if not oldest.shaken:
            self.app.turned_away(oldest.source, _CROWDED)
        oldest.close()
