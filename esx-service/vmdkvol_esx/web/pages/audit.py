"""The audit: who did what to what, and what came of it; filtered, page by page, and as a file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from vmdkvol.audit_messages import ExportAudit, Form, QueryAudit
from vmdkvol.errors import BadRequest, quoted
from vmdkvol_esx.web.pages.again import Again
from vmdkvol_esx.web.pages.form import FIELD, about
from vmdkvol_esx.web.pages.visit import Drawn, Page, Sent, Visit

ROWS = 100
_TEXTS = ("actor", "verb", "target", "result")
_TIMES = ("since", "until")
# What one looks through; for all of it there is the command.
MOST_LINES = 20_000
_BATCH = 500
_MEDIA = {Form.JSON: "application/x-ndjson", Form.CSV: "text/csv; charset=utf-8"}


def show(visit: Visit) -> Drawn:
    """Show the records that fit the filters, the newest first, a hundred at a time."""
    kept = _kept(visit)
    filters = {"filters": {name: kept.get(name) for name in (*_TIMES, *_TEXTS, "request")}, "slip": None}
    try:
        asked = QueryAudit(**_asked(kept), before=visit.query.number("before"), limit=ROWS)
    except BadRequest as error:
        at = error.fields.get(FIELD)
        if at not in (*_TIMES, "request"):
            raise
        nothing = {"entries": (), "missing": 0, "next": None, "first": None, "exports": (), "altered": False}
        slip = Again(visit.query, error, str(at))
        return Drawn("audit.html", {**nothing, **filters, "slip": slip}, status=422, refused=error)
    page = visit.ask(asked)
    values = {
        **filters,
        "entries": page["entries"],
        "missing": page["missing"],
        "next": None if page["next"] is None else _link(kept, before=str(page["next"])),
        "first": None if visit.query.maybe("before") is None else _link(kept),
        "exports": [(form.value, _link(kept, "/ui/audit/export", form=form.value)) for form in Form],
        "altered": not all(entry["intact"] for entry in page["entries"]),
    }
    return Drawn("audit.html", values)


def export(visit: Visit) -> Sent:
    """Send all records that fit the filters as a file, the oldest first: all of them, or none."""
    kept, form = _kept(visit), _form(visit.query.maybe("form") or Form.JSON)
    lines: list[str] = []
    after = 0
    while True:
        page = visit.ask(ExportAudit(**_asked(kept), form=form, after=after, limit=_BATCH))
        lines += page["lines"]
        if page["next"] is None:
            break
        if len(lines) > MOST_LINES:
            raise BadRequest(
                f"more than {MOST_LINES} records fit", remedy="narrow the filter, or use `vmdkvol audit export` for all of them"
            )
        after = page["next"]
    body = "".join(f"{line}\r\n" if form is Form.CSV else f"{line}\n" for line in lines)
    return Sent(body, _MEDIA[form], f"vmdkvol-audit.{'csv' if form is Form.CSV else 'jsonl'}")


def _kept(visit: Visit) -> Mapping[str, str]:
    found = {name: visit.query.maybe(name) for name in (*_TIMES, *_TEXTS, "request")}
    return {name: value for name, value in found.items() if value is not None}


def _asked(kept: Mapping[str, str]) -> dict[str, Any]:
    asked: dict[str, Any] = {name: kept.get(name) for name in _TEXTS}
    for name in _TIMES:
        if name in kept:
            with about(name):
                asked[name] = _moment(kept[name])
    if "request" in kept:
        with about("request"):
            asked["request"] = _id(kept["request"])
    return asked


def _moment(text: str) -> float:
    """Return the UTC seconds that a time means, which is in UTC unless it says its zone."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(f"time {quoted(text, 40)} cannot be read", remedy="write 2026-11-29 or 2026-11-29T10:00") from None


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(f"{quoted(text, 60)} is no request's id", remedy="copy one from a log or from the page") from None


def _form(text: str) -> Form:
    if text not in list(Form):
        raise BadRequest(
            f"there is no form {quoted(text, 40)}; there are: {', '.join(Form)}", remedy="use the links of the page"
        )
    return Form(text)


def _link(kept: Mapping[str, str], path: str = "/ui/audit", **more: str) -> str:
    query = {**kept, **more}
    return f"{path}?{urlencode(query)}" if query else path


PAGES = (Page("/ui/audit", show, "Audit", QueryAudit.needs), Page("/ui/audit/export", export))
