"""What came by HTTP becomes a message, or the error that says what is wrong with it. Pure.

Nothing is guessed and nothing is dropped: an unknown parameter, a field that is there twice, a number in quotes are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote_to_bytes
from uuid import UUID, uuid5

from vmdkvol import frames
from vmdkvol.admin_errors import WrongMedia
from vmdkvol.errors import BadFrame, BadRequest, quoted
from vmdkvol.messages import Request
from vmdkvol.orders import Actor, Order, OrderFor, Query
from vmdkvol.wire import load
from vmdkvol_esx.web import misreadings
from vmdkvol_esx.web.preconditions import Conditions, check_of_look, expected
from vmdkvol_esx.web.routes import Route

# What every request has that comes from the door, never from who asks.
COMMON = frozenset(each.name for each in fields(Order))
MAX_BODY = 64 << 10
MAX_KEY = 100
_MOST_PARAMETERS = 100
_NAMES = r"a name has printable characters, no / and no \, and is not . or .."
_KEYS = UUID("0b51f1a3-5c8e-4a2a-9c43-6a1f7c9f7d10")
_WAIT = re.compile(r"wait ?= ?\"?([0-9]{1,9})\"?", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,19})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Said:
    """What stands in a request beside its method and path. ``kind`` is the media type of the body, without parameters."""

    query: str = ""
    body: bytes = b""
    kind: str = ""
    conditions: Conditions = Conditions()
    key: str | None = None
    request_id: str | None = None


def path_parts(raw: str) -> tuple[str, ...]:
    """Return the decoded parts of a path as it came; BadRequest for one that could be read in two ways.

    What comes decoded has lost which ``/`` was a ``%2F``: a name with one would be another path.
    """
    path = raw.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        raise BadRequest(f"{quoted(raw)} is no path of this API", remedy="give the path alone, such as /v1/vms")
    parts: list[str] = []
    if path == "/":
        return ()
    for part in path[1:].split("/"):
        try:
            text = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest("the path is not UTF-8", remedy="write names in UTF-8, with % before each byte of it") from None
        if text in ("", ".", "..") or not text.isprintable() or "/" in text or "\\" in text:
            raise BadRequest(f"the path has a part {quoted(text, 40)}, which is no name", remedy=_NAMES)
        parts.append(text)
    return tuple(parts)


def wait_of(prefer: str | None) -> int | None:
    """Return how many seconds who asks waits for long work before it wants its task (RFC 7240); None: as long as may be.

    What is no such preference is none: that is how that RFC wants them read.
    """
    said = [each.partition(";")[0].strip().lower() for each in (prefer or "").split(",")]
    if "respond-async" not in said:
        return None
    waits = [found[1] for each in said if (found := _WAIT.fullmatch(each))]
    return int(waits[0]) if waits else 0


def call_id(said: Said, by: Actor, new: UUID) -> UUID:
    """Return the id of the call: what makes a repeat one. ``new`` if nothing was said; BadRequest for what is no key."""
    if said.key is not None:
        if not 1 <= len(said.key) <= MAX_KEY or not said.key.isascii() or not said.key.isprintable():
            raise BadRequest(
                f"the Idempotency-Key has not 1 to {MAX_KEY} printable ASCII characters",
                remedy="send a new UUID with each order, the same one with its repeats",
            )
        return uuid5(_KEYS, f"{by.name}\n{said.key}")
    if said.request_id is None:
        return new
    try:
        given = UUID(said.request_id)
    except ValueError:
        return new
    return given if str(given) == said.request_id and given.int else new


def message(route: Route, path: Mapping[str, str], said: Said, by: Actor) -> Request[Any]:
    """Return the message; raises BadRequest, and what a name, size or option inside raises."""
    kind = route.message
    parameters = _parameters(said.query)
    dry_run = _dry_run(parameters, route)
    hints = hints_of(kind)
    values = {name: _in_path(hints[name], name, text) for name, text in path.items()}
    given = _body(said) if route.has_body else _of_query(route, hints, parameters)
    if not route.has_body and said.body:
        raise BadRequest(f"{route.method} takes no body", remedy="leave it out")
    if route.has_body and parameters:
        raise BadRequest(
            f"the query string has {quoted(min(parameters), 40)}, which {route.method} does not take there",
            remedy="send it in the body",
        )
    _check_names(given, hints, values)
    try:
        made: Request[Any] = load(kind, {**given, **values})
    except BadFrame as error:
        raise misreadings.refused(error.text) from error
    if isinstance(made, OrderFor):
        revision, subject = expected(said.conditions, type(made))
        return replace(made, by=by, dry_run=dry_run, expect=revision, expect_id=subject)
    assert isinstance(made, Query), "every row's message is a query or an order"
    check_of_look(said.conditions)
    return replace(made, by=by)


def hints_of(kind: Any) -> Mapping[str, Any]:
    """Return the types of the fields that who asks may give."""
    return _hints(kind)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind) if each.name not in COMMON}


def bare(hint: Any) -> Any:
    """Return the type without ``None`` and NewTypes."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    return getattr(hint, "__supertype__", hint)


def is_list(hint: Any) -> bool:
    """Tell whether a query string may give it several times."""
    return get_origin(bare(hint)) is tuple


# --- parts of it -----------------------------------------------------------------------------------------------------


def _parameters(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except (ValueError, UnicodeError):
        raise BadRequest(
            f"the query string is not name=value&name=value in UTF-8, or has more than {_MOST_PARAMETERS} of them",
            remedy="write it so, with % before each byte that is no letter or digit",
        ) from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _dry_run(parameters: dict[str, list[str]], route: Route) -> bool:
    if route.reads or "dry_run" not in parameters:
        return False
    return bool(_scalar(bool, "dry_run", _only("dry_run", parameters.pop("dry_run"))))


def _of_query(route: Route, hints: Mapping[str, Any], parameters: Mapping[str, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for public, texts in parameters.items():
        if route.cursor is not None and public == route.cursor != "after":
            raise _unknown(public, hints)
        name = route.cursor if public == "after" and route.cursor is not None else public
        if name not in hints:
            raise _unknown(public, hints)
        hint = bare(hints[name])
        if is_list(hint):
            inner = get_args(hint)[0]
            found[name] = [_scalar(inner, public, text) for text in texts]
        else:
            found[name] = _scalar(hint, public, _only(public, texts))
    if route.most and type(found.get("limit")) is int:
        found["limit"] = min(found["limit"], route.most)
    return found


def _in_path(hint: Any, name: str, text: str) -> Any:
    return [text] if is_list(hint) else _scalar(hint, name, text)


def _scalar(hint: Any, name: str, text: str) -> Any:
    """Return a text as JSON would have the value, for the strict reader."""
    hint = bare(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        words = [str(each.value) for each in hint]
        if text not in words:
            raise BadRequest(f"{name} cannot be {quoted(text, 40)}", remedy=f"give one of: {', '.join(words)}")
        return text
    if hint is bool:
        if text not in ("true", "false"):
            raise BadRequest(f"{name} cannot be {quoted(text, 40)}", remedy="give true or false")
        return text == "true"
    if hint is int and _WHOLE.fullmatch(text):
        return int(text)
    if hint is float and _NUMBER.fullmatch(text):
        return float(text)
    if hint in (int, float):
        raise BadRequest(f"{name} cannot be {quoted(text, 40)}", remedy=f"give a {'whole ' if hint is int else ''}number")
    return text


def _only(name: str, texts: list[str]) -> str:
    if len(texts) > 1:
        raise BadRequest(f"{name} is given {len(texts)} times", remedy="give it once")
    return texts[0]


def _body(said: Said) -> dict[str, Any]:
    if not said.body.strip():
        return {}
    if said.kind != "application/json":
        raise WrongMedia(f"the body is said to be {quoted(said.kind, 40)}")
    try:
        found = frames.parse(said.body)
    except BadFrame as error:
        raise misreadings.unread(error.text) from error
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object", remedy="send {...}; " + misreadings.SEE)
    return found


def _check_names(given: Mapping[str, Any], hints: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for name in given:
        if name not in hints or name in values:
            raise _unknown(name, {each: None for each in hints if each not in values})


def _unknown(name: str, known: Iterable[str]) -> BadRequest:
    listed = ", ".join(known) or "none"
    return BadRequest(f"there is no field {quoted(name, 40)} here", remedy=f"there are: {listed}")
