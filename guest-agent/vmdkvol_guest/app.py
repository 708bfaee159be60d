"""Docker's volume plugin API over HTTP: nine routes that decode, call and encode. The only module that knows Flask.

docker-facts 2: only status 200 is success for the engine, bodies are JSON whatever the Content-Type, and what an error
says is what the user sees. An expected error goes with 200 and ``Err``, which the CLI prints as it is; with another
status the engine puts the route's name before it. The other statuses are for what Docker never sends, and for bugs.
"""

from __future__ import annotations

import json
import socket
import struct
import traceback
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, EmptyRequest, Internal, InvalidName, InvalidOption, NotFound, UnknownCaller, VolumeError
from vmdkvol.volume import VolumeInfo
from vmdkvol_guest.driver import Driver, Shown
from vmdkvol_guest.gate import Gate
from vmdkvol_guest.parts import Limits
from vmdkvol_guest.ports import Log

MAX_BODY = 64 << 10
# Where the environment says what came of a request, if it is not well: an error's code.
RESULT = "vmdkvol.result"
# Docker's IDs have 64 characters.
MAX_ID = 256
_CREDENTIALS = struct.Struct("3i")
Json = dict[str, Any]


class HangUp(Exception):
    """End the connection without an answer: the only "I do not know" that makes the engine forget nothing."""


def create_app(
    driver: Driver,
    gate: Gate,
    *,
    clock: Clock,
    limits: Limits,
    new_id: Callable[[], UUID],
    log: Log,
    bound: Callable[..., AbstractContextManager[None]],
    activated: Callable[[], None],
) -> Flask:
    """Return the WSGI application. ``bound(request=...)`` puts the id into the log lines of the thread meanwhile.

    ``activated`` is told of each Activate, the only sign that the engine has restarted; it must return at once.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    _volume_routes(app, driver, gate, clock, limits)
    _engine_routes(app, driver, activated)
    _replies_to_errors(app, log)
    inner = app.wsgi_app

    def wsgi_app(environ: Any, start_response: Any) -> Any:
        with bound(request=str(new_id())):
            return inner(environ, start_response)

    app.wsgi_app = wsgi_app  # type: ignore[method-assign]
    app.before_request(_check_caller)
    app.before_request(_take_in)
    return app


def _volume_routes(app: Flask, driver: Driver, gate: Gate, clock: Clock, limits: Limits) -> None:
    """The four that may wait: each within its limit, counted from its arrival, and through the gate."""

    def slow(seconds: float, work: Callable[[Json, Deadline], Json]) -> Response:
        deadline = Deadline.after(clock, seconds)
        # Read first: an empty repeat is refused at once, and takes no place.
        body = _body()
        _text(body, "Name")
        with gate.passing(deadline):
            return _reply(work(body, deadline))

    def create(body: Json, deadline: Deadline) -> Json:
        driver.create(_text(body, "Name"), _opts(body), deadline)
        return {"Err": ""}

    def remove(body: Json, deadline: Deadline) -> Json:
        driver.remove(_text(body, "Name"), deadline)
        return {"Err": ""}

    def mount(body: Json, deadline: Deadline) -> Json:
        return {"Mountpoint": driver.mount(_text(body, "Name"), _mount_id(body), deadline), "Err": ""}

    def unmount(body: Json, deadline: Deadline) -> Json:
        driver.unmount(_text(body, "Name"), _mount_id(body), deadline)
        return {"Err": ""}

    app.add_url_rule("/VolumeDriver.Create", "create", lambda: slow(limits.create_s, create), methods=["POST"])
    app.add_url_rule("/VolumeDriver.Remove", "remove", lambda: slow(limits.remove_s, remove), methods=["POST"])
    app.add_url_rule("/VolumeDriver.Mount", "mount", lambda: slow(limits.mount_s, mount), methods=["POST"])
    app.add_url_rule("/VolumeDriver.Unmount", "unmount", lambda: slow(limits.unmount_s, unmount), methods=["POST"])


def _engine_routes(app: Flask, driver: Driver, activated: Callable[[], None]) -> None:
    """The five that are answered at once."""

    @app.post("/Plugin.Activate")
    def activate() -> Response:
        activated()
        return _reply({"Implements": ["VolumeDriver"]})

    @app.post("/VolumeDriver.Capabilities")
    def capabilities() -> Response:
        return _reply({"Capabilities": {"Scope": "global"}})

    @app.post("/VolumeDriver.Get")
    def get() -> Response:
        try:
            name = _text(_body(), "Name")
        except BadRequest as error:
            # Most likely the engine's repeat of a Get whose connection broke: any answer would purge (docker-facts 2.4).
            raise HangUp(str(error)) from error
        try:
            return _reply({"Volume": _shown(driver.get(name)), "Err": ""})
        except (NotFound, InvalidName):
            # Positively no volume; the engine sends {"Name":""} too and wants its Err at once.
            raise
        except VolumeError as error:
            raise HangUp(str(error)) from error

    last = LastList(driver)

    @app.post("/VolumeDriver.List")
    def list_volumes() -> Response:
        # No argument, so an empty repeat is as good. An Err here purges nothing: the engine shows the names it knows,
        # at once, while a broken connection would cost every `docker volume ls` 15 s (docker-facts 2.3).
        return _json(last.body())

    @app.post("/VolumeDriver.Path")
    def path() -> Response:
        return _reply({"Mountpoint": driver.path(_text(_body(), "Name")), "Err": ""})


class LastList:
    """The body of List's last answer: to encode 100,000 volumes takes a second, and mostly nothing has changed since."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._last: tuple[Collection[VolumeInfo], bytes] = (), _encoded({"Volumes": [], "Err": ""})

    def body(self) -> bytes:
        """Return the body for the volumes of this moment, encoded anew only if they are not the very same objects."""
        infos, last = self._driver.catalogue(), self._last
        if infos is not last[0]:
            last = infos, _encoded({"Volumes": [_shown(volume) for volume in self._driver.shown(infos)], "Err": ""})
            self._last = last
        return last[1]


def _replies_to_errors(app: Flask, log: Log) -> None:
    @app.errorhandler(VolumeError)
    def refused(error: VolumeError) -> Response:
        log.info("refused", path=request.path, code=error.code, reason=str(error))
        request.environ[RESULT] = error.code
        return _reply({"Err": str(error)})

    @app.errorhandler(HangUp)
    def hung_up(error: HangUp) -> Response:
        log.info("hung up", path=request.path, reason=str(error))
        request.environ[RESULT] = "hung-up"
        return _hang_up()

    @app.errorhandler(HTTPException)
    def not_ours(error: HTTPException) -> Response:
        code = error.code or 500
        log.info("refused", path=request.path, status=code)
        request.environ[RESULT] = "bad-request"
        return _reply({"Err": f"{request.method} {request.path[:60]!r}: {error.name} [bad-request]"}, code)

    @app.errorhandler(Exception)
    def crashed(error: Exception) -> Response:
        request.environ[RESULT] = "internal"
        log.error("crashed", path=request.path, error=f"{type(error).__name__}: {error}", trace=_trace(error))
        if request.path == "/VolumeDriver.Get":
            return _hang_up()
        return _reply({"Err": str(Internal(f"{type(error).__name__} in {request.path[:60]}"))}, 500)


def _check_caller() -> None:
    """Raise UnknownCaller unless the other end of the connection is root's, as the kernel says."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        raise UnknownCaller("the connection gives no proof of who calls")
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError as error:
        raise UnknownCaller(f"the connection gives no proof of who calls: {error}") from error
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    if uid != 0:
        raise UnknownCaller(f"uid {uid} may not use this socket")


def _take_in() -> None:
    """Read the whole body before anything is answered, whether it is needed or not.

    The connection is closed with the answer: a client that sends its body in a second piece would find it closed, and fail
    although it was served (seen with Python's, on a busy machine).
    """
    request.get_data(cache=True)


def _hang_up() -> Response:
    try:
        request.environ["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    except OSError:
        # The engine was first.
        pass
    return Response(status=500)


def _body() -> Json:
    """Return the JSON object in the body, whatever its Content-Type; raise EmptyRequest if there is none."""
    data = request.get_data(cache=True)
    try:
        body = json.loads(data) if data.strip() else None
    except (ValueError, RecursionError):
        raise EmptyRequest("the request's body is not JSON") from None
    if not isinstance(body, dict):
        raise EmptyRequest("the request is empty" if body is None else "the request's body is not a JSON object")
    return body


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    if value is None:
        raise EmptyRequest(f"the request has no {key}")
    if not isinstance(value, str):
        raise InvalidName(f"{key} is not a text")
    return value


def _mount_id(body: Json) -> str:
    mount_id = _text(body, "ID")
    if not 0 < len(mount_id) <= MAX_ID or not mount_id.isprintable():
        raise BadRequest(
            f"ID is not a mount ID: {mount_id[:20]!r}", remedy=f"send 1 to {MAX_ID} printable characters, as Docker does"
        )
    return mount_id


def _opts(body: Json) -> Json:
    opts = body.get("Opts")
    if opts is None:
        return {}
    if not isinstance(opts, dict):
        raise InvalidOption("Opts is not an object of options")
    return opts


def _shown(volume: Shown) -> Json:
    shown: Json = {"Name": volume.name, "Mountpoint": volume.path, "CreatedAt": volume.created_at}
    if volume.status is not None:
        shown["Status"] = volume.status
    return shown


def _reply(body: Json, status: int = 200) -> Response:
    return _json(_encoded(body), status)


def _encoded(body: Json) -> bytes:
    return json.dumps(body).encode() + b"\n"


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, mimetype="application/json")


def _trace(error: BaseException) -> str:
    # The end is what matters, and a log line has its limit.
    return "".join(traceback.format_exception(error))[-1000:]
