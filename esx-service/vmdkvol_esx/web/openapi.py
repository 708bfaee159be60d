"""The API's description (OpenAPI 3.1), made from the table of routes and the messages. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vmdkvol import __version__
from vmdkvol.orders import OrderFor
from vmdkvol_esx.web import problems
from vmdkvol_esx.web.asked import MAX_KEY, hints_of, is_list
from vmdkvol_esx.web.routes import Route
from vmdkvol_esx.web.schemas import Schema, Schemas, described

_IN_PATH = re.compile(r"\{([a-z_]+)\}")
_PROBLEM = {"$ref": "#/components/responses/Problem"}
_ABOUT = """\
What administrators ask of the service. Each order can be planned first (`dry_run=true`), is carried out once under its \
`Idempotency-Key`, and is refused if the object is another one, or has another revision, than `If-Match` says: it takes an \
`ETag`, or `"REVISION.ID"` with the 32 hexadecimal digits of the `subject` of a plan, or `".ID"` of what has no revision. \
A precondition that an order does not look at is refused. Every error is a problem of \
RFC 9457 with a stable `code`; `vmdkvol explain CODE` says more of it."""
_PREFER = """\
`respond-async, wait=N`: after N seconds the answer is the task that works on it (RFC 7240). Without it the order is waited \
for, 110 s at most. `still-working` says that the work has not begun: the same order with the same `Idempotency-Key` goes on \
waiting."""
# What can be wrong with each request, whatever it is about.
_ALWAYS = (400, 401, 403, 404, 409, 413, 414, 415, 422, 431, 500, 502, 503, 507)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the description of these routes."""
    schemas, paths = Schemas(), dict[str, Any]()
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vmdkvol",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**dict(sorted(schemas.known.items())), "Problem": _problem_schema()},
            "responses": {"Problem": _problem_response()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    kind = route.message
    role = kind.needs  # type: ignore[attr-defined]  # a Query or an order
    answer = schemas.of(kind.answer)
    headers = {"X-Request-Id": {"schema": {"type": "string", "format": "uuid"}}}
    done = {"description": "Done, or planned.", "content": {"application/json": {"schema": answer}}, "headers": headers}
    responses: dict[str, Any] = {"200": {**done, "description": "What is there."} if route.reads else done}
    if not route.reads:
        responses["202"] = {**done, "description": "A task works on it."}
    if route.makes:
        responses["201"] = {**done, "description": "Made."}
    if route.reads:
        responses["304"] = {"description": "As it was (If-None-Match)."}
    responses |= {str(status): _PROBLEM for status in (*_ALWAYS, *(() if route.reads else (412,)))}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.noun],
        "summary": described(kind).split(". ")[0].rstrip(".") + ".",
        "description": f"{described(kind)}\n\nNeeds the role `{role}`.",
        "parameters": _parameters(route, schemas),
        "responses": dict(sorted(responses.items())),
    }
    if route.has_body:
        inner = {name: hint for name, hint in hints_of(kind).items() if name not in _in_path(route)}
        schema = schemas.properties(kind, inner)
        operation["requestBody"] = {"required": bool(schema["required"]), "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(route: Route, schemas: Schemas) -> list[Schema]:
    hints = hints_of(route.message)
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in _in_path(route)
    ]
    if not route.has_body:
        schema = schemas.properties(route.message, {name: hint for name, hint in hints.items() if name not in _in_path(route)})
        found += [_in_query(route, name, each, schema["required"]) for name, each in schema["properties"].items()]
    if issubclass(route.message, OrderFor):
        found.append({"name": "dry_run", "in": "query", "schema": {"type": "boolean", "default": False}})
        key = {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]*$"}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": key})
        if route.message.revised or route.message.identified:
            found.append({"name": "If-Match", "in": "header", "schema": {"type": "string"}})
        if route.long:
            found.append({"name": "Prefer", "in": "header", "description": _PREFER, "schema": {"type": "string"}})
    return found


def _in_query(route: Route, name: str, schema: Schema, required: list[str]) -> Schema:
    public = "after" if name == route.cursor else name
    shown = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if isinstance(shown.get("type"), list):
        # A query string has no null: what is not said is left out.
        shown["type"] = shown["type"][0]
    if "anyOf" in shown:
        shown = next(each for each in shown["anyOf"] if each.get("type") != "null")
    if name == "limit" and route.most:
        shown |= {"minimum": 1, "description": f"Of more than {route.most} a page has {route.most}; `after` goes on."}
    listed = {"style": "form", "explode": True} if is_list(hints_of(route.message)[name]) else {}
    return {"name": public, "in": "query", "required": name in required, "schema": shown, **listed}


def _in_path(route: Route) -> list[str]:
    return _IN_PATH.findall(route.path)


def _problem_schema() -> Schema:
    text = {"type": "string"}
    return {
        "title": "Problem",
        "description": "What went wrong (RFC 9457). `code` is stable; `remedy` says what the reader can do.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": text,
            "remedy": text,
            "request_id": text,
        },
        "required": ["code", "detail", "remedy", "request_id", "status", "title", "type"],
        "additionalProperties": False,
    }


def _problem_response() -> dict[str, Any]:
    return {
        "description": "It was refused, or could not be done.",
        "content": {problems.MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
