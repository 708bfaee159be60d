"""The REST API as the commands use it: what it answers as plain values, what it refuses as the error that it was.

An order has an id of its own (``Idempotency-Key``). If the connection breaks it is sent once more under the same one, so that
it is carried out once whatever happened to the first. What is read is simply read again. While a page of a list is read, the
service makes the next one: it is asked for as soon as the head of this one names it.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_plus, urlencode
from uuid import UUID, uuid4

from vmdkvol import (
    __version__,
    admin_errors,  # noqa: F401 - what the service refuses may be one of those too
)
from vmdkvol.cli.endpoint import TOKEN_FILE, Endpoint
from vmdkvol.cli.paths import Query
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadFrame, NotPermitted, ServiceUnreachable, VolumeError, from_code, one_line

# Longer than the core's own limit of an order, so that it is the core that says StillWorking.
ANSWER_S = 120.0
# A web process that is restarted is back by then.
PATIENCE_S = 2.0
_PAUSE_S = 0.1
_PAGE = 1000
_MAX_ANSWER = 256 << 20
_PIECE = 1 << 20
_PROBLEM = "application/problem+json"
_NEXT = re.compile(r'<[^<>]*[?&]after=([^&<>]*)[^<>]*>; *rel="next"')
AWAY = "at the service see `systemctl status vmdkvol-web`, then try again"
# What a proxy in front says if nothing is behind it.
_NOBODY_BEHIND = (502, 503, 504)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked. ``head`` is told the head of the answer before its body is read."""

    method: str
    target: str
    body: bytes | None
    headers: dict[str, str]
    head: Callable[[Message], None] | None = None


class Client:
    """One API; its connection is kept until ``close``. Every method raises what the service said, or ServiceUnreachable."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        *,
        answer_s: float = ANSWER_S,
        patience_s: float = PATIENCE_S,
        away: str = AWAY,
    ) -> None:
        """``away``: what to do if nobody answers."""
        self.endpoint = endpoint
        self._clock = clock
        self._answer_s = answer_s
        self._patience_s = patience_s
        self._away_remedy = away
        self._connection: http.client.HTTPConnection | None = None
        # What was asked in advance, on a connection of its own.
        self._ahead: tuple[str, http.client.HTTPConnection] | None = None

    def close(self) -> None:
        self._forget_ahead()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return what is there."""
        return self._ask("GET", path, query)

    def pages(
        self, path: str, key: str, query: Query | None = None, warn: Callable[[Mapping[str, Any]], None] | None = None
    ) -> Iterator[Any]:
        """Yield the items under ``key`` of every page; ``warn`` sees each page first."""
        after: str | int | None = None
        while True:
            wanted = {"limit": _PAGE, **(query or {})}
            page = self._ask("GET", path, {**wanted, "after": after}, head=partial(self._look_ahead, path, wanted))
            if warn is not None:
                warn(page)
            yield from page[key]
            following = page.get("next")
            if following is None:
                return
            if following == after:
                raise BadFrame(f"what answers at {self.endpoint} gives the same page again and again")
            after = following

    def order(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Query | None = None,
        *,
        dry_run: bool = False,
        expect: int | None = None,
        subject: str | None = None,
        wait_s: int | None = None,
        key: str | None = None,
    ) -> Any:
        """Return the outcome of a change, or its plan. ``expect``: StaleRequest unless the object has this revision,
        ``subject``: unless it is the one of this id; what is no id is the name of what has a name only.

        ``wait_s``: the outcome names the task of work that takes longer; None: it is waited for. ``key`` is that of an order
        that was given already, which goes on.
        """
        headers = {"Idempotency-Key": key or str(uuid4())}
        if wait_s is not None:
            headers["Prefer"] = f"respond-async, wait={wait_s}"
        if tag := _tag(expect, subject):
            headers["If-Match"] = f'"{tag}"'
        return self._ask(method, path, {**(query or {}), "dry_run": True if dry_run else None}, body, headers)

    def _ask(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        head: Callable[[Message], None] | None = None,
    ) -> Any:
        said = None if body is None else json.dumps(body).encode()
        deadline = Deadline.after(self._clock, self._answer_s)
        return self._answered(_Question(method, _target(path, query), said, self._headers(headers, said), head), deadline)

    def _look_ahead(self, path: str, query: Query, head: Message) -> None:
        """Ask for the page after the one whose head this is, unless that fails: then it is asked for in its turn."""
        self._forget_ahead()
        found = _NEXT.search(head.get("Link") or "")
        if found is None:
            return
        target = _target(path, {**query, "after": unquote_plus(found[1])})
        try:
            connection = self.endpoint.connect(self._answer_s)
            self._ahead = target, connection
            connection.request("GET", target, headers=self._headers({}, None))
        except (OSError, http.client.HTTPException, VolumeError):
            self._forget_ahead()

    def _was_asked(self, question: _Question) -> bool:
        """Tell whether just this was asked in advance; the connection is then the one on which the answer comes."""
        if self._ahead is None or (question.method, question.target) != ("GET", self._ahead[0]):
            return False
        if self._connection is not None:
            self._connection.close()
        self._connection, self._ahead = self._ahead[1], None
        return True

    def _forget_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[1].close()

    def _headers(self, more: Mapping[str, str], body: bytes | None) -> dict[str, str]:
        headers = {"Accept": f"application/json, {_PROBLEM}", "User-Agent": f"vmdkvol/{__version__}", **more}
        if body is not None:
            headers["Content-Type"] = "application/json"
        token = self.endpoint.trust.token
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        return headers

    def _answered(self, question: _Question, deadline: Deadline) -> Any:
        """Ask until there is an answer. An API that is away is waited for briefly; a broken connection costs one repeat."""
        patience = deadline.at_most(self._patience_s)
        broken = 0
        while True:
            try:
                asked = self._was_asked(question)
                connection = self._connected(deadline)
                if not asked:
                    connection.request(question.method, question.target, body=question.body, headers=question.headers)
                response = connection.getresponse()
                if question.head is not None:
                    question.head(response.headers)
                return self._read(response, deadline)
            except TimeoutError as error:
                self.close()
                raise self._silent() from error
            except (OSError, http.client.HTTPException) as error:
                reached = self._connection is not None
                self.close()
                broken += reached
                if patience.passed or broken > 2:
                    raise self._away(error) from error
                self._clock.sleep(min(_PAUSE_S, patience.left_s))
            except BaseException:
                # What is still to come on it would be the next question's answer.
                self.close()
                raise

    def _connected(self, deadline: Deadline) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self.endpoint.connect(max(deadline.left_s, 0.1))
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(max(deadline.left_s, 0.1))
        return self._connection

    def _read(self, response: http.client.HTTPResponse, deadline: Deadline) -> Any:
        body = bytearray()
        while piece := response.read1(_PIECE):
            body += piece
            if len(body) > _MAX_ANSWER:
                raise BadFrame(f"what answers at {self.endpoint} answers without end")
            if deadline.passed:
                raise TimeoutError
        if response.length:
            raise http.client.IncompleteRead(bytes(body), response.length)
        # Or the connection takes no further question.
        response.read()
        kind = response.headers.get_content_type()
        if kind in ("application/json", _PROBLEM):
            said = _parsed(bytes(body))
            if kind == _PROBLEM and isinstance(said, dict):
                raise _problem(said)
            if response.status < 300 and said is not None:
                return said
        if response.status == 204:
            return None
        raise self._foreign(response.status, kind)

    def _foreign(self, status: int, kind: str) -> VolumeError:
        if status in _NOBODY_BEHIND:
            return ServiceUnreachable(f"no API behind {self.endpoint} (HTTP {status})", remedy=self._away_remedy)
        if status in (401, 403):
            return NotPermitted(f"{self.endpoint} lets nobody in like this (HTTP {status})", remedy=f"check {TOKEN_FILE}")
        return BadFrame(
            f"what answers at {self.endpoint} is not this API (HTTP {status}, {one_line(kind, 60)})",
            remedy="check the address; if it is right, upgrade the older side",
        )

    def _silent(self) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"{self.endpoint} has not answered within {self._answer_s:.0f} s: whether it is done is unknown",
            remedy=self._away_remedy,
        )

    def _away(self, error: Exception) -> ServiceUnreachable:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ServiceUnreachable(f"the API at {self.endpoint} cannot be reached: {why}", remedy=self._away_remedy)


def _tag(revision: int | None, subject: str | None) -> str:
    """Return the ETag of this revision of the object; what has a name only has no id in it, what has no revision none."""
    before = "" if revision is None else str(revision)
    try:
        return f"{before}.{UUID(subject).hex}" if subject else before
    except ValueError:
        return before


def _target(path: str, query: Query | None) -> str:
    given = {key: _text(value) for key, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True, errors='surrogateescape')}" if given else path


def _text(value: str | int | float | bool | Sequence[str]) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else list(value)


def _parsed(body: bytes) -> Any:
    """Return the value, None if it is none: then it is no answer of ours."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _problem(said: Mapping[str, Any]) -> VolumeError:
    """Return the error that the service raised, from its Problem Details (RFC 9457)."""

    def text(key: str) -> str:
        value = said.get(key)
        return value if isinstance(value, str) else ""

    fields = {"request_id": text("request_id")} if text("request_id") else {}
    return from_code(text("code") or "unknown", text("detail") or text("title") or "it was refused", fields, text("remedy"))
