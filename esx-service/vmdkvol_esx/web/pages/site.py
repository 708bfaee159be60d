"""The pages over HTTP: who asks, which row of a module's table, its view, the template. All that knows Flask.

An application of its own, beside that of the API: what counts for a page (a cookie, a form) is nothing there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, make_response, redirect, render_template, request, url_for
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoSuchPath

from vmdkvol import __version__
from vmdkvol.admin_errors import NotAuthenticated
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Internal, NotFound, VolumeError, quoted
from vmdkvol.messages import Call
from vmdkvol.orders import OrderFor
from vmdkvol.request_ids import derived
from vmdkvol_esx.web import problems
from vmdkvol_esx.web.asked import path_parts
from vmdkvol_esx.web.beside import numbered
from vmdkvol_esx.web.front import ORDER_S, QUERY_S, Door
from vmdkvol_esx.web.intake import taken_in
from vmdkvol_esx.web.origins import check_origin
from vmdkvol_esx.web.pages.browsers import ALONE, COOKIE, HEADERS, ROOT, is_ours
from vmdkvol_esx.web.pages.changing import Changes
from vmdkvol_esx.web.pages.entering import Entered, Gate, check_form
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.resending import CHANGE, PLAN, kept, once_more
from vmdkvol_esx.web.pages.said import Notes
from vmdkvol_esx.web.pages.tables import CHANGES, PAGES, named_for
from vmdkvol_esx.web.pages.visit import Away, Drawn, Sent, Visit
from vmdkvol_esx.web.pages.words import FILTERS, heading, shown

_STATIC, _LOGIN = f"{ROOT}/static", f"{ROOT}/login"
_GET, _POST = "GET", "POST"
# A person sees nothing meanwhile; what takes longer has a page of its own that shows how far it is.
_LONG_S = 2.0
_LOOKS = frozenset({_GET, "HEAD", "OPTIONS"})


def create_pages(door: Door, gate: Gate, new_note: Callable[[], str]) -> Flask:
    """Return the WSGI application of everything under ``/ui/``, and of ``/``, which leads there."""
    app = Flask(__name__, static_url_path=_STATIC, static_folder="static", template_folder="templates")
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.finalize = shown
    app.jinja_env.filters.update(FILTERS)
    notes, changes = Notes(new_note), Changes(CHANGES)
    _look(app, door, notes, changes)
    _around(app, door, gate)
    _errors(app, door)
    _rules(app, door, gate, notes, changes)
    return app


def warm(app: Flask) -> None:
    """Compile every template now: the first reader does not wait for it."""
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)


def _rules(app: Flask, door: Door, gate: Gate, notes: Notes, changes: Changes) -> None:
    def view(show: Callable[..., Drawn | Away | Sent], **path: str) -> Response:
        return _seen(show(_visit(door), **path), door, notes)

    def planned(verb: str) -> Response:
        return _seen(changes.plan(_visit(door), verb), door, notes)

    def carried_out(verb: str) -> Response:
        visit = _visit(door)
        done = changes.carry_out(visit, verb)
        if isinstance(done, Away):
            by = visit.by
            door.log.info("order", request=_call(), path=request.path, by=by.name, role=by.role.value, source=by.source)
        return _seen(done, door, notes)

    for page in PAGES:
        app.add_url_rule(page.path, page.path, partial(view, page.show), methods=[_GET])
    app.add_url_rule(f"{ROOT}/change/<verb>/plan", PLAN, planned, methods=[_POST])
    app.add_url_rule(f"{ROOT}/change/<verb>", CHANGE, carried_out, methods=[_POST])
    app.add_url_rule("/", "root", lambda: redirect(f"{ROOT}/", 303), methods=[_GET])
    app.add_url_rule(ROOT, "ui", lambda: redirect(f"{ROOT}/", 303), methods=[_GET])
    app.add_url_rule(_LOGIN, "login", lambda: _login_page("", 200, to=Form.read(_query()).maybe("to") or ""), methods=[_GET])
    app.add_url_rule(_LOGIN, "log_in", partial(_log_in, gate, changes), methods=[_POST])
    app.add_url_rule(f"{ROOT}/logout", "log_out", partial(_log_out, gate), methods=[_POST])


# --- a request -------------------------------------------------------------------------------------------------------


def _around(app: Flask, door: Door, gate: Gate) -> None:
    app.wsgi_app = numbered(app.wsgi_app, door.new_id, door.bound)  # type: ignore[method-assign, assignment]

    @app.before_request
    def check() -> None:
        raw = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path).partition("?")[0]
        path_parts(raw.removesuffix("/") or "/")
        chunked = request.environ.get("HTTP_TRANSFER_ENCODING") is not None
        body = taken_in(request.environ["wsgi.input"], request.content_length, chunked=chunked)
        looks = request.method in _LOOKS
        if not looks:
            check_origin(request.environ)
        g.form = Form.parse(body, request.mimetype)
        if request.path in ("/", ROOT, _LOGIN) or request.path.startswith(f"{_STATIC}/"):
            return
        # What the page itself fetches keeps nobody logged in who has left.
        idle = request.headers.get("X-Live") is not None
        g.entered = gate.enter(request.environ, request.cookies.get(COOKIE), idle=idle)
        if not looks:
            check_form(g.form, g.entered)

    @app.after_request
    def dress(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers["X-Request-Id"] = _call()
        still = request.path.startswith(f"{_STATIC}/") and response.status_code == 200
        response.headers["Cache-Control"] = "private, max-age=86400" if still else "no-store"
        return response


def _visit(door: Door) -> Visit:
    by = g.entered.by
    request_id = request.environ["vmdkvol.id"]
    deadline = Deadline.after(door.clock, QUERY_S if request.method == _GET else ORDER_S)

    def put(message: Any, call: Call) -> Any:
        if isinstance(message, OrderFor):
            # The id of an order is that of its plan: by it the log, the audit and the page speak of the same.
            g.call = call.id
            if message.long:
                call = replace(call, deadline=call.deadline.at_most(_LONG_S))
        with door.bound(request=str(call.id)):
            return door.ask(message, call)

    def new_id() -> Any:
        return derived(request_id, door.new_id())

    return Visit(by, request.path, Form.read(_query()), g.form, Call(request_id, deadline), door.clock, put, new_id)


def _call() -> str:
    """Return the id that finds this request: the order's, if there was one."""
    return str(g.get("call") or request.environ["vmdkvol.id"])


def _query() -> str:
    return request.query_string.decode("latin-1")


def _seen(found: Drawn | Away | Sent, door: Door, notes: Notes) -> Response:
    if isinstance(found, Sent):
        response = Response(found.text, content_type=found.media)
        response.headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
        return response
    if isinstance(found, Drawn):
        if found.refused is not None:
            _note(door, found.refused, found.status)
        return make_response(render_template(found.template, **found.values), found.status)
    note = notes.put(g.entered.csrf, found.said) if found.said else ""
    return _to(f"{found.to}{'&' if '?' in found.to else '?'}said={note}" if note else found.to)


def _to(path: str) -> Response:
    response = make_response(redirect(path, 303))
    # Flask would tell the reader of the answer where to go in a page of its own, without our layout.
    response.set_data(b"")
    return response


# --- logging in ------------------------------------------------------------------------------------------------------


def _log_in(gate: Gate, changes: Changes) -> Response:
    form: Form = g.form
    to, then = form.maybe("to") or "", form.maybe("then") or ""
    try:
        session = gate.begin(request.environ, form.maybe("token") or "", request.cookies.get(COOKIE))
    except NotAuthenticated as error:
        return _login_page(str(error), 401, to=to, then=then)
    found, response = changes.waiting(then), _to(to if is_ours(to) else f"{ROOT}/")
    if found is not None:
        g.entered = gate.enter(request.environ, session, idle=False)
        response = make_response(render_template(found.template, **found.values))
    response.set_cookie(COOKIE, session, **ALONE)
    return response


def _log_out(gate: Gate) -> Response:
    gate.sessions.end(request.cookies.get(COOKIE, ""))
    response = _to(_LOGIN)
    response.delete_cookie(COOKIE, **ALONE)
    return response


def _login_page(trouble: str, status: int, *, to: str, then: str = "") -> Response:
    return make_response(render_template("login.html", trouble=trouble, to=to if is_ours(to) else "", then=then), status)


# --- what every template has -----------------------------------------------------------------------------------------


def _look(app: Flask, door: Door, notes: Notes, changes: Changes) -> None:
    folder = Path(str(app.static_folder))
    marks = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in folder.iterdir()}

    @app.context_processor
    def always() -> dict[str, Any]:
        entered: Entered | None = g.get("entered")
        note = request.args.get("said", "")
        return {
            "entered": entered,
            "navigation": [(path, name, _is_here(path)) for path, name in named_for(entered.by.role if entered else None)],
            "said": notes.take(entered.csrf, note) if entered is not None and note else "",
            "may": lambda verb: entered is not None and entered.by.role.covers(changes.message(verb).needs),
            "static": lambda name: url_for("static", filename=name, v=marks[name]),
            "version": __version__,
            "now": door.clock.wall(),
            "request_id": _call(),
            # Of a page with a form that was refused they are others, see changing.
            "again": None,
            "place": "",
            "tried": lambda mark: None,
        }


def _is_here(path: str) -> bool:
    return request.path == path or (path != f"{ROOT}/" and request.path.startswith(f"{path}/"))


# --- errors ----------------------------------------------------------------------------------------------------------


def _errors(app: Flask, door: Door) -> None:
    @app.errorhandler(VolumeError)
    def refused(error: VolumeError) -> Response:
        status = problems.status_of(error, expected=request.method == _POST)
        _note(door, error, status)
        if isinstance(error, NotAuthenticated):
            sent, to = _sent(), _here() if request.method == _GET else ""
            response = _login_page(_first(error), status, to=to, then="" if sent is None else kept(sent[0], sent[2]))
            response.headers["WWW-Authenticate"] = 'Bearer realm="vmdkvol"'
            response.delete_cookie(COOKIE, **ALONE)
            return response
        return _error_page(error, status)

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        where = f"{request.method} {quoted(request.path, 60)}"
        if isinstance(error, NoSuchPath):
            return _error_page(NotFound(f"there is no page {quoted(request.path, 60)}", remedy="go on by the navigation"), 404)
        response = _error_page(BadRequest(f"{where}: {error.name}", remedy="go on by the navigation"), error.code or 500)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    @app.errorhandler(Exception)
    def crashed(error: Exception) -> Response:
        door.log.exception("crashed", request=_call(), method=request.method, path=request.path)
        return _error_page(Internal(f"{type(error).__name__} in {request.method} {quoted(request.path, 60)}"), 500)


def _note(door: Door, error: VolumeError, status: int) -> None:
    what = {"method": request.method, "path": request.path, "status": status, "code": error.code, "reason": error.text}
    door.log.info("refused", request=_call(), **what)


def _sent() -> tuple[str, str, Form] | None:
    """Return the change, the step and the form that this request is about; None if it is about none."""
    if request.endpoint not in (PLAN, CHANGE):
        return None
    return (request.view_args or {})["verb"], request.endpoint, g.get("form", Form())


def _here() -> str:
    return f"{request.path}?{_query()}".removesuffix("?")


def _first(error: VolumeError) -> str:
    """Return what the login page says: nothing to somebody who just came."""
    return str(error) if request.cookies.get(COOKIE) is not None or request.method == _POST else ""


def _error_page(error: VolumeError, status: int) -> Response:
    sent, seconds = _sent(), problems.retry_after(error)
    resent = None if sent is None or g.get("entered") is None else once_more(error, *sent)
    here = _here() if request.method == _GET and seconds is not None else ""
    head = heading(status, error, sent=request.endpoint == CHANGE)
    response = make_response(render_template("error.html", error=error, heading=head, resent=resent, here=here), status)
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    return response
