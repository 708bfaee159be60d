"""An audit record as a line of a file. Pure."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from datetime import UTC, datetime

from vmdkvol.audit_messages import AuditEntry, Form

COLUMNS = ("time", *(field.name for field in fields(AuditEntry)))
# A spreadsheet takes a cell that begins so for a formula, whatever the quotes (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def line(entry: AuditEntry, form: Form) -> str:
    """Return the record as one line without its end. No text in it makes a second line, a second cell or a formula."""
    row = _row(entry)
    return json.dumps(row, ensure_ascii=False) if form is Form.JSON else _csv([str(value) for value in row.values()])


def heading(form: Form) -> str | None:
    """Return the line before the first record, if the form has one."""
    return _csv(list(COLUMNS)) if form is Form.CSV else None


def _row(entry: AuditEntry) -> dict[str, object]:
    told = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return {"time": _time(entry.at), **told, "request_id": str(entry.request_id)}


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        # A clock that was wrong by ages; the number stands beside it.
        return ""


def _csv(cells: list[str]) -> str:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="").writerow(
        [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
    )
    return written.getvalue()
