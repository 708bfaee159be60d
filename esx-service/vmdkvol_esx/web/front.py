"""The REST API over HTTP: who asks, which row of the table, its message to the core, the answer as JSON, errors as problems.

The only module of the service that knows Flask. It decides nothing: what may be asked by whom, and what it does, is the core's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoSuchPath

from vmdkvol.admin_errors import WrongMedia
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, Internal, NotFound, NotPermitted, StaleRequest, VolumeError, one_line, quoted
from vmdkvol.frames import encode
from vmdkvol.logs import Log
from vmdkvol.messages import Call
from vmdkvol.orders import Actor, Outcome
from vmdkvol.wire import dump
from vmdkvol_esx.web import misreadings, problems
from vmdkvol_esx.web.asked import Said, call_id, message, path_parts, wait_of
from vmdkvol_esx.web.beside import numbered
from vmdkvol_esx.web.health import Health
from vmdkvol_esx.web.intake import taken_in
from vmdkvol_esx.web.openapi import document
from vmdkvol_esx.web.origins import check_origin
from vmdkvol_esx.web.plain import Plain
from vmdkvol_esx.web.preconditions import Conditions, tag
from vmdkvol_esx.web.routes import GET, Route

# The core's own limit of an order is Docker's two minutes.
QUERY_S, ORDER_S = 15.0, 110.0
# Work that has not begun by then waits for its turn. What takes no longer is answered as done.
_BEGUN_S = 0.5
_JSON = "application/json"
_OPEN = frozenset({"/livez", "/readyz"})
_LOOKS = frozenset({GET, "HEAD", "OPTIONS"})
# A browser with an administrator's certificate shows it for whatever page asks: no page of another site gets an answer into
# its own process, or into a frame.
_ALONE = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def _nobody(_: Mapping[str, Any]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Door:
    """What the API is served with. ``ask`` asks the core; ``bound`` puts fields into the log lines of the thread.

    ``known`` tells whether it is known who asks, where that need not be: what is wrong inside is told to nobody else.
    """

    ask: Callable[[Any, Call], Any]
    who: Callable[[Mapping[str, Any]], Actor]
    health: Health
    clock: Clock
    log: Log
    new_id: Callable[[], UUID]
    bound: Callable[..., AbstractContextManager[None]]
    known: Callable[[Mapping[str, Any]], bool] = _nobody


def create_app(door: Door, routes: Iterable[Route]) -> Flask:
    """Return the WSGI application."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    rows = tuple(routes)
    for row in rows:
        rule = row.path.replace("{", "<").replace("}", ">")
        app.add_url_rule(rule, row.name, partial(_answer, door, row), methods=[row.method])
    described = json.dumps(document(rows), indent=1, ensure_ascii=False)
    app.add_url_rule("/v1/openapi.json", "openapi", lambda: _text(described, _JSON), methods=[GET])
    app.add_url_rule("/livez", "livez", lambda: _health(door, *door.health.live()), methods=[GET])
    app.add_url_rule("/readyz", "readyz", lambda: _health(door, *door.health.ready()), methods=[GET])
    app.add_url_rule("/metrics", "metrics", lambda: _text(door.health.metrics(), "text/plain; version=0.0.4"), methods=[GET])
    _around(app, door)
    _errors(app, door)
    return app


def _around(app: Flask, door: Door) -> None:
    app.wsgi_app = numbered(app.wsgi_app, door.new_id, door.bound)  # type: ignore[method-assign, assignment]

    @app.before_request
    def check() -> None:
        g.call = request.environ["vmdkvol.id"]
        if request.method not in _LOOKS:
            check_origin(request.environ)
        if request.path not in _OPEN:
            g.by = door.who(request.environ)
        # Who it is comes first: a stranger's body is not waited for.
        g.body = taken_in(
            request.environ["wsgi.input"],
            request.content_length,
            chunked=request.environ.get("HTTP_TRANSFER_ENCODING") is not None,
        )
        # The path as it came, since what is decoded hides where its parts end.
        path_parts(str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "/"))

    @app.after_request
    def dress(response: Response) -> Response:
        response.headers["X-Request-Id"] = _call()
        response.headers["Cache-Control"] = "no-store"
        response.headers.update(_ALONE)
        return response


def _answer(door: Door, row: Route, **path: str) -> Response:
    wait_s = wait_of(request.headers.get("Prefer")) if row.long else None
    limit = QUERY_S if row.reads else ORDER_S
    deadline = Deadline.after(door.clock, limit if wait_s is None else min(limit, max(wait_s, _BEGUN_S)))
    by: Actor = g.by
    said = Said(
        request.query_string.decode("latin-1"),
        g.body,
        request.mimetype,
        Conditions(*map(request.headers.get, ("If-Match", "If-None-Match", "If-Unmodified-Since"))),
        None if row.reads else request.headers.get("Idempotency-Key"),
        None if row.reads else request.headers.get("X-Request-Id"),
    )
    g.call = call_id(said, by, g.call)
    asked = _read(row, path, said, by)
    with door.bound(request=str(g.call)):
        answer = door.ask(asked, Call(g.call, deadline))
        if not row.reads:
            door.log.info("order", method=row.method, path=request.path, by=by.name, role=by.role.value, source=by.source)
    response = _shown(row, answer)
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"respond-async, wait={wait_s}"
    return response


def _read(row: Route, path: Mapping[str, str], said: Said, by: Actor) -> Any:
    try:
        return message(row, path, said, by)
    except VolumeError:
        # What is wrong with an order is for who may give it. A right one is refused by the core, which has the audit.
        kind: Any = row.message
        if by.role.covers(kind.needs):
            raise
        text = f"{one_line(by.name, 60)} has the role {by.role}, and {row.method} here needs {kind.needs}"
        raise NotPermitted(text, remedy="ask an administrator for a token with that role") from None


def _shown(row: Route, answer: Any) -> Response:
    told = answer if isinstance(answer, Plain) else Plain(encode(dump(answer)))
    response = _text(told.text, _JSON)
    if row.cursor is not None and (following := told.next) is not None:
        response.headers["Link"] = f'<{_next(str(following))}>; rel="next"'
    if isinstance(answer, Outcome):
        _tell_outcome(row, answer, response)
    elif row.reads and row.cursor is None:
        _tell_tag(told.body, response)
    return response


def _tell_outcome(row: Route, answer: Outcome, response: Response) -> None:
    if answer.task is not None and not answer.done:
        response.status_code = 202
        response.headers["Location"] = f"/v1/tasks/{answer.task}"
    elif row.makes and answer.done:
        response.status_code = 201
        response.headers["Location"] = f"{row.at or row.path}/{quote(answer.subject, safe='')}"
    if answer.revision is not None and answer.done:
        response.headers["ETag"] = f'"{tag(answer.revision, answer.subject)}"'


def _tell_tag(body: Any, response: Response) -> None:
    """The ETag of what has a revision: that and its id, which If-Match compares, and what is shown, as If-None-Match does."""
    inner = body.get("row", body) if isinstance(body, dict) else {}
    revision = inner.get("revision") if isinstance(inner, dict) else None
    if revision is None:
        return
    shown = hashlib.sha256(response.get_data()).hexdigest()[:16]
    response.set_etag(tag(revision, str(inner.get("id", "")), shown))
    response.make_conditional(request)


def _next(after: str) -> str:
    query = [(name, value) for name, value in parse_qsl(request.query_string.decode("latin-1")) if name != "after"]
    return f"{quote(request.path)}?{urlencode([*query, ('after', after)])}"


def _text(text: str | bytes, media: str) -> Response:
    return Response(text, content_type=media)


def _health(door: Door, well: bool, reasons: Mapping[str, str]) -> Response:
    told: dict[str, Any] = {"status": "ok" if well else "unavailable"}
    if door.known(request.environ):
        told["checks"] = dict(reasons)
    response = _text(json.dumps(told), _JSON)
    response.status_code = 200 if well else 503
    return response


# --- errors ----------------------------------------------------------------------------------------------------------


def _errors(app: Flask, door: Door) -> None:
    @app.errorhandler(VolumeError)
    def refused(error: VolumeError) -> Response:
        expected = isinstance(error, StaleRequest) and request.headers.get("If-Match") is not None
        status = problems.status_of(error, expected=expected)
        what = {"method": request.method, "path": request.path, "status": status, "code": error.code, "reason": error.text}
        # By the id that the core had, if it was asked: it may be the caller's own.
        door.log.info("refused", request=_call(), **what)
        return _problem(error, status)

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        where = f"{request.method} {quoted(request.path, 60)}"
        if isinstance(error, NoSuchPath):
            return _problem(NotFound(f"there is no {where}", remedy="see /v1/openapi.json for what there is"), 404)
        if isinstance(error, MethodNotAllowed):
            allowed = ", ".join(sorted(error.valid_methods or ()))
            response = _problem(BadRequest(f"{where} is not possible", remedy=f"there: {allowed}"), 405)
            response.headers["Allow"] = allowed
            return response
        if error.code == 415:
            return _problem(WrongMedia(f"{where}: {error.name}"), 415)
        return _problem(BadRequest(f"{where}: {error.name}", remedy=misreadings.SEE), error.code or 500)

    @app.errorhandler(Exception)
    def crashed(error: Exception) -> Response:
        door.log.exception("crashed", request=_call(), method=request.method, path=request.path)
        return _problem(Internal(f"{type(error).__name__} in {request.method} {quoted(request.path, 60)}"), 500)


def _call() -> str:
    """Return the id of the call: the core's, if it came so far."""
    return str(g.get("call") or request.environ["vmdkvol.id"])


def _problem(error: VolumeError, status: int) -> Response:
    response = _text(json.dumps(problems.problem(error, status, _call()), ensure_ascii=False), problems.MEDIA)
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="vmdkvol"'
    seconds = problems.retry_after(error)
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    return response
